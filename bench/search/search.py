"""Compiles models with data and nothing else, and sets the result beside what rivals make at equal quality; see `run`."""

import argparse
import hashlib
import json
import math
import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent / "common"))
from measure import latency, run_command  # noqa: E402
from rivals import Candidate, Lab, Target, all_of, packed  # noqa: E402
import tables  # noqa: E402

OUTPUT, FIXTURES, DATA = Path("target/bench-search"), Path("onnx-fixtures"), Path("target/data")
PERCENT = Target("1 %", "accuracy", 0.01)
FIFTH = Target("0.2 %", "accuracy", 0.002)
ERROR = Target("error", "error", 0.01)
TARGETS = [PERCENT, FIFTH, ERROR]
SHIPPED = FIXTURES / "mnist-calibration.npz"


@dataclass
class Bar:
    """What a compiled model has to reach: bytes, accuracy in percent of the test set, seconds."""

    most_bytes: int | None = None
    accuracy: float | None = None
    seconds: float | None = None


@dataclass
class Subject:
    name: str
    model: str
    data: str
    of_rival: float
    bars: dict[str, Bar]


SUBJECTS = [
    Subject("fc2", "fc2-mnist", "mnist", 0.5, {
        "": Bar(16_000, 97.6, 360), "t02": Bar(28_000, 98.4, 360), "quick": Bar(accuracy=97.6, seconds=60),
        "digits": Bar(50_000, 97.6, 360), "nodata": Bar(3_256_897 * 10 // 38, None, 360),
    }),
    Subject("lenet5", "lenet5-mnist", "mnist", 1.0, {
        "": Bar(10_000, 98.3, 360), "t02": Bar(seconds=360), "quick": Bar(accuracy=98.3, seconds=60),
        "digits": Bar(14_000, 98.3, 360), "nodata": Bar(248_425 * 10 // 38, None, 360),
    }),
    Subject("alexnet", "alexnet-cifar10", "cifar10", 0.5, {
        "": Bar(900_000, 78.1, 2400), "t02": Bar(1_300_000, 78.9, 2400), "quick": Bar(accuracy=78.1, seconds=300),
        "nodata": Bar(93_091_955 * 10 // 38, None, 2400),
    }),
]  # fmt: skip


@dataclass
class Ours:
    """One compilation. `measured` is None where the compiler failed."""

    case: str
    target: Target
    words: list
    measured: dict | None = None

    @property
    def options(self):
        return " ".join(Path(w).name if str(w).endswith(".npz") else str(w) for w in self.words) or "no data"


@dataclass
class Group:
    """All rows of one model and one quality."""

    subject: Subject
    target: Target
    before: dict
    ours: list[Ours]
    rivals: list[Candidate] = field(default_factory=list)

    def best(self, key):
        return min(self.rivals, key=lambda rival: rival.measured[key], default=None)

    def ratio(self, ours, key):
        """Our bytes over those of the best rival; None where there is none, or ours is not within the tolerance."""
        best = self.best(key)
        within = ours.measured is not None and self.target.holds(ours.measured, self.before)
        return ours.measured[key] / best.measured[key] if within and best else None


def compilations(subject, arguments):
    """What is asked of the compiler for a subject."""
    training = DATA / f"{subject.data}-train.npz"
    passed = [word for option in ("effort", "time") if (value := getattr(arguments, option)) for word in (f"--{option}", value)]
    cases = []
    if not arguments.quick:
        cases += [Ours("", PERCENT, ["-c", training]), Ours("t02", FIFTH, ["-c", training, "-t", "0.2%"])]
        if not arguments.effort:
            cases.append(Ours("quick", PERCENT, ["-c", training, "--effort", "quick"]))
    if subject.data == "mnist":
        cases.append(Ours("digits", PERCENT, ["-c", SHIPPED]))
    cases.append(Ours("nodata", ERROR, []))
    for case in cases:
        case.words = case.words + passed
    return cases


def compiled(lab, subject, case, arguments):
    """The measurements of what the compiler makes; None when it fails."""
    name = f"{subject.name}-{case.case or 'full'}"
    path, entry = OUTPUT / f"{name}.onnx", OUTPUT / f"{name}.json"
    files = [arguments.compiler, lab.path]
    identity = hashlib.sha256(b"".join(file.read_bytes() for file in files) + case.options.encode()).hexdigest()
    if arguments.reuse and entry.exists():
        kept = json.loads(entry.read_text())
        if kept["identity"] == identity:
            return kept
    # What earlier compilations left in the user's cache would make times and results depend on them.
    cache = OUTPUT / "user-cache"
    shutil.rmtree(cache, ignore_errors=True)
    for old in (path, entry):
        old.unlink(missing_ok=True)
    command = [arguments.compiler, lab.path, path, *case.words]
    print("==", *command, file=sys.stderr, flush=True)
    code, seconds, _ = run_command(command, XDG_CACHE_HOME=str(cache.resolve()))
    if code != 0 or not path.exists():
        print(f"adntn-compile failed on {name} with exit code {code}", file=sys.stderr)
        return None
    content = path.read_bytes()
    measured = lab.judge(content) | {"seconds": seconds, "brotli": packed(content), "identity": identity}
    measured["latency"] = latency(lab.path, path, lab.images[:1], 0.5 if arguments.quick else 4.0)
    entry.write_text(json.dumps(measured))
    return measured


def bars(group, ours, groups):
    """(what, whether it is met) of one compilation."""
    subject, bar, name = group.subject, group.subject.bars[ours.case], f"{group.subject.name} {ours.options}"
    if ours.measured is None:
        yield f"{name}: a model", False
        return
    accuracy = 100 * ours.measured["right"] / ours.measured["count"]
    if bar.accuracy is not None:
        yield f"{name}: accuracy {accuracy:.2f} %, at least {bar.accuracy} %", accuracy >= bar.accuracy - 1e-9
    elif ours.case == "nodata":
        yield f"{name}: output error {100 * ours.measured['error']:.2f} %, at most 1 %", ours.measured["error"] <= 0.01
    if bar.most_bytes is not None:
        yield f"{name}: {ours.measured['bytes']:,} bytes, at most {bar.most_bytes:,}", ours.measured["bytes"] <= bar.most_bytes
    if bar.seconds is not None:
        yield f"{name}: {ours.measured['seconds']:.0f} seconds, at most {bar.seconds:.0f}", ours.measured["seconds"] <= bar.seconds
    if ours.case == "quick":
        full = next((o for g in groups for o in g.ours if g.subject is subject and o.case == "" and o.measured), None)
        if full:
            saved = math.log(group.before["bytes"] / ours.measured["bytes"]) / math.log(group.before["bytes"] / full.measured["bytes"])
            yield f"{name}: {100 * saved:.0f} % of the saving of normal effort in log bytes, at least 50 %", saved >= 0.5
    elif group.rivals:
        ratio = group.ratio(ours, "bytes")
        said = "outside the tolerance" if ratio is None else f"{ratio:.2f}"
        yield f"{name}: bytes over the best rival's {said}, at most {subject.of_rival}", ratio is not None and ratio <= subject.of_rival


def result_line(groups, missed, count):
    words, worst = [], None
    for group in groups:
        best = group.best("bytes")
        name = {"1 %": "1", "0.2 %": "02", "error": "error"}[group.target.name]
        if best:
            words.append(f"{group.subject.name}_rival_{name}_bytes={best.measured['bytes']}")
        for ours in group.ours:
            key = "_".join(filter(None, [group.subject.name, ours.case]))
            if ours.measured is None:
                words.append(f"{key}_failed=1")
                continue
            words += [f"{key}_bytes={ours.measured['bytes']}", f"{key}_brotli={ours.measured['brotli']}"]
            words += [f"{key}_accuracy={100 * ours.measured['right'] / ours.measured['count']:.2f}"]
            words += [f"{key}_error={ours.measured['error']:.4f}", f"{key}_seconds={ours.measured['seconds']:.0f}"]
            if best:
                words.append(f"{key}_best_rival_bytes={best.measured['bytes']}")
                ratio = group.ratio(ours, "bytes")
                words.append(f"{key}_ratio_to_rival={'outside' if ratio is None else f'{ratio:.3f}'}")
                if ratio is not None and ours.case != "quick":
                    worst = max(worst or 0, ratio)
    if worst is not None:
        words.append(f"worst_ratio_to_rival={worst:.3f}")
    return " ".join(["RESULT", *words, f"bars_met={count - len(missed)}/{count}"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--compiler", type=Path)
    parser.add_argument("--models", type=Path, default=os.environ.get("ADNTN_MODELS"))
    parser.add_argument("--only", type=lambda text: text.split(","), default=[])
    parser.add_argument("--effort")
    parser.add_argument("--time")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--reuse", action="store_true")
    arguments = parser.parse_args()
    names = [subject.name for subject in SUBJECTS]
    if unknown := [name for name in arguments.only if name not in names]:
        sys.exit(f"there is no model called {unknown[0]}; there are: {', '.join(names)}")
    OUTPUT.mkdir(parents=True, exist_ok=True)
    wanted = arguments.only or (names[:2] if arguments.quick else names)

    groups, paper = [], tables.Paper(OUTPUT / "table.md")
    for subject in (subject for subject in SUBJECTS if subject.name in wanted):
        path = FIXTURES / f"{subject.model}.onnx"
        if not path.exists():
            path = Path(arguments.models or "") / path.name
        if not path.exists():
            print(f"{subject.name} is left out: {path.name} is not there; --models or ADNTN_MODELS says where it is", file=sys.stderr)
            continue
        with np.load(DATA / f"{subject.data}-test.npz") as arrays:
            images, labels = arrays["input"], arrays["labels"]

        def training(count, subject=subject):
            with np.load(DATA / f"{subject.data}-train.npz") as arrays:
                return arrays["input"][:count]

        lab = Lab(path, images, labels, training, OUTPUT / "rivals", arguments.quick)
        cases = compilations(subject, arguments)
        for target in TARGETS:
            ours = [case for case in cases if case.target is target] if arguments.compiler else []
            if arguments.quick and not any(case.target is target for case in cases):
                continue
            for case in ours:
                case.measured = compiled(lab, subject, case, arguments)
            groups.append(Group(subject, target, lab.original(), ours, all_of(lab, target)))
            paper.add(groups[-1])
    if not groups:
        sys.exit("no model is there to be measured")

    judged = [bar for group in groups for ours in group.ours for bar in bars(group, ours, groups)]
    missed = [what for what, met in judged if not met]
    paper.end(missed, len(judged))
    print(result_line(groups, missed, len(judged)))
    sys.exit(any(ours.measured is None for group in groups for ours in group.ours))


if __name__ == "__main__":
    main()
