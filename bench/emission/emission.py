"""Times the creation of ONNX Runtime sessions for generated layers beside the dense one; see `run`."""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

REQUIRED = 1.3

# A process for each session: memory and page faults are then the session's own. Importing is not measured.
CHILD = """
import json, resource, sys, time
import onnxruntime
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
options.log_severity_level = 3
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
wall, cpu = time.perf_counter(), time.process_time()
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps([wall, cpu, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024]))
"""


def measure(model):
    """Wall seconds, CPU seconds and growth of the peak memory in MiB while a session is created."""
    child = subprocess.run([sys.executable, "-c", CHILD, str(model)], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(child.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", type=Path, help="lines of model name and number of parameters")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    parameters = dict(line.split() for line in arguments.names.read_text().splitlines())
    names = sorted(parameters, key=lambda name: name != "dense")
    measured = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            measured[name].append(measure(arguments.folder / f"{name}.onnx"))
    medians = {name: [statistics.median(column) for column in zip(*rows)] for name, rows in measured.items()}
    dense = medians["dense"]
    print(f"{'model':<12} {'parameters':>11} {'bytes':>11} {'wall ms':>8} {'ratio':>6} {'CPU ms':>8} {'ratio':>6} {'peak MiB':>9}")
    ratios = {}
    for name, (wall, cpu, memory) in medians.items():
        ratios[name] = (wall / dense[0], cpu / dense[1])
        size = (arguments.folder / f"{name}.onnx").stat().st_size
        print(
            f"{name:<12} {int(parameters[name]):>11,} {size:>11,} {1e3 * wall:>8.0f} {ratios[name][0]:>6.2f}"
            f" {1e3 * cpu:>8.0f} {ratios[name][1]:>6.2f} {memory:>9.0f}"
        )
    print(f"\nOne thread; medians of {arguments.rounds}; required: {REQUIRED}; load {os.getloadavg()[0]:.1f}. CPU time hardly depends on load.")
    generated = {name: ratio for name, ratio in ratios.items() if name != "dense"}
    words = [f"worst_wall={max(r[0] for r in generated.values()):.2f}", f"worst_cpu={max(r[1] for r in generated.values()):.2f}"]
    words += [f"{name.replace('-', '_')}={ratio[1]:.2f}" for name, ratio in generated.items()]
    for legs in ("8", "16"):
        worst = max(ratio[1] for name, ratio in generated.items() if name.split("-")[1] == legs)
        words.append(f"worst_cpu_{legs}_legs={worst:.2f}")
    print(" ".join(["RESULT", *words, f"required={REQUIRED}"]))


if __name__ == "__main__":
    main()
