"""A generator's forward and backward in eager PyTorch, written three ways; the fastest is what a case is compared with.

Definitions as in the Rust crate: the cores of one parameter vector, W in leaf order, levels of isometries, then disentanglers, then
tanh except on the last level. The overall scale multiplies a core of the last, linear level, which costs nothing.
"""

import time
from math import prod
from pathlib import Path

import numpy as np
import torch

WAYS = ("rotate", "axis", "mixed")


def rotate(t: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
    """Contracts the first leg (or pair of legs) and appends what comes out at the end."""
    return t.reshape(w.shape[0], -1).T @ w


def on_axis(t: torch.Tensor, left: int, w: torch.Tensor) -> torch.Tensor:
    """Contracts the middle axis of (left, p, right) where it is."""
    t = t.reshape(left, w.shape[0], -1)
    if t.shape[2] == 1:
        return t.reshape(left, -1) @ w
    return torch.matmul(w.T, t)


class Torch:
    """The generator that `folder` and `shape`, the answer to a `prepare` request, describe."""

    def __init__(self, shape: dict, folder: Path):
        self.levels, self.children = shape["levels"], shape["children"]
        values = torch.from_numpy(np.fromfile(folder / "params", np.float32))
        self.cores = shape["cores"]
        self.leaves = [
            values[c["start"] : c["start"] + c["p"] * c["q"]].reshape(c["p"], c["q"]).clone().requires_grad_() for c in self.cores
        ]
        self.scale = values[-1].clone().requires_grad_()
        self.dw = torch.from_numpy(np.fromfile(folder / "dw", np.float32))
        self.place = {(c["kind"], c["level"], c["leg"]): k for k, c in enumerate(self.cores)}

    def forward(self, way: str) -> torch.Tensor:
        """W in leaf order."""
        t = self.leaves[0].tanh()
        for level in range(1, len(self.levels)):
            last = level + 1 == len(self.levels)
            t = self.isometries(t, level, way, last)
            t = self.disentanglers(t, level, way)
            t = t if last else t.tanh()
        return t.reshape(-1)

    def core(self, kind: str, level: int, leg: int) -> torch.Tensor | None:
        index = self.place.get((kind, level, leg))
        return None if index is None else self.leaves[index]

    def isometries(self, t: torch.Tensor, level: int, way: str, last: bool) -> torch.Tensor:
        parents, left, scaled = self.levels[level - 1], 1, not last
        for leg, dim in enumerate(parents):
            w = self.core("isometry", level, leg)
            if w is not None and not scaled:
                w, scaled = w * self.scale, True
            if way != "axis":
                t = t.reshape(dim, -1).T if w is None else rotate(t, w)
            elif w is not None:
                t = on_axis(t, left, w)
            left *= dim if w is None else w.shape[1]
        return t

    def disentanglers(self, t: torch.Tensor, level: int, way: str) -> torch.Tensor:
        dims = self.levels[level]
        legs = [leg for leg in range(len(dims)) if self.core("disentangler", level, leg) is not None]
        if way != "rotate":
            for leg in legs:
                t = on_axis(t, prod(dims[:leg]), self.core("disentangler", level, leg))
            return t
        leg = 0
        while legs and leg < len(dims):
            if leg in legs:
                t = rotate(t, self.core("disentangler", level, leg))
                leg += 2
                continue
            # Legs that no disentangler takes go to the end together.
            end = leg + 1
            while end < len(dims) and end not in legs:
                end += 1
            t = t.reshape(prod(dims[leg:end]), -1).T
            leg = end
        return t

    def step(self, way: str) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        """W and the gradients of all cores and of the scale."""
        w = self.forward(way)
        return w, torch.autograd.grad(w, [*self.leaves, self.scale], grad_outputs=self.dw)

    def seconds(self, way: str, threads: int, steps: int) -> list[float]:
        torch.set_num_threads(threads)
        times = []
        for _ in range(steps):
            start = time.perf_counter()
            self.step(way)
            times.append(time.perf_counter() - start)
        return times

    def difference(self, way: str, folder: Path) -> float:
        """Largest relative difference (in norm) of W and each core's gradient from those in `folder`."""
        w, gradients = self.step(way)
        w, theirs = w.detach(), torch.from_numpy(np.fromfile(folder / "gradient", np.float32))
        worst = float((w - torch.from_numpy(np.fromfile(folder / "w", np.float32))).norm() / w.norm())
        for g, c in zip(gradients, self.cores):
            g = g.reshape(-1)
            worst = max(worst, float((g - theirs[c["start"] : c["start"] + len(g)]).norm() / g.norm()))
        # The scale's gradient is an inner product of a core and its gradient, in which nearly all may cancel: what counts is
        # the error beside the two norms.
        norms = float(self.leaves[-1].detach().norm() * gradients[-2].norm() / self.scale.detach())
        return max(worst, float((gradients[-1] - theirs[-1]).abs()) / norms)


def peak(threads: int) -> float:
    """Most GFLOP/s of a large square product."""
    torch.set_num_threads(threads)
    a = torch.rand(2048, 2048)
    best = float("inf")
    for _ in range(8):
        start = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - start)
    return 2 * 2048**3 / best / 1e9
