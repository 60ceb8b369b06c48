"""Compiles real models and measures the result beside its peers; see `run`. Needs the packages of .ci/requirements.txt."""

import argparse
import json
import logging
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import QuantType, quantize_dynamic

sys.path.insert(0, str(Path(__file__).parent.parent / "common"))
import low_rank  # noqa: E402
from measure import latency, run_command, top_classes  # noqa: E402

AGREEMENT = 0.99
FIXTURES, OUTPUT, DATA = Path("onnx-fixtures"), Path("target/bench/end-to-end"), Path("target/data")


@dataclass
class Row:
    """One model under one method; fields that do not apply are None."""

    model: str
    method: str
    bytes: int
    ratio: float
    agreement: float
    accuracy: float
    test_accuracy: float | None
    latency_1: float
    latency_32: float
    seconds: float | None
    peak_mb: float | None


@dataclass
class Subject:
    """A model with its calibration inputs, held-out inputs and, when fetched, its whole test set."""

    name: str
    path: Path
    calibration: Path
    held_out: Path
    test: Path | None


def load(path):
    with np.load(path) as arrays:
        return arrays["input"], arrays["labels"]


def cut(source, target, count):
    """The first `count` entries of a fetched set, as a file of their own."""
    if not target.exists():
        images, labels = load(source)
        np.savez(target, input=images[:count], labels=labels[:count])
    return target


def subjects(quick, alexnet):
    digits = (FIXTURES / "mnist-calibration.npz", FIXTURES / "mnist-held-out.npz", None if quick else DATA / "mnist-test.npz")
    for name in ("lenet5-mnist", "fc2-mnist"):
        yield Subject(name, FIXTURES / f"{name}.onnx", *digits)
    if quick:
        return
    if not alexnet.is_file():
        print(f"alexnet-cifar10 is left out: {alexnet} is not there", file=sys.stderr)
        return
    test = DATA / "cifar10-test.npz"
    calibration = cut(DATA / "cifar10-train.npz", OUTPUT / "cifar10-calibration.npz", 256)
    yield Subject("alexnet-cifar10", alexnet, calibration, cut(test, OUTPUT / "cifar10-held-out.npz", 512), test)


class Bench:
    """Measures the methods on one subject, always beside the original."""

    def __init__(self, subject, quick):
        self.subject = subject
        self.latency_seconds = 0.5 if quick else 4.0
        self.images, self.labels = load(subject.held_out)
        self.classes = top_classes(subject.path, self.images)
        self.test = load(subject.test) if subject.test else None

    def output(self, method):
        return OUTPUT / f"{self.subject.name}-{method}.onnx"

    def measure(self, method, path, seconds=None, peak_mb=None):
        original = self.subject.path
        size = path.stat().st_size
        size += sum(data.stat().st_size for data in path.parent.glob(f"{path.name}.*data"))
        classes = top_classes(path, self.images)
        return Row(
            model=self.subject.name,
            method=method,
            bytes=size,
            ratio=original.stat().st_size / size,
            agreement=float((classes == self.classes).mean()),
            accuracy=float((classes == self.labels).mean()),
            test_accuracy=float((top_classes(path, self.test[0]) == self.test[1]).mean()) if self.test else None,
            latency_1=latency(original, path, self.images[:1], self.latency_seconds),
            latency_32=latency(original, path, self.images[:32], self.latency_seconds),
            seconds=seconds,
            peak_mb=peak_mb,
        )

    def compiled(self, compiler):
        """adntn-compile with default settings; None when it fails."""
        path, report = self.output("adntn"), OUTPUT / f"{self.subject.name}-report.json"
        for old in (path, path.with_name(f"{path.name}.data"), report):
            old.unlink(missing_ok=True)
        data = ["--calibration", self.subject.calibration, "--held-out", self.subject.held_out]
        command = [compiler, self.subject.path, path, *data, "--report", report, "--no-cache"]
        code, seconds, peak_mb = run_command(command)
        if code != 0 or not path.exists():
            print(f"adntn-compile failed on {self.subject.name} with exit code {code}", file=sys.stderr)
            return None
        return self.measure("adntn", path, seconds, peak_mb)

    def int8(self):
        """ONNX Runtime's dynamic quantisation: int8 weights, activations quantised as they come."""
        path = self.output("int8")
        start = time.perf_counter()
        # ONNX Runtime's integer convolution takes unsigned weights only.
        quantize_dynamic(str(self.subject.path), str(path), weight_type=QuantType.QUInt8)
        return self.measure("int8", path, time.perf_counter() - start)

    def svd(self):
        """The smallest SVD truncation that agrees with the original on 99 % of the held-out inputs."""
        path = self.output("svd")
        start = time.perf_counter()
        original = onnx.load(self.subject.path)
        factors = low_rank.decompose(original)

        def agrees(ranks, share=1.0):
            cut = low_rank.truncate(original, factors, ranks).SerializeToString()
            return (top_classes(cut, self.images) != self.classes).mean() <= share * (1 - AGREEMENT)

        found = [search(factors, agrees) for search in (low_rank.by_energy, low_rank.one_by_one)]
        model, ranks = min(((low_rank.truncate(original, factors, r).SerializeToString(), r) for r in found), key=lambda p: len(p[0]))
        path.write_bytes(model)
        print(f"SVD on {self.subject.name}: ranks {ranks or 'full'}", file=sys.stderr)
        return self.measure("svd", path, time.perf_counter() - start)


def table(rows):
    def cell(value, form):
        return "-" if value is None else format(value, form)

    lines = [
        f"{'model':<16} {'method':<9} {'bytes':>11} {'ratio':>7} {'agree %':>8} {'acc %':>7} {'test %':>7}"
        f" {'lat b1':>7} {'lat b32':>7} {'seconds':>8} {'peak MB':>8}"
    ]
    for row in rows:
        test = None if row.test_accuracy is None else 100 * row.test_accuracy
        lines.append(
            f"{row.model:<16} {row.method:<9} {row.bytes:>11,} {row.ratio:>6.2f}x {100 * row.agreement:>8.2f}"
            f" {100 * row.accuracy:>7.2f} {cell(test, '.2f'):>7} {row.latency_1:>7.2f} {row.latency_32:>7.2f}"
            f" {cell(row.seconds, '.1f'):>8} {cell(row.peak_mb, '.0f'):>8}"
        )
    return "\n".join(lines)


def result_line(rows, failed):
    """The figures of every method by model, for programs: `RESULT lenet5_adntn_ratio=... ...`."""
    words = []
    for row in rows:
        if row.method == "original":
            continue
        key = f"{row.model.split('-')[0]}_{row.method}"
        words += [f"{key}_ratio={row.ratio:.3f}", f"{key}_agreement={row.agreement:.4f}"]
        words += [f"{key}_latency1={row.latency_1:.3f}", f"{key}_latency32={row.latency_32:.3f}"]
        if row.peak_mb is not None:
            words += [f"{key}_seconds={row.seconds:.1f}", f"{key}_peak_mb={row.peak_mb:.0f}"]
    return " ".join(["RESULT", *words, f"failed={failed}"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", type=Path, required=True)
    parser.add_argument("--alexnet", type=Path, required=True)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)  # the quantiser's advice on preprocessing
    OUTPUT.mkdir(parents=True, exist_ok=True)

    rows, failed = [], 0
    for subject in subjects(arguments.quick, arguments.alexnet):
        print(f"== {subject.name}", file=sys.stderr)
        bench = Bench(subject, arguments.quick)
        rows.append(bench.measure("original", subject.path))
        compiled = bench.compiled(arguments.compiler)
        failed += compiled is None
        rows += [row for row in (compiled, bench.int8(), bench.svd()) if row is not None]

    (OUTPUT / "results.json").write_text(json.dumps([asdict(row) for row in rows], indent=1))
    print("Agreement and accuracy on the held-out inputs, test on the whole test set; latency over the original's, one thread.")
    print(table(rows))
    print(result_line(rows, failed))
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
