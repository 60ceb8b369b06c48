"""What is measured on a model: agreement, accuracy, latency, and the time and memory of a command."""

import json
import statistics
import subprocess
import sys
import time

import numpy as np
import onnxruntime

BATCH = 256


def session(path):
    """ONNX Runtime on one thread, default optimisation level. `path` may be a path or the bytes of a model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = path if isinstance(path, bytes) else str(path)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def top_classes(path, images):
    """The class with the largest first output, for every image."""
    run = session(path)
    name = run.get_inputs()[0].name
    parts = [run.run(None, {name: images[start : start + BATCH]})[0].argmax(1) for start in range(0, len(images), BATCH)]
    return np.concatenate(parts)


def latency(original, other, images, seconds):
    """Median latency of `other` over that of `original` on the batch `images`, the two run in turn for about `seconds`."""
    sessions = [session(original), session(other)]
    feeds = [{run.get_inputs()[0].name: images} for run in sessions]
    times = ([], [])
    for round_ in range(-3, 10_000):
        for which in (0, 1) if round_ % 2 else (1, 0):
            start = time.perf_counter()
            sessions[which].run(None, feeds[which])
            if round_ >= 0:
                times[which].append(time.perf_counter() - start)
        if round_ >= 9 and sum(times[0]) + sum(times[1]) > seconds:
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


def run_command(command):
    """Runs a command; returns its exit code, wall seconds and peak resident memory in MB (at least the 12 MB or so of the launcher).

    The command's output goes to stderr.
    """
    words = [sys.executable, "-I", "-S", "-c", LAUNCHER, *map(str, command)]
    launched = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True)
    return tuple(json.loads(launched.stdout))
