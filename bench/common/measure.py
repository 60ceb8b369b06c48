"""What is measured on a model: outputs, agreement, error, latency, and the time and memory of a command."""

import json
import os
import statistics
import subprocess
import sys
import time

import numpy as np
import onnxruntime

BATCH = 256


def session(path, threads=1):
    """ONNX Runtime at its default optimisation level. `path` may be a path or the bytes of a model; 0 threads are all cores."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = path if isinstance(path, bytes) else str(path)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def outputs(path, images, threads=1):
    """The first output for every image."""
    run = session(path, threads)
    name = run.get_inputs()[0].name
    return np.concatenate([run.run(None, {name: images[at : at + BATCH]})[0] for at in range(0, len(images), BATCH)])


def top_classes(path, images):
    """The class with the largest first output, for every image."""
    return outputs(path, images).argmax(1)


def relative_error(before, after):
    """RMS of the difference over the standard deviation of the original's output, channel by channel, as reports define it."""
    before, after = before.astype(np.float64), after.astype(np.float64)
    variance, size = before.var(0), (before**2).mean(0)
    varies = variance > (2 * np.finfo(np.float32).eps) ** 2 * size
    scale = np.where(varies, variance, size)
    scale = np.where(scale > 0, scale, scale.mean())
    return float(np.sqrt(((after - before) ** 2 / scale).mean(0).sum() / max(varies.sum(), 1)))


def latency(original, other, images, seconds, rounds=30):
    """Median latency of `other` over that of `original` on the batch `images`, the two run in turn for about `seconds`.

    Each runs `rounds` times at least.
    """
    sessions = [session(original), session(other)]
    feeds = [{run.get_inputs()[0].name: images} for run in sessions]
    times = ([], [])
    for round_ in range(-3, 10_000):
        for which in (0, 1) if round_ % 2 else (1, 0):
            start = time.perf_counter()
            sessions[which].run(None, feeds[which])
            if round_ >= 0:
                times[which].append(time.perf_counter() - start)
        if round_ >= rounds - 1 and sum(times[0]) + sum(times[1]) > seconds:
            break
    return statistics.median(times[1]) / statistics.median(times[0])


# A child's peak memory counts what its parent held when it was started, so a small process of its own starts the command.
LAUNCHER = """
import json, os, subprocess, sys, time
start = time.perf_counter()
child = subprocess.Popen(sys.argv[1:], stdout=sys.stderr)
_, status, usage = os.wait4(child.pid, 0)
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps([os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_maxrss * unit / 1e6]))
"""


def run_command(command, **environment):
    """Runs a command; returns its exit code, wall seconds and peak resident memory in MB (at least the 12 MB or so of the launcher).

    The command's output goes to stderr. `environment` is added to this process's.
    """
    words = [sys.executable, "-I", "-S", "-c", LAUNCHER, *map(str, command)]
    launched = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | environment)
    return tuple(json.loads(launched.stdout))
