"""Times training steps of AlexNet's fully connected tail beside PyTorch, in turn; see `run`."""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).parent.parent / "generators"))
from torch_side import WAYS, on_axis  # noqa: E402

OUTPUT = Path("target/bench/step")
CASES = [(8, 8), (16, 8)]
STEPS, TEMPERATURE = 4, 2.0
TOLERANCE = 1e-3


class Ours:
    """The Rust process."""

    def __init__(self, program: Path, legs: int, chi: int, threads: int):
        command = [program, str(legs), str(chi), str(threads), OUTPUT]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.description = json.loads(self.process.stdout.readline())

    def seconds(self, steps: int) -> list[float]:
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Torch:
    """The same step: weights from cores, forward, KL divergence at temperature 2, backward, clipping, AdamW."""

    def __init__(self, description: dict, way: str):
        self.way, self.generators, leaves = way, [], []
        for layer, shape in enumerate(description["generators"]):
            values = torch.from_numpy(np.fromfile(OUTPUT / f"params{layer}", np.float32))
            cores = [values[c["start"] : c["start"] + c["p"] * c["q"]].reshape(c["p"], c["q"]).clone() for c in shape["cores"]]
            cores.append(values[-1].clone())
            for core in cores:
                core.requires_grad_()
            leaves += cores
            self.generators.append((shape, cores))
        self.biases = [torch.zeros(n, requires_grad=True) for n in (4096, 4096, 10)]
        # The last weight is not trained; its values are those of the Rust side only where the loss is compared.
        self.last = torch.from_numpy(np.fromfile(OUTPUT / "last", np.float32)).reshape(10, 4096)
        self.x = torch.from_numpy(np.fromfile(OUTPUT / "x", np.float32)).reshape(256, 1024)
        teacher = torch.from_numpy(np.fromfile(OUTPUT / "teacher", np.float32)).reshape(256, 10)
        self.teacher = F.log_softmax(teacher / TEMPERATURE, 1)
        self.leaves = leaves + self.biases
        self.optimiser = torch.optim.AdamW(self.leaves, lr=1e-5, betas=(0.9, 0.99), fused=True)

    def weight(self, layer: int) -> torch.Tensor:
        shape, cores = self.generators[layer]
        levels, place = shape["levels"], {(c["level"], c["leg"]): k for k, c in enumerate(shape["cores"])}
        t = cores[0].tanh()
        for level in range(1, len(levels)):
            last, left = level + 1 == len(levels), 1
            for leg, dim in enumerate(levels[level - 1]):
                w = cores[place[level, leg]]
                if last and leg == 0:
                    w = w * cores[-1]
                if self.way == "rotate":
                    t = t.reshape(dim, -1).T @ w
                else:
                    t = on_axis(t, left, w)
                left *= w.shape[1]
            t = t if last else t.tanh()
        legs = shape["legs"]
        order = sorted(range(len(legs)), key=lambda k: (not legs[k]["output"], legs[k]["place"]))
        return t.reshape([leg["dim"] for leg in legs]).permute(order).reshape(shape["outputs"], shape["inputs"])

    def loss(self) -> torch.Tensor:
        h = F.relu(F.linear(self.x, self.weight(0), self.biases[0]))
        h = F.relu(F.linear(h, self.weight(1), self.biases[1]))
        y = F.linear(h, self.last, self.biases[2])
        return TEMPERATURE**2 * F.kl_div(F.log_softmax(y / TEMPERATURE, 1), self.teacher, reduction="batchmean", log_target=True)

    def step(self) -> None:
        self.optimiser.zero_grad()
        self.loss().backward()
        torch.nn.utils.clip_grad_norm_(self.leaves, 1e6)
        self.optimiser.step()

    def seconds(self, steps: int) -> list[float]:
        times = []
        for _ in range(steps):
            start = time.perf_counter()
            self.step()
            times.append(time.perf_counter() - start)
        return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=6)
    arguments = parser.parse_args()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    threads = min(2, os.cpu_count() or 1)
    torch.set_num_threads(threads)
    print(f"PyTorch {torch.__version__}, {threads} threads; load before: {os.getloadavg()[0]:.2f}")
    print(f"{'generators':<24} {'params':>8} {'ours ms':>8} {'torch ms':>9} {'as':<7} {'ratio':>6} {'of min':>6} {'loss':>8} {'torch':>8}")
    ratios, differing = [], 0
    for legs, chi in CASES:
        ours = Ours(arguments.program, legs, chi, threads)
        with torch.no_grad():
            ours_loss = ours.description["loss"]
        sides = {way: Torch(ours.description, way) for way in WAYS[:2]}
        with torch.no_grad():
            torch_loss = float(sides["axis"].loss())
        differing += not abs(torch_loss - ours_loss) < TOLERANCE * abs(ours_loss)
        way = min(sides, key=lambda way: min(sides[way].seconds(3)))
        times = ([], [])
        for round_ in range(arguments.rounds):
            for side in (0, 1) if round_ % 2 else (1, 0):
                # Threads of the other side may still be spinning.
                time.sleep(0.01)
                # The first step after the other side finds cold caches.
                times[side].extend((sides[way].seconds if side else ours.seconds)(STEPS + 1)[1:])
        ours.close()
        a, b = (statistics.median(t) for t in times)
        parameters = sum(g["parameters"] for g in ours.description["generators"])
        ratios.append(a / b)
        print(
            f"{f'TTN {legs} legs, chi {chi}':<24} {parameters:>8,} {1e3 * a:>8.1f} {1e3 * b:>9.1f} {way:<7} {a / b:>6.3f}"
            f" {min(times[0]) / min(times[1]):>6.3f} {ours_loss:>8.4f} {torch_loss:>8.4f}",
            flush=True,
        )
    cpu = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*:\s*(.*)", cpu.read_text()) if cpu.exists() else []
    print("\nOne step: weights from cores, batch of 256 forward, divergence from the teacher, backward, AdamW. Medians.")
    print(f"RESULT worst={max(ratios):.3f} threads={threads} differing={differing} required=1.0 machine=\"{(names or ['unknown'])[0]}\"")
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
