"""Times forward and backward of generators beside PyTorch; see `run`."""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path

import torch

from torch_side import WAYS, Torch, peak

OUTPUT = Path("target/bench/generators")
TOLERANCE = 1e-4
MOST_SECONDS, MOST_BYTES = 20.0, 8e9

# Name, outputs, channels, kernel, legs (kernel legs come on top): sixteen small legs, and eight wide ones.
SHAPES = [
    ("1024x1024-16", 1024, 1024, [], 16),
    ("2048x2048-16", 2048, 2048, [], 16),
    ("4096x4096-16", 4096, 4096, [], 16),
    ("9216x4096-16", 9216, 4096, [], 16),
    ("512x512x3x3-16", 512, 512, [3, 3], 16),
    ("512x512x3x3-8", 512, 512, [3, 3], 8),
    ("1024x1024-8", 1024, 1024, [], 8),
    ("2048x2048-8", 2048, 2048, [], 8),
    ("4096x4096-8", 4096, 4096, [], 8),
]
TOPOLOGIES, CHIS, THREADS = ("ttn", "attn", "mera"), (8, 16, 32, 64), (1, 2)
QUICK = (
    "1024x1024-8/ttn/16/1|1024x1024-8/mera/8/2|2048x2048-8/mera/16/1|4096x4096-8/ttn/8/2|4096x4096-16/ttn/16/1"
    "|9216x4096-16/ttn/8/2|512x512x3x3-8/attn/16/1|512x512x3x3-8/ttn/32/2"
)


@dataclass
class Row:
    """One case; seconds are medians."""

    shape: str
    topology: str
    chi: int
    threads: int
    parameters: int
    larger: bool
    ours: float
    torch: float
    way: str
    ratio: float
    ratio_of_minima: float
    spread: float
    gflops: float
    of_peak: float
    difference: float
    workspace_bytes: int

    @property
    def name(self) -> str:
        return f"{self.shape}/{self.topology}/{self.chi}/{self.threads}"


class Server:
    """The Rust process."""

    def __init__(self, program: Path):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request: dict) -> dict:
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"step_server ended on {request}")
        return json.loads(line)

    def seconds(self, threads: int, steps: int) -> list[float]:
        return self.ask(time={"threads": threads, "steps": steps})["seconds"]


def compare(server: Server, subject: Torch, threads: int, budget: float) -> tuple[list[float], list[float], str]:
    """Times of both sides, in turn for about `budget` seconds, and the way of writing it that PyTorch runs fastest."""
    probes = {way: subject.seconds(way, threads, 1) for way in WAYS}
    least = min(min(times) for times in probes.values())
    near = [way for way in WAYS if min(probes[way]) < 1.3 * least]
    for _ in range(2 if least < 0.1 * budget else 1 if len(near) > 1 else 0):
        for way in near:
            probes[way] += subject.seconds(way, threads, 1)
    way = min(near, key=lambda way: min(probes[way]))
    first = server.seconds(threads, 1)
    # Steps that take this long need no warming up, and each counts.
    times = (first, probes[way]) if least > 0.2 * budget else ([], [])
    # Blocks of 30 ms or more: shorter ones would measure how fast caches and clocks recover from the other side.
    steps = [max(1, round(0.03 / max(expected, 1e-4))) for expected in (min(first), least)]
    start, rounds = time.perf_counter(), 0
    while rounds == 0 or time.perf_counter() - start < budget:
        for side in (0, 1) if rounds % 2 else (1, 0):
            # Threads of the other side may still be spinning.
            time.sleep(0.003)
            times[side].extend(subject.seconds(way, threads, steps[1]) if side else server.seconds(threads, steps[0]))
        rounds += 1
    return *times, way


def spread(times: list[float]) -> float:
    """Distance of the quartiles over the median: how much other load disturbed the case."""
    if len(times) < 4:
        return 0.0
    low, middle, high = statistics.quantiles(times, n=4)
    return (high - low) / middle


def table(rows: list[Row]) -> str:
    lines = [
        f"{'shape-legs':<14} {'net':<5} {'chi':>3} {'thr':>3} {'params':>11} {'ours ms':>9} {'torch ms':>9} {'as':<6}"
        f" {'ratio':>6} {'of min':>6} {'GFLOP/s':>8} {'% peak':>6} {'spread':>6}"
    ]
    lines += [
        f"{r.shape:<14} {r.topology:<5} {r.chi:>3} {r.threads:>3} {r.parameters:>10,}{'*' if r.larger else ' '} {1e3 * r.ours:>9.2f}"
        f" {1e3 * r.torch:>9.2f} {r.way:<6} {r.ratio:>6.3f} {r.ratio_of_minima:>6.3f} {r.gflops:>8.1f} {100 * r.of_peak:>6.1f}"
        f" {100 * r.spread:>5.0f}%"
        for r in rows
    ]
    return "\n".join(lines)


def machine() -> str:
    names = re.findall(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text()) if Path("/proc/cpuinfo").exists() else []
    return f"{names[0] if names else 'unknown'}, {os.cpu_count()} CPUs"


def result_line(rows: list[Row], peaks: dict[int, float]) -> str:
    ratios, useful = [r.ratio for r in rows], [r.ratio for r in rows if not r.larger]

    def worst(values: list[float]) -> str:
        return f"{max(values):.3f}" if values else "none"

    words = [f"worst={worst(useful)}", f"geomean={statistics.geometric_mean(useful or ratios):.3f}", f"worst_all={worst(ratios)}"]
    words += [f"below_{name}={sum(x <= limit for x in ratios)}/{len(ratios)}" for name, limit in (("half", 0.5), ("quarter", 0.25))]
    words += [f"peak{threads}={value:.1f}" for threads, value in peaks.items()]
    return " ".join(["RESULT", *words, f'machine="{machine()}"'])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", type=re.compile, default=re.compile(""))
    parser.add_argument("--seconds", type=float, default=1.5, help="for the timed rounds of each case")
    arguments = parser.parse_args()
    quick = re.compile(QUICK if arguments.quick else "")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    server = Server(arguments.program)

    peaks = {}
    for threads in (t for t in THREADS if t <= (os.cpu_count() or 1)):
        registers, product = server.ask(peak={"threads": threads})["gflops"], peak(threads)
        peaks[threads] = max(registers, product)
        print(f"peak, {threads} threads: {registers:.1f} GFLOP/s in registers, {product:.1f} in PyTorch's 2048x2048 product")
    print(f"PyTorch {torch.__version__}; load before: {os.getloadavg()[0]:.2f}", flush=True)

    rows: list[Row] = []
    differing = 0
    for shape, outputs, channels, kernel, legs in SHAPES:
        for topology, chi in ((t, c) for t in TOPOLOGIES for c in CHIS):
            wanted = [t for t in peaks if all(p.search(f"{shape}/{topology}/{chi}/{t}") for p in (quick, arguments.only))]
            if not wanted:
                continue
            spec = {"topology": topology, "outputs": outputs, "channels": channels, "kernel": kernel, "legs": legs, "chi": chi}
            answer = server.ask(prepare=spec | {"sigma": "tanh", "folder": str(OUTPUT)})
            flops = 3 * answer["forward_flops"]
            # Every tensor between two products, its gradient and the cores with theirs.
            estimate = 8 * (len(answer["cores"]) * prod(answer["levels"][-1]) + answer["parameters"])
            if estimate > MOST_BYTES or flops / 0.5e9 / peaks[1] > MOST_SECONDS:
                print(f"{shape}/{topology}/{chi} is left out: {flops / 1e9:.0f} GFLOP, about {estimate / 1e9:.1f} GB", flush=True)
                continue
            subject = Torch(answer, OUTPUT)
            difference = None
            for threads in wanted:
                ours, theirs, way = compare(server, subject, threads, arguments.seconds)
                if difference is None:
                    difference = subject.difference(way, OUTPUT)
                    differing += not difference < TOLERANCE
                a, b = statistics.median(ours), statistics.median(theirs)
                row = Row(
                    shape=shape,
                    topology=topology,
                    chi=chi,
                    threads=threads,
                    parameters=answer["parameters"],
                    larger=answer["parameters"] >= outputs * channels * prod(kernel),
                    ours=a,
                    torch=b,
                    way=way,
                    ratio=a / b,
                    ratio_of_minima=min(ours) / min(theirs),
                    spread=max(spread(ours), spread(theirs)),
                    gflops=flops / a / 1e9,
                    of_peak=flops / a / 1e9 / peaks[threads],
                    difference=difference,
                    workspace_bytes=answer["workspace_bytes"],
                )
                rows.append(row)
                print(table([row]).splitlines()[1] if len(rows) > 1 else table([row]), flush=True)

    if not rows:
        sys.exit("no case has such a name; names are SHAPE-LEGS/NET/CHI/THREADS, like 4096x4096-16/ttn/16/1")
    (OUTPUT / "results.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print("\nForward and backward, medians. ratio: ours over PyTorch's; of min: of the smallest times; as: how PyTorch is fastest.")
    print("*: as many parameters as the weight or more: no generator that anyone would use; kept apart in worst_all.")
    print(f"W and gradients: relative difference at most {max(row.difference for row in rows):.1e}, {differing} above {TOLERANCE:g}.")
    print(f"load after: {os.getloadavg()[0]:.2f} (about {max(peaks)} or less is this bench alone)\n")
    above = sorted((row for row in rows if row.ratio > 0.5), key=lambda row: -row.ratio)
    if above:
        print(f"above 0.5:\n{table(above)}\n")
    print(result_line(rows, peaks))
    sys.exit(1 if differing else 0)


if __name__ == "__main__":
    main()
