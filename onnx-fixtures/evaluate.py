"""Prints the accuracy of a classifier on data sets.

    python3 onnx-fixtures/evaluate.py MODEL.onnx SET.npz [SET.npz ...]

Needs numpy and onnxruntime. Each SET has the arrays `input` and `labels` (see datasets.py).
"""

import sys

import numpy as np
import onnxruntime


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    for path in sys.argv[2:]:
        with np.load(path) as arrays:
            images, labels = arrays["input"], arrays["labels"]
        right = 0
        for start in range(0, len(images), 256):
            (logits,) = session.run(None, {name: images[start : start + 256]})[:1]
            right += int((logits.argmax(1) == labels[start : start + 256]).sum())
        print(f"{sys.argv[1]} on {path}: {right} of {len(images)} right, {100 * right / len(images):.2f} %")


if __name__ == "__main__":
    main()
