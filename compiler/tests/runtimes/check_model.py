"""Checks a compiled model against its original in real runtimes.

    check_model.py ORIGINAL.onnx COMPILED.onnx [--inputs IN.npz] [--expected OUT.npz] [--generator /ttn/] [--tolerance 1e-4]

1. onnx.checker accepts COMPILED, with full_check.
2. COMPILED has the graph inputs and outputs of ORIGINAL: names, element types, shapes.
3. ONNX Runtime loads and runs both.
4. ONNX Runtime's outputs of COMPILED agree with the arrays of OUT.npz, which are named after the outputs.
5. OpenVINO loads and runs COMPILED and agrees with ONNX Runtime.
6. ONNX Runtime's optimised graph of COMPILED, at its default level, has no node left whose name or output contains the
   `--generator` text, and no more nodes that depend on no graph input than that of ORIGINAL (a generator node under a new name would be one).
7. onnx.reference, where it has every operator, agrees with ONNX Runtime on the first rows.

Two outputs agree when max |a - b| <= tolerance * max |b|. IN.npz has one array for each graph input, named after it; other arrays
are ignored. Without it the inputs are drawn from a fixed seed, free dimensions being 3.

Prints one line of JSON: "ok", the differences measured, node counts, and "failure" when something failed. Exit code 0 when all
checks pass, 1 when one fails (the reason is on stderr too), 2 when the command line is wrong. Needs the packages of
.ci/requirements.txt.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import RuntimeImplementationError

FREE_DIMENSION = 3
REFERENCE_ROWS = 4


class Failure(Exception):
    """A check that failed; the text says which and why."""


def graph_interface(model):
    """Graph inputs that are not initializers, and outputs, each as name -> (element type, shape)."""
    stored = {tensor.name for tensor in model.graph.initializer}
    stored |= {tensor.values.name for tensor in model.graph.sparse_initializer}

    def describe(values):
        described = {}
        for value in values:
            tensor = value.type.tensor_type
            shape = None
            if tensor.HasField("shape"):
                shape = [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or "?" for dim in tensor.shape.dim]
            described[value.name] = (onnx.TensorProto.DataType.Name(tensor.elem_type), shape)
        return described

    return describe(value for value in model.graph.input if value.name not in stored), describe(model.graph.output)


def all_nodes(graph):
    """Every node of the graph and of the bodies of its control-flow nodes."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for body in [attribute.g, *attribute.graphs]:
                yield from all_nodes(body)


def node_label(node):
    """A node's name and its outputs: nodes that a rewrite adds have no name."""
    return " ".join([node.name, *node.output]).strip()


def constant_nodes(graph):
    """Names of the nodes of the main graph that depend on no graph input: what constant folding left over."""
    stored = {tensor.name for tensor in graph.initializer}
    varying = {value.name for value in graph.input} - stored
    left = []
    for node in graph.node:
        captured = [name for inner in all_nodes(onnx.GraphProto(node=[node])) for name in inner.input]
        if varying.intersection(captured):
            varying.update(node.output)
        else:
            left.append(node_label(node))
    return left


def check_well_formed(path):
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise Failure(f"onnx.checker rejects {path}: {error}") from error


def check_interface(original, compiled):
    for kind, before, after in zip(("input", "output"), graph_interface(original), graph_interface(compiled)):
        if list(before) != list(after):
            raise Failure(f"graph {kind}s were {list(before)} and are now {list(after)}")
        for name in before:
            if before[name] != after[name]:
                raise Failure(f"graph {kind} {name} was {before[name]} and is now {after[name]}")


def make_inputs(interface, path):
    """Arrays for the graph inputs: those of the file, or drawn from a fixed seed."""
    if path is not None:
        with np.load(path) as arrays:
            missing = [name for name in interface if name not in arrays]
            if missing:
                raise Failure(f"{path} has no array for the graph inputs {missing}")
            return {name: arrays[name] for name in interface}
    rng = np.random.Generator(np.random.PCG64(0))
    inputs = {}
    for name, (element_type, shape) in interface.items():
        if shape is None:
            raise Failure(f"graph input {name} states no shape; give --inputs")
        dims = [dim if isinstance(dim, int) else FREE_DIMENSION for dim in shape]
        dtype = onnx.helper.tensor_dtype_to_np_dtype(onnx.TensorProto.DataType.Value(element_type))
        values = rng.standard_normal(dims) if np.issubdtype(dtype, np.floating) else rng.integers(0, 2, dims)
        inputs[name] = values.astype(dtype)
    return inputs


def run_onnxruntime(path, inputs, optimised_path=None):
    """Outputs by name; the optimised graph goes to `optimised_path` where one is given."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if optimised_path is not None:
        options.optimized_model_filepath = str(optimised_path)
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs)))
    except Exception as error:  # ONNX Runtime's exceptions have no common base class.
        raise Failure(f"ONNX Runtime cannot load or run {path}: {error}") from error


def run_openvino(path, inputs):
    import openvino

    # Without the hint, CPUs with bfloat16 units compute in bfloat16.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    try:
        compiled = openvino.Core().compile_model(str(path), "CPU", settings)
        results = compiled(inputs)
        return {name: results[port] for port in compiled.outputs for name in port.names}
    except RuntimeError as error:
        raise Failure(f"OpenVINO cannot load or run {path}: {error}") from error


def run_reference(path, inputs):
    """Outputs by name, or the reason why onnx.reference cannot run the model."""
    try:
        evaluator = ReferenceEvaluator(str(path))
        return dict(zip(evaluator.output_names, evaluator.run(None, inputs)))
    except (NotImplementedError, RuntimeImplementationError) as error:
        return str(error).splitlines()[0]


def difference(got, wanted):
    """Largest max |a - b| / max |b| over the outputs `wanted`; fails where names, shapes or finiteness do not match."""
    worst = 0.0
    for name, b in wanted.items():
        if name not in got:
            raise Failure(f"output {name} is missing; there are {sorted(got)}")
        a, b = np.asarray(got[name]), np.asarray(b)
        if a.shape != b.shape:
            raise Failure(f"output {name} has shape {list(a.shape)} instead of {list(b.shape)}")
        a, b = a.astype(np.float64), b.astype(np.float64)
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise Failure(f"output {name} has values that are not finite")
        if a.size:
            scale = np.abs(b).max()
            worst = max(worst, float(np.abs(a - b).max() / (scale if scale > 0 else 1.0)))
    return worst


def require_agreement(what, got, wanted, tolerance):
    try:
        measured = difference(got, wanted)
    except Failure as failure:
        raise Failure(f"{what}: {failure}") from failure
    if measured > tolerance:
        raise Failure(f"{what}: relative difference {measured:.3g} is above {tolerance:g}")
    return measured


def first_rows(interface, inputs):
    """The first rows of every input where all of them have a free leading dimension, else the inputs as they are."""
    if all(shape and not isinstance(shape[0], int) for _, shape in interface.values()):
        return {name: values[:REFERENCE_ROWS] for name, values in inputs.items()}
    return inputs


def check(arguments, result):
    """Runs all checks, leaving what was measured in `result`; raises Failure at the first that fails."""
    compiled_path, tolerance = arguments.compiled, arguments.tolerance
    try:
        original, compiled = (onnx.load(path, load_external_data=False) for path in (arguments.original, compiled_path))
    except Exception as error:  # a parse error has no type that is part of protobuf's public interface
        raise Failure(f"not readable as ONNX: {error}") from error

    check_well_formed(compiled_path)
    check_interface(original, compiled)
    interface, _ = graph_interface(compiled)
    inputs = make_inputs(interface, arguments.inputs)

    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "original.onnx", Path(folder) / "compiled.onnx"]
        before = run_onnxruntime(arguments.original, inputs, paths[0])
        after = run_onnxruntime(compiled_path, inputs, paths[1])
        optimised_original, optimised = (onnx.load(path, load_external_data=False) for path in paths)
    result["difference_from_original"] = difference(after, before)

    if arguments.expected is not None:
        with np.load(arguments.expected) as arrays:
            expected = dict(arrays)
        if set(expected) != set(after):
            raise Failure(f"{arguments.expected} has arrays {sorted(expected)}, the outputs are {sorted(after)}")
        result["difference_from_expected"] = require_agreement(
            "ONNX Runtime and the expected outputs", after, expected, tolerance
        )

    result["difference_of_openvino"] = require_agreement(
        "OpenVINO and ONNX Runtime", run_openvino(compiled_path, inputs), after, tolerance
    )

    generators, left = (
        [label for label in map(node_label, all_nodes(model.graph)) if arguments.generator in label]
        for model in (compiled, optimised)
    )
    result["nodes"] = len(compiled.graph.node)
    result["generator_nodes"] = len(generators)
    result["generator_nodes_after_optimisation"] = len(left)
    if left:
        raise Failure(f"ONNX Runtime did not fold {len(left)} of {len(generators)} generator nodes, the first being {left[0]}")

    constant = constant_nodes(optimised.graph)
    if len(constant) > len(constant_nodes(optimised_original.graph)):
        raise Failure(f"ONNX Runtime did not fold nodes that depend on no graph input: {constant[:4]}")

    few = first_rows(interface, inputs)
    reference = run_reference(compiled_path, few)
    if isinstance(reference, str):
        result["reference_unsupported"] = reference
    else:
        result["difference_of_reference"] = require_agreement(
            "onnx.reference and ONNX Runtime", reference, run_onnxruntime(compiled_path, few), tolerance
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("original", type=Path)
    parser.add_argument("compiled", type=Path)
    parser.add_argument("--inputs", type=Path)
    parser.add_argument("--expected", type=Path)
    parser.add_argument("--generator", default="/ttn/")
    parser.add_argument("--tolerance", type=float, default=1e-4)
    arguments = parser.parse_args()
    for path in (arguments.original, arguments.compiled, arguments.inputs, arguments.expected):
        if path is not None and not path.is_file():
            parser.error(f"{path} is not a file")

    result = {"ok": False, "compiled": str(arguments.compiled)}
    try:
        check(arguments, result)
        result["ok"] = True
    except Failure as failure:
        result["failure"] = str(failure)
        print(f"check_model.py: {failure}", file=sys.stderr)
    print(json.dumps(result))
    sys.exit(0 if result["ok"] else 1)


if __name__ == "__main__":
    main()
