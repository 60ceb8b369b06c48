"""Compiles models on few samples, many times, and counts how often more is lost on all others than the report says; see `run`.

The samples are drawn from MNIST's test set, which the models were not trained on, anew for each seed. What the tool does not get
is what its result is judged on. A claim is broken when the loss there exceeds the tolerance although the report says that it is
shown, or for relative errors estimated, with 95 % confidence, not to.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).parent.parent / "common"))
from measure import outputs, relative_error  # noqa: E402

OUTPUT = Path("target/bench/promise")
COUNTS = (64, 256, 1000)
# Name, model, value that is the output (None: the model's own), metric, tolerance, labels.
MODELS = [
    ("lenet5-labels", "lenet5-mnist", None, "accuracy", 0.01, True),
    ("lenet5-error", "lenet5-mnist", None, "error", 0.1, False),
    ("lenet5-cosine", "lenet5-mnist", "features", "cosine", 0.01, False),
    ("fc2-top-class", "fc2-mnist", None, "top-class", 0.01, False),
]


def cut(model, features):
    """The fixture, with the values that its last layer reads as the output where `features` is set."""
    proto = onnx.load(f"onnx-fixtures/{model}.onnx")
    if features:
        last = proto.graph.node[-1]
        proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info(last.input[0], onnx.TensorProto.FLOAT, [None, None]))
        gone = set(last.input[1:])
        kept = [tensor for tensor in proto.graph.initializer if tensor.name not in gone]
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(kept)
        del proto.graph.node[-1]
    return proto


def loss(metric, before, after, labels):
    """The loss as the report defines it."""
    if metric == "accuracy":
        return float((before.argmax(1) == labels).mean() - (after.argmax(1) == labels).mean())
    if metric == "top-class":
        return float((before.argmax(1) != after.argmax(1)).mean())
    if metric == "cosine":
        lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
        return float(np.clip(1 - (before * after).sum(1) / np.maximum(lengths, 1e-30), 0, 1).mean())
    return relative_error(before, after)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--only", type=re.compile, default=re.compile(""))
    arguments = parser.parse_args()
    OUTPUT.mkdir(parents=True, exist_ok=True)
    test = np.load("target/data/mnist-test.npz")
    images, labels = test["input"], test["labels"]
    models = [m for m in MODELS if arguments.only.search(m[0]) and not (arguments.quick and m[0].startswith("fc2"))]
    counts = COUNTS[1:] if arguments.quick else COUNTS
    seeds = arguments.seeds or (2 if arguments.quick else 50)
    # One thread each, two at a time: the file does not depend on the number of threads.
    environment = {**os.environ, "RAYON_NUM_THREADS": "1"}

    original = {}
    for name, model, features, *_ in models:
        path = OUTPUT / f"{name}.onnx"
        onnx.save(cut(model, features), path)
        original[name] = outputs(path, images)

    def once(job):
        (name, _, _, metric, tolerance, labelled), count, seed = job
        chosen = np.random.default_rng(1000 * seed + count).permutation(len(images))[:count]
        stem = OUTPUT / f"{name}-{count}-{seed}"
        samples = {"input": images[chosen], **({"labels": labels[chosen]} if labelled else {})}
        np.savez(f"{stem}.npz", **samples)
        command = [arguments.compiler, OUTPUT / f"{name}.onnx", f"{stem}.onnx", "-c", f"{stem}.npz", "--seed", str(seed)]
        command.append("--no-cache")
        command += ["-t", str(tolerance), "--report", f"{stem}.json"] + ([] if labelled else ["--metric", metric])
        done = subprocess.run([str(word) for word in command], env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{stem}: the compiler ended with {done.returncode}: {done.stderr}")
        report = json.loads(Path(f"{stem}.json").read_text())
        fresh = np.setdiff1d(np.arange(len(images)), chosen)
        lost = loss(metric, original[name][fresh], outputs(f"{stem}.onnx", images[fresh]), labels[fresh])
        for suffix in ("npz", "onnx", "json"):
            os.remove(f"{stem}.{suffix}")
        ratio = report["input"]["bytes"] / report["output"]["bytes"]
        # A model that stays what it was breaks no promise, and keeps none.
        return report["quality"]["claim"] if ratio > 1 else None, lost, lost > tolerance, ratio

    # Relative errors are estimated, everything else is shown.
    print(f"{'model':<14} {'tolerance':>9} {'samples':>8} {'runs':>5} {'claimed':>7} {'broken of these':>16} {'broken of all':>14} "
          f"{'median loss':>12} {'largest':>8} {'median ratio':>13}")
    everything = []
    with ThreadPoolExecutor(2) as pool:
        for model in models:
            for count in counts:
                runs = list(pool.map(once, [(model, count, seed) for seed in range(seeds)]))
                everything += runs
                claimed = [run for run in runs if run[0] in ("shown", "estimated")]
                broken = f"{sum(run[2] for run in claimed) / len(claimed):.1%}" if claimed else "–"
                print(f"{model[0]:<14} {model[4]:>9.0%} {count:>8,} {len(runs):>5} {len(claimed) / len(runs):>7.0%} {broken:>16} "
                      f"{sum(run[2] for run in runs) / len(runs):>14.1%} {statistics.median(run[1] for run in runs):>12.2%} "
                      f"{max(run[1] for run in runs):>8.2%} {statistics.median(run[3] for run in runs):>12.2f}x", flush=True)
    shown, estimated = ([run for run in everything if run[0] == claim] for claim in ("shown", "estimated"))
    broken = sum(run[2] for run in shown) / max(len(shown), 1)
    astray = sum(run[2] for run in estimated) / max(len(estimated), 1)
    print(f"RESULT share_broken={broken:.4f} claims={len(shown)} estimates_broken={astray:.4f} estimates={len(estimated)} "
          f"share_broken_of_all={sum(r[2] for r in everything) / len(everything):.4f} "
          f"runs={len(everything)}")


if __name__ == "__main__":
    main()
