"""Runs every model of a folder in ONNX Runtime, where that takes it, else in onnx.reference.

The models have no inputs. Output i of NAME.onnx goes to NAME.i.npy, as float32.
"""

import pathlib
import sys

import numpy
import onnx
import onnx.reference
import onnxruntime


def run(path: pathlib.Path) -> list:
    model = onnx.load(path)
    for output in model.graph.output:
        output.ClearField("type")
    typed = onnx.shape_inference.infer_shapes(model).SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(typed, options, providers=["CPUExecutionProvider"]).run(None, {})
    except Exception as refused:
        print(f"{path.stem}: onnx.reference, since ONNX Runtime says: {refused}")
        return onnx.reference.ReferenceEvaluator(str(path)).run(None, {})


for path in sorted(pathlib.Path(sys.argv[1]).glob("*.onnx")):
    try:
        for number, output in enumerate(run(path)):
            numpy.save(path.with_suffix(f".{number}.npy"), numpy.asarray(output, dtype=numpy.float32))
    except Exception as failure:
        print(f"{path.stem}: {failure}", file=sys.stderr)
