"""Makes end-to-end fits and measures what comes out in ONNX Runtime; see `run`."""

import argparse
import json
import os
import re
import shlex
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "common"))
from measure import latency, run_command, top_classes  # noqa: E402

OUTPUT = Path("target/bench/trained")
FC2 = '--layers "^1$" --layout "o8 i7 o8 i7 o4 i4 o4 i4"'
SHIFTED = "--augment-shift 2 --augment-copies 7 --label-share 0.8"
ALEXNET = '--layers "^c\\.[25]$" --legs 8'
# Name, model, data set, options of the fit, and the accuracy in percent that it is to reach.
CASES = [
    ("fc2-350x", "fc2-mnist", "mnist", f"{FC2} --bond 8 --epochs 18 {SHIFTED}", 98.3),
    ("fc2-75x", "fc2-mnist", "mnist", f"{FC2} --bond 15 --epochs 18 {SHIFTED}", 98.6),
    ("lenet5-20x", "lenet5-mnist", "mnist", f'--layers "^(7|9)$" --ratio 28 --epochs 15 {SHIFTED}', 99.2),
    ("alexnet-2000x", "alexnet-cifar10", "cifar10", f'{ALEXNET} --ratio 2000 --generator "c.5=bond:8" --epochs 3', 79.1),
    ("alexnet-40000x", "alexnet-cifar10", "cifar10", f'{ALEXNET} --ratio 1500 --generator "c.5=legs:24,bond:3" --epochs 4', 78.6),
]
QUICK = ("quick", "lenet5-mnist", "mnist", '--layers "^(7|9)$" --ratio 28 --epochs 6', 98.5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--alexnet", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--only", type=re.compile, default=re.compile(""))
    arguments = parser.parse_args()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    cases = [QUICK] if arguments.quick else [case for case in CASES if arguments.only.search(case[0])]
    if not cases:
        sys.exit("no case has such a name; there are: " + ", ".join(case[0] for case in CASES))

    print(
        f"{'case':<15} {'ratios':<22} {'together':>8} {'file before':>12} {'after':>10} {'test before':>11} {'after':>7} {'wanted':>7}"
        f" {'lat. 1':>6} {'lat. 32':>7} {'seconds':>8} {'peak MB':>8}"
    )
    words, reached = [], 0
    for name, model, data, options, wanted in cases:
        original = arguments.alexnet if model.startswith("alexnet") else Path(f"onnx-fixtures/{model}.onnx")
        if not original.exists():
            print(f"{name:<15} left out: {original} is not there")
            continue
        out, report = OUTPUT / f"{name}.onnx", OUTPUT / f"{name}.json"
        command = [arguments.compiler, original, out, "-c", f"target/data/{data}-train.npz", "--held-out", f"target/data/{data}-test.npz"]
        command += ["--no-cache", "--fit", "end-to-end", "--train-rest", *shlex.split(options), "--report", report]
        print(shlex.join(map(str, command)), file=sys.stderr, flush=True)
        code, seconds, peak = run_command(command)
        if code:
            sys.exit(f"{name}: the compiler ended with {code}")
        layers = [layer for layer in json.loads(report.read_text())["layers"] if layer["replaced"]]
        before, after = (sum(layer[f"parameters_{when}"] for layer in layers) for when in ("before", "after"))
        with np.load(f"target/data/{data}-test.npz") as arrays:
            images, labels = arrays["input"], arrays["labels"]
        accuracy = [100 * float((top_classes(path, images) == labels).mean()) for path in (original, out)]
        ratios = "+".join(f"{layer['ratio']:,.0f}x" for layer in layers)
        latencies = [latency(original, out, images[:batch], 0.5 if arguments.quick else 4.0) for batch in (1, 32)]
        reached += accuracy[1] >= wanted
        words += [f"{name}_accuracy={accuracy[1]:.2f}", f"{name}_file={out.stat().st_size}", f"{name}_seconds={seconds:.0f}"]
        print(
            f"{name:<15} {ratios:<22} {before / after:>7,.1f}x {original.stat().st_size:>12,} {out.stat().st_size:>10,}"
            f" {accuracy[0]:>10.2f}% {accuracy[1]:>6.2f}% {wanted:>6.1f}% {latencies[0]:>6.2f} {latencies[1]:>7.2f} {seconds:>8.1f}"
            f" {peak:>8.0f}",
            flush=True,
        )
    print("\nAccuracy on the official test set in ONNX Runtime; latency over the original's at batch 1 and 32, one thread;")
    print(f"together: parameters of all replaced weights over those of their generators. {os.cpu_count()} cores.")
    print(f"RESULT reached={reached}/{len(cases)} {' '.join(words)}")


if __name__ == "__main__":
    main()
