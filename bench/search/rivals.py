"""The rivals: what each makes of a model, and the smallest of it within a tolerance on the test set."""

import hashlib
import json
import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Callable

import brotli
import numpy as np
import onnx

import low_rank
import storage
from measure import latency, outputs, relative_error

# To be raised when what some rival makes, or how it is measured, changes: results of other revisions are not reused.
REVISION = 1
PACKAGES = ("onnx-shrink-ray", "onnxconverter-common", "onnxruntime")
SAMPLES = 5000  # of the training set, for activations
# Trials that lose clearly more than any target allows on the first images are not run on all.
FIRST, LOOSEST = 2000, 0.01
COARSE = 10e6  # bytes of a model from which on fewer settings are tried
LARGE = 32e6  # bytes from which on brotli would take minutes
FLOATS = "shrink-ray floats"
THREADS = int(os.environ.get("OMP_NUM_THREADS", 0))


@dataclass(frozen=True)
class Target:
    """What a model has to keep: an absolute loss of accuracy, or a relative output error, of at most `most`."""

    name: str
    kind: str
    most: float

    def holds(self, measured, before, share=1.0):
        if measured is None:
            return False
        if self.kind == "error":
            return measured["error"] <= share * self.most
        return measured["right"] >= before["right"] - int(share * self.most * before["count"] + 1e-9)


@dataclass
class Candidate:
    """A rival's model. `make` makes it again: only the measurements are kept."""

    who: str
    options: str
    make: Callable[[], onnx.ModelProto]
    measured: dict
    way: str = ""
    ranks: dict | None = None


def smaller(candidates, key="bytes"):
    return min((c for c in candidates if c is not None), key=lambda c: c.measured[key], default=None)


class Lab:
    """Measures models on one subject's test set and remembers what it measured."""

    def __init__(self, path, images, labels, training, folder, quick):
        self.path, self.images, self.labels, self.training, self.folder, self.quick = path, images, labels, training, folder, quick
        folder.mkdir(parents=True, exist_ok=True)
        self.model = onnx.load(path)
        content = path.read_bytes()
        self.coarse = len(content) >= COARSE
        packages = [f"{name} {version(name)}" for name in PACKAGES]
        self.identity = json.dumps([REVISION, packages, hashlib.sha256(content).hexdigest(), len(labels)])
        self.reference = outputs(path, images, THREADS)
        self.factors = {}
        self.before = self.judge(content)

    def judge(self, content, early=False):
        """What a model keeps on the test set. With `early`, one that has lost far too much after the first part gets no further."""
        count = FIRST if early and len(self.labels) > 2 * FIRST else 0
        parts = []
        if count:
            got, was = outputs(content, self.images[:FIRST], THREADS), self.reference[:FIRST]
            right, was_right = (each.argmax(1) == self.labels[:FIRST] for each in (got, was))
            lost, changed = int(was_right.sum() - right.sum()), int((was_right != right).sum())
            error = relative_error(was, got)
            if lost > LOOSEST * FIRST + 4 * changed**0.5 and error > 2 * LOOSEST:
                return self.judgement(content, self.before["right"] - lost * len(self.labels) // FIRST, error)
            parts.append(got)
        got = np.concatenate([*parts, outputs(content, self.images[count:], THREADS)])
        return self.judgement(content, int((got.argmax(1) == self.labels).sum()), relative_error(self.reference, got))

    def judgement(self, content, right, error):
        return {"bytes": len(content), "right": right, "count": len(self.labels), "error": error}

    def remembered(self, who, parameters, work):
        """What `work` gives, from the cache where it is there; None, a failure, is not kept."""
        name = hashlib.sha256(json.dumps([self.identity, who, parameters], sort_keys=True).encode()).hexdigest()[:24]
        entry = self.folder / f"{name}.json"
        try:
            return json.loads(entry.read_text())
        except (OSError, ValueError):
            value = work()
            if value is None:
                return None
            part = entry.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps(value))
            part.replace(entry)
            return value

    def measure(self, who, parameters, make):
        """The measurements of what `make` makes, or None where it or ONNX Runtime fails."""

        def work():
            start = time.perf_counter()
            try:
                content = make().SerializeToString()
                seconds = time.perf_counter() - start
                found = self.judge(content, early=True) | {"seconds": seconds}
            except Exception as error:  # whatever a rival raises
                print(f"{self.path.stem}: {who} {parameters} failed: {error}"[:300], file=sys.stderr)
                return None
            accuracy = 100 * found["right"] / found["count"]
            print(f"{self.path.stem}: {who} {parameters}: {found['bytes']:,} bytes, {accuracy:.2f} %", file=sys.stderr, flush=True)
            return found

        return self.remembered(who, parameters, work)

    def size(self, who, parameters, make):
        """Bytes of what `make` makes, None where it fails."""

        def work():
            try:
                return {"bytes": make().ByteSize()}
            except Exception as error:  # whatever a rival raises
                print(f"{self.path.stem}: {who} {parameters} failed: {error}"[:300], file=sys.stderr)
                return None

        found = self.remembered(f"size {who}", parameters, work)
        return found and found["bytes"]

    def finish(self, candidate):
        """Adds what is worth measuring on chosen models only: bytes after brotli, and latency."""
        if candidate is None:
            return None

        def work():
            content = candidate.make().SerializeToString()
            return {"brotli": packed(content, candidate.who), "latency": latency(self.path, content, self.images[:1], 0.5 if self.quick else 4.0)}

        candidate.measured |= self.remembered(f"finish {candidate.who}", [candidate.options, candidate.measured["bytes"], self.quick], work)
        return candidate

    def original(self):
        """The measurements of the original, with its bytes after brotli."""
        return self.before | self.remembered("original", {}, lambda: {"brotli": packed(self.path.read_bytes())})

    def decomposed(self, weighted):
        """The factors of all weights and the seconds it took to find them."""
        if weighted not in self.factors:
            entry = self.folder / f"{hashlib.sha256(f'{self.identity} {weighted}'.encode()).hexdigest()[:24]}.npz"
            if not entry.exists():
                print(f"{self.path.stem}: decomposing the weights", file=sys.stderr, flush=True)
                start = time.perf_counter()
                moments = low_rank.moments(self.model, self.training(SAMPLES)) if weighted else None
                found = low_rank.decompose(self.model, moments)
                arrays = {f"{n}|{field}": getattr(each, field) for n, each in found.items() for field in ("left", "right", "energy")}
                part = entry.with_suffix(f".{os.getpid()}.npz")
                np.savez(part, seconds=time.perf_counter() - start, **arrays)
                part.replace(entry)
            with np.load(entry) as arrays:
                names = dict.fromkeys(key.rsplit("|", 1)[0] for key in arrays.files if "|" in key)
                found = {n: low_rank.Factors(*(arrays[f"{n}|{field}"] for field in ("left", "right", "energy"))) for n in names}
                self.factors[weighted] = found, float(arrays["seconds"])
        return self.factors[weighted]


def packed(content, who=""):
    """Bytes after brotli: quality 11, but 9 for large files, a percent more of float32, unless compressing is the rival's purpose."""
    quality = 9 if len(content) > LARGE and who != FLOATS else 11
    return len(brotli.compress(content, quality=quality, lgwin=24))


def variants(lab, who, target, makers):
    """The smallest of some variants, {options: maker}, that holds."""
    sizes = {options: lab.size(who, options, make) for options, make in makers.items()}
    for options in sorted((options for options in makers if sizes[options]), key=sizes.get):
        measured = lab.measure(who, options, makers[options])
        if target.holds(measured, lab.before):
            return Candidate(who, options, makers[options], measured)
    return None


def int8(lab, target):
    makers = {}
    for weights in ("QUInt8", "QInt8"):
        for per_channel in (False, True):
            for operators in (None,) if lab.coarse else (None, ["MatMul", "Gemm"]):
                options = ", ".join([weights, *["per channel"] * per_channel, *["no Conv"] * bool(operators)])
                makers[options] = lambda w=weights, p=per_channel, o=operators: storage.dynamic_int8(lab.model, w, p, o)
    return variants(lab, "ORT dynamic int8", target, makers)


def shrink_ray(lab, target):
    makers = {}
    for least in (1024,) if lab.coarse else (16, 64, 256, 1024, 16384):
        for per_channel in (False, True):
            options = f"from {least} elements" + ", per channel" * per_channel
            makers[options] = lambda n=least, p=per_channel: storage.shrink_ray(lab.model, n, p)
    return variants(lab, "shrink-ray", target, makers)


def shrink_ray_floats(lab, target):
    """Of these files the bytes after brotli count."""
    levels = (256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 6, 4)
    trial = lambda at: Candidate(FLOATS, f"{levels[at]} levels", lambda: storage.shrink_ray_floats(lab.model, levels[at]), {})
    measure = lambda c: lab.measure(c.who, c.options, c.make)
    found = low_rank.last(len(levels), lambda at: target.holds(measure(trial(at)), lab.before))
    if found < 0:
        return None
    chosen = trial(found)
    chosen.measured = dict(measure(chosen))
    return chosen


def four_bits(lab, target):
    makers = {}
    for symmetric in (True, False):
        kind = "symmetric" if symmetric else "with zero points"
        quantised = lambda s=symmetric: storage.four_bits(lab.model, s)
        makers[f"block 32, {kind}"] = quantised
        makers[f"block 32, {kind}, rest 8 bits"] = lambda q=quantised: storage.eight_bits(q())
    return variants(lab, "MatMulNBits 4 bits", target, makers)


def float16(lab, target):
    makers = {"network": lambda: storage.float16_network(lab.model), "weights only": lambda: storage.float16_weights(lab.model)}
    return variants(lab, "float16", target, makers)


def svd(weighted, packing):
    """SVD, of the weights or of what they do to the activations, with or without 8 bits on top.

    Where trials take long, the ranks are searched for with 8 bits on top, which is what comes out smallest, and serve without them too.
    """
    who = ("weighted SVD" if weighted else "SVD") + (", 8 bits" if packing else "")

    def best(lab, target):
        factors, seconds = lab.decomposed(weighted)

        def make(ranks):
            cut = low_rank.truncate(lab.model, factors, ranks)
            return storage.eight_bits(cut) if packing else cut

        def measure(ranks):
            paying = {name: rank for name, rank in ranks.items() if factors[name].pays(rank)}
            return lab.measure(who, paying, lambda: make(paying))

        def holds(ranks, share=1.0):
            return target.holds(measure(ranks), lab.before, share)

        def ended(way, ranks):
            measured = measure(ranks)
            cut = {name: rank for name, rank in ranks.items() if factors[name].pays(rank)}
            if not target.holds(measured, lab.before) or not (cut or packing):
                return None
            options = f"{way}, ranks {' '.join(str(cut.get(name, '-')) for name in factors)}" if cut else "full ranks"
            return Candidate(who, options, lambda: make(ranks), measured | {"seconds": seconds + measured["seconds"]}, way, ranks)

        if lab.coarse and not packing:
            found = svd(weighted, True)(lab, target)
            chosen = ended(found.way, found.ranks) if found else None
            if chosen:
                return chosen
        ways = {"by energy": low_rank.by_energy}
        if not lab.quick and not lab.coarse:
            ways |= {"by fraction": low_rank.by_fraction, "one by one": low_rank.one_by_one}
        elif not lab.quick and packing and (weighted or target.kind == "error"):
            ways["one by one"] = partial(low_rank.one_by_one, coarse=True)
        searched = low_rank.worthwhile(factors)
        return smaller([ended("", {}), *(ended(way, search(searched, holds)) for way, search in ways.items())])

    return best


# Those that need no data come first: beside models compiled without any only these count.
WITHOUT_DATA = [float16, int8, shrink_ray, shrink_ray_floats, four_bits, svd(False, False), svd(False, True)]
WITH_DATA = [svd(True, False), svd(True, True)]
QUICK = [float16, shrink_ray, svd(False, True)]


def all_of(lab, target):
    """The best of every rival for a target, finished; those that have nothing within it are left out."""
    if lab.quick:
        rivals = QUICK
    else:
        rivals = WITHOUT_DATA + (WITH_DATA if target.kind == "accuracy" else [])
    return [found for found in (lab.finish(rival(lab, target)) for rival in rivals) if found is not None]
