"""Single operators with the attributes that runtimes disagree on, and what ONNX Runtime makes of them.

    python make.py        # needs numpy, onnx and onnxruntime; writes cases.npz

For every case: `NAME/model` (the bytes of the model), `NAME/x` (its input) and `NAME/y0`, `NAME/y1`, … (its outputs).
`fit/tests/operators.rs` reads it. Cases that ONNX Runtime does not run are left out and told.
"""

import pathlib

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

ort.set_default_logger_severity(4)
rng = np.random.default_rng(7)
cases = {}


def f32(*shape, scale=0.5):
    return (rng.normal(size=shape) * scale).astype(np.float32)


def i64(*values):
    return np.array(values, np.int64)


def case(name, nodes, x, constants=(), opset=17, outputs=("y",), domains=(), functions=()):
    x = np.asarray(x)
    constants = dict(constants)
    element = h.np_dtype_to_tensor_dtype(x.dtype)
    graph = h.make_graph(
        nodes,
        "g",
        [h.make_tensor_value_info("x", element, x.shape)],
        [h.make_empty_tensor_value_info(o) for o in outputs],
        [nh.from_array(np.asarray(v), k) for k, v in constants.items()],
    )
    imports = [h.make_opsetid("", opset)] + [h.make_opsetid(d, v) for d, v in domains]
    model = h.make_model(graph, opset_imports=imports, ir_version=min(10, 6 if opset < 13 else 8 if opset < 19 else 10), functions=list(functions))
    data = model.SerializeToString()
    try:
        options = ort.SessionOptions()
        # Fused kernels round more than the operators that they stand for.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        got = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"]).run(None, {"x": x})
    except Exception as error:  # noqa: BLE001
        print(f"{name}: not run by ONNX Runtime ({str(error)[:140]!r})")
        return
    if name in cases:
        raise SystemExit(f"two cases are called {name}")
    got = [np.asarray(g) for g in got]
    if not all(np.isfinite(g.astype(np.float64)).all() for g in got):
        print(f"{name}: not finite")
        return
    cases[name] = (np.frombuffer(data, np.uint8), x, got)


def one(name, op, x, constants=(), opset=17, before=(), inputs=None, domain="", **attributes):
    """One node from `x` and the constants, in that order, to `y`."""
    names = inputs or ["x", *dict(constants)]
    node = h.make_node(op, names, ["y"], name="node", domain=domain, **attributes)
    domains = [(domain, 1)] if domain else []
    case(name, [*before, node], x, constants, opset, domains=domains)


# Recurrent layers.
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
DEFAULT = {"LSTM": ["Sigmoid", "Tanh", "Tanh"], "GRU": ["Sigmoid", "Tanh"], "RNN": ["Tanh"]}
OTHER = {"LSTM": ["HardSigmoid", "Softsign", "Relu"], "GRU": ["Sigmoid", "Relu"], "RNN": ["Relu"]}


def recurrent(name, op, directions=1, state=False, bias=True, peepholes=False, outputs=None, lens=False, opset=17, **attributes):
    size, wide, steps, batch = 3, 4, 5, 2
    gates = GATES[op]
    constants = {"w": f32(directions, gates * size, wide), "r": f32(directions, gates * size, size)}
    inputs = ["x", "w", "r"]
    constants["b"] = f32(directions, 2 * gates * size)
    inputs.append("b" if bias else "")
    if lens:
        constants["lens"] = np.array([3, 5], np.int32)
    inputs.append("lens" if lens else "")
    if state:
        constants["h0"] = f32(directions, batch, size)
        inputs.append("h0")
        if op == "LSTM":
            constants["c0"] = f32(directions, batch, size)
            inputs.append("c0")
    if peepholes:
        constants["p"] = f32(directions, 3 * size)
        inputs += ["", ""][: 7 - len(inputs)] + ["p"]
    if not bias:
        del constants["b"]
    outputs = outputs or (["y", "yh", "yc"] if op == "LSTM" else ["y", "yh"])
    node = h.make_node(op, inputs, outputs, name="node", hidden_size=size, **attributes)
    case(f"{op} {name}", [node], f32(steps, batch, wide, scale=1.5), constants, opset, [o for o in outputs if o])


for op in GATES:
    for state in (False, True):
        with_state = " state" if state else ""
        recurrent(f"forward{with_state}", op, state=state)
        recurrent(f"reverse{with_state}", op, state=state, direction="reverse")
        recurrent(f"bidirectional{with_state}", op, 2, state=state, direction="bidirectional")
    recurrent("reverse, last state only", op, direction="reverse", outputs=["", "yh"])
    recurrent("reverse, first output only", op, direction="reverse", outputs=["y"])
    recurrent("forward, last state only", op, outputs=["", "yh"])
    recurrent("no bias", op, bias=False)
    recurrent("default activations", op, activations=DEFAULT[op])
    recurrent("default activations in small letters", op, activations=[a.lower() for a in DEFAULT[op]])
    recurrent("default activations bidirectional", op, 2, activations=DEFAULT[op] * 2, direction="bidirectional")
    recurrent("other activations", op, activations=OTHER[op])
    recurrent("other activations bidirectional", op, 2, activations=DEFAULT[op] + OTHER[op], direction="bidirectional")
    recurrent("other activations with alpha", op, activations=["HardSigmoid"] * len(OTHER[op]), activation_alpha=[0.3] * len(OTHER[op]), activation_beta=[0.4] * len(OTHER[op]))
    recurrent("clip", op, clip=0.2)
    recurrent("lengths", op, lens=True)
    recurrent("layout", op, layout=1)
    recurrent("opset 7", op, opset=7)
    recurrent("opset 22", op, opset=22)
for op in GATES:
    # Behind operators that a slice would be moved through, and before opset 10.
    size = 3
    constants = {"shape": i64(2, 4, 5), "w": f32(1, GATES[op] * size, 4), "r": f32(1, GATES[op] * size, size)}
    nodes = [
        h.make_node("Reshape", ["x", "shape"], ["s"]),
        h.make_node("Transpose", ["s"], ["t"], perm=[2, 0, 1]),
        h.make_node(op, ["t", "w", "r"], ["u"], name="node", hidden_size=size, direction="reverse"),
        h.make_node("Transpose", ["u"], ["y"], perm=[2, 0, 1, 3]),
    ]
    for opset in (9, 17):
        case(f"{op} reverse in the middle, opset {opset}", nodes, f32(2, 20), constants, opset)
recurrent("peepholes", "LSTM", state=True, peepholes=True)
recurrent("peepholes reverse", "LSTM", state=True, peepholes=True, direction="reverse")
recurrent("peepholes bidirectional", "LSTM", 2, state=True, peepholes=True, direction="bidirectional")
recurrent("input_forget", "LSTM", input_forget=1)
recurrent("cell only", "LSTM", outputs=["", "", "yc"])
for extra in ({}, {"direction": "reverse"}):
    recurrent(f"linear_before_reset {extra}", "GRU", linear_before_reset=1, **extra)
    recurrent(f"linear_before_reset no bias {extra}", "GRU", bias=False, linear_before_reset=1, **extra)
    recurrent(f"linear_before_reset state {extra}", "GRU", state=True, linear_before_reset=1, **extra)
recurrent("linear_before_reset bidirectional", "GRU", 2, linear_before_reset=1, direction="bidirectional")

# Convolutions and pools.
image = f32(2, 2, 7, 6, scale=1.0)
kernel = f32(2, 3, 3, 3)
transposed = {
    "plain": {},
    "strides": {"strides": [2, 3]},
    "output_padding": {"strides": [2, 2], "output_padding": [1, 0]},
    "pads": {"strides": [2, 2], "pads": [1, 0, 0, 1]},
    "pads and output_padding": {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]},
    "dilations": {"dilations": [2, 1]},
    "SAME_UPPER": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "SAME_LOWER": {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    "SAME_UPPER stride 1": {"auto_pad": "SAME_UPPER"},
    "SAME_UPPER stride 4": {"strides": [4, 4], "auto_pad": "SAME_UPPER"},
    "SAME_UPPER output_padding": {"strides": [3, 3], "auto_pad": "SAME_UPPER", "output_padding": [1, 1]},
    "SAME_UPPER dilations": {"strides": [2, 2], "auto_pad": "SAME_UPPER", "dilations": [2, 2]},
    "VALID": {"strides": [2, 2], "auto_pad": "VALID"},
    "output_shape even": {"strides": [2, 2], "output_shape": [13, 11]},
    "output_shape odd": {"strides": [2, 2], "output_shape": [14, 12]},
    "output_shape full": {"strides": [2, 2], "output_shape": [15, 13]},
    "output_shape larger": {"strides": [2, 2], "output_shape": [16, 14], "output_padding": [1, 1]},
    "output_shape SAME_UPPER": {"strides": [2, 2], "output_shape": [14, 12], "auto_pad": "SAME_UPPER"},
    "output_shape SAME_LOWER": {"strides": [2, 2], "output_shape": [14, 12], "auto_pad": "SAME_LOWER"},
    "output_shape and its pads": {"strides": [2, 2], "output_shape": [13, 11], "pads": [1, 1, 1, 1]},
    "output_shape and other pads": {"strides": [2, 2], "output_shape": [14, 12], "pads": [1, 1, 0, 0]},
}
for name, attributes in transposed.items():
    one(f"ConvTranspose {name}", "ConvTranspose", image, {"k": kernel}, **attributes)
    one(f"ConvTranspose {name}, kernel_shape", "ConvTranspose", image, {"k": kernel, "b": f32(3)}, kernel_shape=[3, 3], **attributes)
one("ConvTranspose groups", "ConvTranspose", image, {"k": f32(2, 2, 3, 3)}, group=2, strides=[2, 2])
one("ConvTranspose 1d", "ConvTranspose", f32(2, 3, 7), {"k": f32(3, 2, 4)}, strides=[3], pads=[1, 2])
convolution = {
    "plain": {},
    "SAME_UPPER": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "SAME_LOWER": {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
    "SAME_LOWER dilations": {"dilations": [2, 2], "auto_pad": "SAME_LOWER"},
    "VALID": {"auto_pad": "VALID"},
    "pads": {"pads": [1, 0, 2, 1], "strides": [2, 1]},
    "dilations": {"dilations": [2, 1], "pads": [0, 1, 1, 0]},
}
for name, attributes in convolution.items():
    one(f"Conv {name}", "Conv", image, {"k": f32(3, 2, 3, 2)}, **attributes)
    one(f"Conv {name}, kernel_shape", "Conv", image, {"k": f32(3, 2, 3, 2), "b": f32(3)}, kernel_shape=[3, 2], **attributes)
one("Conv groups", "Conv", image, {"k": f32(4, 1, 3, 3)}, group=2)
one("Conv 1d", "Conv", f32(2, 3, 9), {"k": f32(2, 3, 4)}, strides=[2], pads=[1, 2], dilations=[2])
one("Conv 3d", "Conv", f32(1, 2, 4, 5, 4), {"k": f32(2, 2, 2, 3, 2)}, pads=[1, 0, 1, 0, 1, 0])
for op in ("Conv", "MaxPool", "AveragePool", "ConvTranspose"):
    constants = {"Conv": {"k": f32(3, 2, 3, 3)}, "ConvTranspose": {"k": f32(2, 3, 3, 3)}}.get(op, {})
    for auto in ("SAME_UPPER", "SAME_LOWER", "VALID", "NOTSET"):
        one(f"{op} {auto} and pads", op, image, constants, kernel_shape=[3, 3], auto_pad=auto, pads=[0, 0, 1, 1], strides=[2, 2])
pools = {
    "plain": {"kernel_shape": [3, 2]},
    "strides": {"kernel_shape": [3, 2], "strides": [2, 2]},
    "pads": {"kernel_shape": [3, 3], "pads": [1, 0, 2, 1], "strides": [2, 2]},
    "ceil": {"kernel_shape": [2, 2], "strides": [3, 2], "ceil_mode": 1},
    "ceil with pads": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]},
    "ceil, window in the padding": {"kernel_shape": [1, 1], "strides": [2, 2], "ceil_mode": 1, "pads": [0, 0, 0, 0]},
    "ceil, last window outside": {"kernel_shape": [2, 2], "strides": [4, 4], "ceil_mode": 1, "pads": [1, 1, 1, 1]},
    "dilations": {"kernel_shape": [2, 3], "dilations": [3, 2]},
    "ceil with dilations": {"kernel_shape": [2, 2], "dilations": [2, 2], "strides": [2, 2], "ceil_mode": 1},
    "SAME_UPPER": {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "SAME_LOWER": {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    "SAME_LOWER stride 1": {"kernel_shape": [2, 2], "auto_pad": "SAME_LOWER"},
    "SAME_UPPER dilations": {"kernel_shape": [3, 2], "dilations": [2, 2], "auto_pad": "SAME_UPPER"},
    "SAME_UPPER ceil": {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER", "ceil_mode": 1},
    "VALID": {"kernel_shape": [3, 2], "strides": [2, 2], "auto_pad": "VALID"},
    "VALID ceil": {"kernel_shape": [3, 2], "strides": [3, 3], "auto_pad": "VALID", "ceil_mode": 1},
}
for name, attributes in pools.items():
    for opset in (12, 22):
        one(f"MaxPool {name} opset {opset}", "MaxPool", image, opset=opset, **attributes)
        if opset >= 19 or "dilations" not in attributes:
            for inside in (0, 1):
                one(f"AveragePool {name} count_include_pad {inside} opset {opset}", "AveragePool", image, opset=opset, count_include_pad=inside, **attributes)
    for order in (0, 1):
        node = h.make_node("MaxPool", ["x"], ["p", "y"], name="node", storage_order=order, **attributes)
        case(f"MaxPool indices {name} storage_order {order}", [node], image)

one("LpPool", "LpPool", image, opset=18, p=3, kernel_shape=[2, 2])
one("MaxPool 1d ceil", "MaxPool", f32(2, 2, 8), kernel_shape=[3], strides=[2], ceil_mode=1)
one("AveragePool 1d", "AveragePool", f32(2, 2, 8), kernel_shape=[3], strides=[2], pads=[1, 0])
one("MaxPool unused indices", "MaxPool", image, kernel_shape=[2, 2])
one("GlobalLpPool", "GlobalLpPool", image)
one("GlobalLpPool 3", "GlobalLpPool", image, p=3)
one("GlobalLpPool 1", "GlobalLpPool", image, p=1)
one("GlobalMaxPool", "GlobalMaxPool", image)
one("GlobalAveragePool", "GlobalAveragePool", image)
one("LRN", "LRN", f32(2, 6, 3, 3, scale=2.0), size=3, alpha=0.5, beta=0.6, bias=2.0)
one("LRN 5", "LRN", f32(2, 6, 3, 3, scale=2.0), size=5)
node = h.make_node("MaxPool", ["x"], ["p", "i"], kernel_shape=[2, 2], strides=[2, 2])
case("MaxUnpool", [node, h.make_node("MaxUnpool", ["p", "i"], ["y"], kernel_shape=[2, 2], strides=[2, 2])], f32(2, 2, 6, 6))

# Resize.
small = f32(2, 2, 5, 6, scale=1.0)
MODES = ("half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric", "tf_half_pixel_for_nn")
for scales in ([1, 1, 2, 2], [1, 1, 1.5, 0.6], [1, 1, 0.5, 0.5], [1, 1, 0.7, 2.3], [1, 1, 0.2, 0.3]):
    for place in MODES:
        opset = 12 if place == "tf_half_pixel_for_nn" else 19
        for mode in ("nearest", "linear", "cubic") if scales[2] not in (0.2, 0.5) else ("linear", "cubic"):
            for nearest in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil") if mode == "nearest" else ("floor",):
                before = f"Resize {mode} {place} {nearest} by {scales[2:]}"
                inputs = ["x", "", "s"] if opset > 12 else ["x", "roi", "s"]
                constants = {"s": np.array(scales, np.float32)} | ({} if opset > 12 else {"roi": np.zeros(0, np.float32)})
                one(before, "Resize", small, constants, opset, inputs=inputs, mode=mode, coordinate_transformation_mode=place, nearest_mode=nearest)
for place in MODES[:5]:
    for mode in ("nearest", "linear", "cubic"):
        for sizes in ([2, 2, 8, 9], [2, 2, 3, 4], [2, 2, 1, 7]):
            one(f"Resize {mode} {place} to {sizes[2:]}", "Resize", small, {"n": i64(*sizes)}, 19, inputs=["x", "", "", "n"], mode=mode, coordinate_transformation_mode=place)
for mode in ("nearest", "linear"):
    for scales in ([1, 1, 2, 2], [1, 1, 1.5, 2], [1, 1, 0.6, 0.5], [1, 1, 0.6, 2]):
        one(f"Resize opset 10 {mode} by {scales[2:]}", "Resize", small, {"s": np.array(scales, np.float32)}, 10, mode=mode)
        one(f"Resize opset 11 {mode} by {scales[2:]}", "Resize", small, {"r": np.zeros(0, np.float32), "s": np.array(scales, np.float32)}, 11, mode=mode)
        one(f"Upsample opset 9 {mode} by {scales[2:]}", "Upsample", small, {"s": np.array(scales, np.float32)}, 9, mode=mode)
        one(f"Upsample opset 7 {mode} by {scales[2:]}", "Upsample", small, {}, 7, mode=mode, scales=scales)
for mode in ("linear", "cubic", "nearest"):
    for extra in ({"antialias": 1}, {"exclude_outside": 1}, {"cubic_coeff_a": -0.5}, {"antialias": 1, "exclude_outside": 1}):
        for scales in ([1, 1, 0.5, 0.6], [1, 1, 1.7, 2]):
            one(f"Resize {mode} {extra} by {scales[2:]}", "Resize", small, {"s": np.array(scales, np.float32)}, 18, inputs=["x", "", "s"], mode=mode, **extra)
for policy in ("stretch", "not_larger", "not_smaller"):
    one(f"Resize {policy}", "Resize", small, {"n": i64(8, 8)}, 18, inputs=["x", "", "", "n"], axes=[2, 3], mode="linear", keep_aspect_ratio_policy=policy)
one("Resize crop inside", "Resize", small, {"roi": np.array([0, 0, 0.1, 0.2, 1, 1, 0.9, 0.8], np.float32), "s": np.array([1, 1, 1.5, 1], np.float32)}, 13, mode="linear", coordinate_transformation_mode="tf_crop_and_resize")
one("Resize opset 10 nearest by 3", "Resize", small, {"s": np.array([1, 1, 3, 5], np.float32)}, 10)
one("Resize axes", "Resize", small, {"s": np.array([1.5, 2], np.float32)}, 18, inputs=["x", "", "s"], axes=[3, 2], mode="linear")
one("Resize crop", "Resize", small, {"roi": np.array([0, 0, 0.1, 0.2, 1, 1, 0.9, 1.3], np.float32), "s": np.array([1, 1, 1.5, 1], np.float32)}, 13, mode="linear", coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=3.0)

# Softmax and its like.
cube = f32(3, 4, 5, scale=2.0)
for op in ("Softmax", "LogSoftmax", "Hardmax"):
    for opset in (11, 13):
        for axis in (None, 0, 1, 2, -1, -2):
            one(f"{op} opset {opset} axis {axis}", op, cube, opset=opset, **({} if axis is None else {"axis": axis}))

# One argument.
line = f32(3, 16, scale=2.0)
units = {
    "Celu 0.5": ("Celu", {"alpha": 0.5}),
    "Celu 1.7": ("Celu", {"alpha": 1.7}),
    "Celu": ("Celu", {}),
    "Elu": ("Elu", {}),
    "Elu 1.7": ("Elu", {"alpha": 1.7}),
    "Selu": ("Selu", {}),
    "Selu other": ("Selu", {"alpha": 1.2, "gamma": 0.9}),
    "LeakyRelu": ("LeakyRelu", {}),
    "LeakyRelu 0.3": ("LeakyRelu", {"alpha": 0.3}),
    "HardSigmoid": ("HardSigmoid", {}),
    "HardSigmoid other": ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
    "HardSwish": ("HardSwish", {}),
    "Shrink": ("Shrink", {}),
    "Shrink other": ("Shrink", {"bias": 0.2, "lambd": 0.4}),
    "ThresholdedRelu": ("ThresholdedRelu", {}),
    "ThresholdedRelu 0.3": ("ThresholdedRelu", {"alpha": 0.3}),
    "Softplus": ("Softplus", {}),
    "Softsign": ("Softsign", {}),
    "Mish": ("Mish", {}),
    "Gelu": ("Gelu", {}),
    "Gelu tanh": ("Gelu", {"approximate": "tanh"}),
    "Swish": ("Swish", {}),
    "Swish 0.5": ("Swish", {"alpha": 0.5}),
    "Erf": ("Erf", {}),
    "Round": ("Round", {}),
    "Sign": ("Sign", {}),
    "IsInf": ("IsInf", {"detect_negative": 0}),
    "Tan": ("Tan", {}),
    "Atanh": ("Tanh", {}),
    "ParametricSoftplus": ("ParametricSoftplus", {"alpha": 2.0, "beta": 3.0}),
    "ScaledTanh": ("ScaledTanh", {"alpha": 2.0, "beta": 3.0}),
    "LpNormalization": ("LpNormalization", {}),
    "LpNormalization 1": ("LpNormalization", {"axis": 0, "p": 1}),
    "MeanVarianceNormalization": ("MeanVarianceNormalization", {"axes": [1]}),
    "Trilu": ("Trilu", {}),
    "Trilu lower": ("Trilu", {"upper": 0}),
    "EyeLike": ("EyeLike", {"k": 1}),
    "Dropout": ("Dropout", {}),
}
for name, (op, attributes) in units.items():
    one(f"{name} ", op, line, opset=24 if op == "Swish" else 20, **attributes)
    if op in ("Elu", "Celu", "Selu", "LeakyRelu", "HardSigmoid", "ThresholdedRelu", "Gelu", "Mish", "Softplus"):
        node = h.make_node("Cast", ["x"], ["d"], to=T.FLOAT16)
        case(f"{name} in float16", [node, h.make_node(op, ["d"], ["e"], **attributes), h.make_node("Cast", ["e"], ["y"], to=T.FLOAT)], line, opset=20)
one("Dropout opset 6", "Dropout", line, opset=6, ratio=0.5)
one("Dropout with ratio", "Dropout", line, {"r": np.float32(0.5)})
one("Dropout training", "Dropout", line, {"r": np.float32(0.0), "t": np.bool_(True)})
one("Clip 6", "Clip", line, opset=6, min=-0.3, max=0.5)
one("Clip 6 min", "Clip", line, opset=6, min=-0.3)
one("Clip", "Clip", line, {"a": np.float32(-0.3), "b": np.float32(0.5)})
one("Clip max", "Clip", line, {"b": np.float32(0.5)}, inputs=["x", "", "b"])
one("Clip none", "Clip", line)

# Casts.
wide = np.linspace(-400, 400, 33, dtype=np.float32).reshape(3, 11) + 0.3
for to in ("UINT8", "INT8", "INT16", "UINT16", "INT32", "INT64", "UINT32", "BOOL", "FLOAT16", "DOUBLE", "BFLOAT16"):
    nodes = [h.make_node("Cast", ["x"], ["c"], to=getattr(T, to)), h.make_node("Cast", ["c"], ["y"], to=T.FLOAT)]
    case(f"Cast {to}", nodes, wide * (1 if to not in ("INT16", "UINT16") else 300))
    if to not in ("UINT32", "UINT8", "UINT16"):
        case(f"Cast {to}, small", nodes, wide / 5)
    else:
        case(f"Cast {to}, small", nodes, abs(wide / 5))
nodes = [h.make_node("Cast", ["x"], ["c"], to=T.INT64), h.make_node("Cast", ["c"], ["d"], to=T.UINT8), h.make_node("Cast", ["d"], ["y"], to=T.FLOAT)]
case("Cast INT64 UINT8", nodes, wide)

# Reductions.
for op in ("ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL1", "ReduceL2", "ReduceLogSumExp", "ReduceSumSquare"):
    old = 11
    one(f"{op} attribute", op, cube, opset=old, axes=[-1, 0], keepdims=0)
    one(f"{op} all", op, cube, opset=old)
    one(f"{op} input", op, cube, {"a": i64(-2)}, 18)
    one(f"{op} input no keepdims", op, cube, {"a": i64(0, 2)}, 18, keepdims=0)
    one(f"{op} no axes", op, cube, {"a": i64()}, 18)
    one(f"{op} noop", op, cube, {"a": i64()}, 18, noop_with_empty_axes=1)
    one(f"{op} noop without input", op, cube, opset=18, noop_with_empty_axes=1)
one("ReduceLogSum", "ReduceLogSum", abs(cube), {"a": i64(1)}, 18)
ties = np.round(cube)
for op in ("ArgMax", "ArgMin"):
    for attributes in ({}, {"axis": 1}, {"axis": -1, "keepdims": 0}, {"axis": 1, "select_last_index": 1}):
        one(f"{op} {attributes}", op, ties, **attributes)
for attributes in ({}, {"axis": 1}, {"largest": 0}, {"sorted": 1, "axis": 0}):
    node = h.make_node("TopK", ["x", "k"], ["v", "i"], name="node", **attributes)
    case(f"TopK {attributes}", [node], ties, {"k": i64(2)}, outputs=("v", "i"))
for attributes in ({}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}):
    one(f"CumSum {attributes}", "CumSum", cube, {"a": np.int64(-1)}, **attributes)

# Products and normalisations.
for alpha, beta, ta, tb in ((0.5, 2.0, 0, 0), (1.0, 0.0, 0, 1), (1.5, 1.0, 1, 0)):
    a = f32(4, 3) if ta else f32(3, 4)
    one(f"Gemm {alpha} {beta} {ta} {tb}", "Gemm", a, {"b": f32(5, 4) if tb else f32(4, 5), "c": f32(5)}, alpha=alpha, beta=beta, transA=ta, transB=tb)
one("Gemm no bias", "Gemm", f32(3, 4), {"b": f32(4, 5)}, alpha=0.5)
one("Gemm column bias", "Gemm", f32(3, 4), {"b": f32(4, 5), "c": f32(3, 1)}, beta=0.5)
norm = {"s": f32(4), "b": f32(4)}
block = f32(2, 4, 3, 3, scale=2.0)
one("InstanceNormalization", "InstanceNormalization", block, norm, epsilon=0.1)
one("BatchNormalization", "BatchNormalization", block, norm | {"m": f32(4), "v": abs(f32(4))}, epsilon=0.1)
one("BatchNormalization opset 9", "BatchNormalization", block, norm | {"m": f32(4), "v": abs(f32(4))}, 9, epsilon=0.1, momentum=0.3)
one("BatchNormalization opset 7 not spatial", "BatchNormalization", block, {k: abs(f32(4, 3, 3)) for k in "sbmv"}, 7, spatial=0)
node = h.make_node("BatchNormalization", ["x", "s", "b", "m", "v"], ["y", "m1", "v1"], name="node", training_mode=1)
case("BatchNormalization training", [node], block, norm | {"m": f32(4), "v": abs(f32(4))})
for axis in (-1, 1, 2):
    shape = block.shape[axis:]
    one(f"LayerNormalization axis {axis}", "LayerNormalization", block, {"s": f32(*shape), "b": f32(*shape)}, axis=axis, epsilon=0.1)
    one(f"RMSNormalization axis {axis}", "RMSNormalization", block, {"s": f32(*shape)}, 23, axis=axis, epsilon=0.1)
node = h.make_node("LayerNormalization", ["x", "s"], ["y", "m", "v"], name="node")
case("LayerNormalization outputs", [node], block, {"s": f32(3)}, outputs=("y", "m", "v"))
one("GroupNormalization 18", "GroupNormalization", block, {"s": f32(2), "b": f32(2)}, 18, num_groups=2)
one("GroupNormalization 21", "GroupNormalization", block, norm, 21, num_groups=2)
one("PRelu channel", "PRelu", block, {"a": f32(4, 1, 1)})
one("PRelu one", "PRelu", block, {"a": f32(1)})
one("PRelu last axis", "PRelu", block, {"a": f32(3)})

# Quantisation.
for axis in (0, 1, -1):
    n = cube.shape[axis]
    q = h.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=axis)
    d = h.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=axis)
    for dtype in (np.uint8, np.int8):
        case(f"QuantizeLinear {axis} {dtype.__name__}", [q, d], cube, {"s": abs(f32(n)) * 0.05 + 0.01, "z": rng.integers(1, 9, n).astype(dtype)})
q = h.make_node("QuantizeLinear", ["x", "s"], ["q"])
case("QuantizeLinear no zero point", [q, h.make_node("DequantizeLinear", ["q", "s"], ["y"])], cube, {"s": np.float32(0.05)})
q = h.make_node("QuantizeLinear", ["x", "s"], ["q"], output_dtype=T.INT8)
case("QuantizeLinear output_dtype", [q, h.make_node("DequantizeLinear", ["q", "s"], ["y"])], cube, {"s": np.float32(0.05)}, 21)
q = h.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=1, block_size=4)
d = h.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=1, block_size=4)
case("QuantizeLinear blocks", [q, d], line, {"s": abs(f32(3, 4)) * 0.05 + 0.01, "z": rng.integers(1, 9, (3, 4)).astype(np.int8)}, 21)
w = rng.integers(-99, 99, (16, 4)).astype(np.int8)
for name, shape, axis in (("columns", (4,), 1), ("rows", (16,), 0)):
    d = h.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=axis)
    case(f"DequantizeLinear weight by {name}", [d, h.make_node("MatMul", ["x", "d"], ["y"])], line, {"w": w, "s": abs(f32(*shape)) * 0.02})
d = h.make_node("DequantizeLinear", ["w", "s"], ["d"], axis=0, block_size=8)
case("DequantizeLinear weight by blocks", [d, h.make_node("MatMul", ["x", "d"], ["y"])], line, {"w": w, "s": abs(f32(2, 4)) * 0.02}, 21)
nodes = [h.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]), h.make_node("MatMulInteger", ["q", "w", "z"], ["i"]), h.make_node("Cast", ["i"], ["f"], to=T.FLOAT), h.make_node("Mul", ["f", "s"], ["y"])]
case("MatMulInteger", nodes, line, {"w": w})

# Shapes and indices.
for mode in ("constant", "reflect", "edge", "wrap"):
    one(f"Pad {mode}", "Pad", block, {"p": i64(0, 0, 1, 2, 0, 0, 2, 1)}, 19, mode=mode)
one("Pad value", "Pad", block, {"p": i64(0, 0, 1, 2, 0, 1, 2, 1), "v": np.float32(2.5)})
one("Pad axes", "Pad", block, {"p": i64(1, 0, 2, 1), "v": np.float32(2.5), "a": i64(-1, 1)}, 18)
one("Pad negative", "Pad", block, {"p": i64(0, 0, -1, 1, 0, 0, 1, -1)})
one("Pad opset 2", "Pad", block, opset=10, pads=[0, 0, 1, 2, 0, 0, 2, 1], value=1.5)
one("Slice", "Slice", cube, {"s": i64(-1, 1), "e": i64(-99, 3), "a": i64(2, 1), "t": i64(-2, 1)})
one("Slice opset 9", "Slice", cube, opset=9, starts=[1, -2], ends=[99, 99], axes=[1, 2])
one("Gather negative", "Gather", cube, {"i": i64(-1, 0, 2)}, axis=1)
one("GatherElements negative", "GatherElements", cube, {"i": rng.integers(-4, 4, (3, 4, 5))}, axis=1)
one("GatherND negative", "GatherND", cube, {"i": np.array([[0, 1], [2, -1]])})
one("GatherND batch", "GatherND", cube, {"i": np.array([[0], [2], [1]])}, batch_dims=1)
for reduction in ("none", "add", "mul", "max", "min"):
    one(f"ScatterND {reduction}", "ScatterND", cube, {"i": np.array([[0], [2], [0]] if reduction != "none" else [[0], [2]]), "u": f32(3 if reduction != "none" else 2, 4, 5)}, 18, reduction=reduction)
    one(f"ScatterElements {reduction}", "ScatterElements", cube, {"i": np.array([[[1, 0, -1, 2, 0]]]), "u": f32(1, 1, 5)}, 18, axis=1, reduction=reduction)
one("ScatterND negative", "ScatterND", cube, {"i": np.array([[-1, 0]]), "u": f32(1, 5)})
one("Expand smaller", "Expand", f32(3, 1, 5), {"s": i64(2, 1)})
one("Expand", "Expand", f32(3, 1, 5), {"s": i64(2, 1, 4, 1)})
one("Tile", "Tile", cube, {"s": i64(1, 2, 3)})
one("Split 13", "Split", cube, {"n": i64(5)}, axis=2)
node = h.make_node("Split", ["x"], ["a", "y"], axis=-1, num_outputs=2)
case("Split num_outputs", [node], cube, opset=18, outputs=("a", "y"))
one("Flatten", "Flatten", cube, axis=2)
one("Flatten negative", "Flatten", cube, axis=-1)
one("Flatten 0", "Flatten", cube, axis=0)
one("Reshape 0", "Reshape", cube, {"s": i64(0, -1, 2, 2)})
one("Transpose", "Transpose", cube)
one("Squeeze", "Squeeze", f32(3, 1, 4, 1), {"a": i64(-1)})
one("Squeeze all", "Squeeze", f32(3, 1, 4, 1))
one("Unsqueeze", "Unsqueeze", cube, {"a": i64(-1, 0)})
one("Concat", "Concat", cube, {"c": f32(3, 4, 2)}, axis=-1)
case("Shape part", [h.make_node("Shape", ["x"], ["s"], start=1, end=-1), h.make_node("Cast", ["s"], ["f"], to=T.FLOAT), h.make_node("Mul", ["x", "f"], ["y"])], cube)
case("Size", [h.make_node("Size", ["x"], ["s"]), h.make_node("Cast", ["s"], ["f"], to=T.FLOAT), h.make_node("Mul", ["x", "f"], ["y"])], cube)
digits = rng.integers(-3, 3, (3, 4)).astype(np.float32)
for axis in (-1, 1, 0):
    nodes = [h.make_node("Cast", ["x"], ["i"], to=T.INT64), h.make_node("OneHot", ["i", "d", "v"], ["y"], axis=axis)]
    case(f"OneHot negative {axis}", nodes, digits, {"d": i64(3), "v": np.array([-1, 2], np.float32)})
    case(f"OneHot out of range {axis}", nodes, digits * 2, {"d": i64(3), "v": np.array([-1, 2], np.float32)})
    case(f"OneHot {axis}", nodes, abs(digits), {"d": np.int64(4), "v": np.array([-1, 2], np.float32)})
one("DepthToSpace", "DepthToSpace", f32(2, 8, 2, 3), blocksize=2)
one("DepthToSpace CRD", "DepthToSpace", f32(2, 8, 2, 3), blocksize=2, mode="CRD")
one("SpaceToDepth", "SpaceToDepth", f32(2, 2, 4, 6), blocksize=2)
one("Compress", "Compress", cube, {"c": np.array([True, False, True])}, axis=1)
one("Compress flat", "Compress", cube, {"c": np.array([True, False, True])})
one("NonZero", "NonZero", np.round(cube))
one("ReverseSequence", "ReverseSequence", f32(4, 3), {"n": i64(2, 4, 1)})

# Two arguments.
one("Mod", "Mod", line, {"m": np.float32(0.7)}, fmod=1)
one("Pow", "Pow", abs(line), {"p": np.float32(1.7)})
one("Pow integer", "Pow", line, {"p": np.int64(3)})
for op in ("Mod", "Div"):
    nodes = [h.make_node("Cast", ["x"], ["i"], to=T.INT32), h.make_node(op, ["i", "m"], ["d"]), h.make_node("Cast", ["d"], ["y"], to=T.FLOAT)]
    case(f"{op} of integers", nodes, wide, {"m": np.int32(7)})
    case(f"{op} of integers by a negative one", nodes, wide, {"m": np.int32(-7)})
nodes = [h.make_node("Cast", ["x"], ["i"], to=T.INT32), h.make_node("Mod", ["i", "m"], ["d"], fmod=1), h.make_node("Cast", ["d"], ["y"], to=T.FLOAT)]
case("Mod of integers fmod", nodes, wide, {"m": np.int32(7)})
for direction in ("LEFT", "RIGHT"):
    nodes = [h.make_node("Cast", ["x"], ["i"], to=T.UINT8), h.make_node("BitShift", ["i", "m"], ["d"], direction=direction), h.make_node("Cast", ["d"], ["y"], to=T.FLOAT)]
    case(f"BitShift {direction}", nodes, abs(wide) / 3, {"m": np.uint8(2)})
for equation in ("ij,jk->ik", "ij,jk", "ij, jk -> ki", "...j,jk->...k", "ij,jk->", "ij,jk->jik"):
    one(f"Einsum {equation}", "Einsum", f32(3, 4), {"b": f32(4, 5)}, equation=equation)
one("Einsum diagonal", "Einsum", f32(4, 4), {"b": f32(4)}, equation="ii,i->i")
one("Einsum trace", "Einsum", f32(4, 4), equation="ii")
one("Where", "Where", abs(line), {"c": line > 0, "o": f32(16)}, inputs=["c", "x", "o"])
one("Mean", "Mean", line, {"b": f32(16), "c": f32(3, 1)})
one("Min", "Min", line, {"b": f32(16), "c": f32(3, 1)})
for attributes in ({}, {"mode": "nearest"}, {"padding_mode": "border"}, {"padding_mode": "reflection", "align_corners": 1}, {"mode": "bicubic"}, {"mode": "nearest", "padding_mode": "reflection"}, {"mode": "bicubic", "align_corners": 1}, {"mode": "bicubic", "padding_mode": "border"}, {"mode": "bicubic", "padding_mode": "reflection"}, {"padding_mode": "border", "align_corners": 1}, {"padding_mode": "reflection"}):
    one(f"GridSample {attributes}", "GridSample", small, {"g": f32(2, 4, 3, 2, scale=1.0)}, 16, **attributes)

# Attention.
tokens = f32(2, 5, 8, scale=1.0)
three = {"k": f32(2, 5, 8), "v": f32(2, 5, 8)}
for name, extra in {"": {}, "causal": {"is_causal": 1}, "scale": {"scale": 0.3}, "softcap": {"softcap": 0.5}, "precision": {"softmax_precision": 10}, "qk": {"qk_matmul_output_mode": 1}}.items():
    one(f"Attention {name}", "Attention", tokens, three, 23, q_num_heads=2, kv_num_heads=2, **extra)
one("Attention groups", "Attention", tokens, {"k": f32(2, 5, 4), "v": f32(2, 5, 4)}, 23, q_num_heads=2, kv_num_heads=1)
one("Attention causal, longer keys", "Attention", tokens, {"k": f32(2, 7, 8), "v": f32(2, 7, 8)}, 23, q_num_heads=2, kv_num_heads=2, is_causal=1)
one("Attention mask", "Attention", tokens, three | {"m": f32(5, 5)}, 23, q_num_heads=2, kv_num_heads=2)
one("Attention mask of bools", "Attention", tokens, three | {"m": np.tril(np.ones((5, 5), bool))}, 23, q_num_heads=2, kv_num_heads=2)
node = h.make_node("Attention", ["x", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"], name="node", q_num_heads=2, kv_num_heads=2)
case("Attention past", [node], tokens, three | {"pk": f32(2, 2, 3, 4), "pv": f32(2, 2, 3, 4)}, 23, ["y", "nk", "nv"])
node = h.make_node("Attention", ["x", "k", "v", "", "pk", "pv"], ["y", "nk", "nv"], name="node", q_num_heads=2, kv_num_heads=2, is_causal=1)
case("Attention past causal", [node], tokens, three | {"pk": f32(2, 2, 3, 4), "pv": f32(2, 2, 3, 4)}, 23, ["y", "nk", "nv"])
MS = "com.microsoft"
one("MultiHeadAttention", "MultiHeadAttention", tokens, three, domain=MS, num_heads=2)
one("MultiHeadAttention scale", "MultiHeadAttention", tokens, three, domain=MS, num_heads=2, scale=0.3)
one("MultiHeadAttention unidirectional", "MultiHeadAttention", tokens, three, domain=MS, num_heads=2, unidirectional=1)
one("MultiHeadAttention bias", "MultiHeadAttention", tokens, three | {"b": f32(24)}, domain=MS, num_heads=2)
one("BiasGelu", "BiasGelu", line, {"b": f32(16)}, domain=MS)
one("FastGelu", "FastGelu", line, {"b": f32(16)}, domain=MS)
one("QuickGelu", "QuickGelu", line, domain=MS, alpha=1.3)
one("QuickGelu default", "QuickGelu", line, domain=MS)
one("Gelu ms", "Gelu", line, domain=MS)
one("SkipLayerNormalization", "SkipLayerNormalization", tokens, {"s": f32(2, 5, 8), "g": f32(8), "b": f32(8)}, domain=MS, epsilon=0.1)
one("SkipSimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", tokens, {"s": f32(2, 5, 8), "g": f32(8)}, domain=MS, epsilon=0.1)
one("SimplifiedLayerNormalization", "SimplifiedLayerNormalization", tokens, {"g": f32(8)}, epsilon=0.1)
for op, constants, domain in (
    ("SkipLayerNormalization", {"s": f32(2, 5, 8) * 1e-3, "g": f32(8)}, MS),
    ("SkipSimplifiedLayerNormalization", {"s": f32(2, 5, 8) * 1e-3, "g": f32(8)}, MS),
    ("SimplifiedLayerNormalization", {"g": f32(8)}, ""),
    ("LayerNormalization", {"g": f32(8)}, ""),
    ("RMSNormalization", {"g": f32(8)}, ""),
    ("InstanceNormalization", {"g": f32(5), "b": f32(5)}, ""),
    ("GroupNormalization", {"g": f32(5), "b": f32(5)}, ""),
):
    extra = {"num_groups": 5} if op.startswith("Group") else {}
    one(f"{op} of small numbers", op, tokens * 1e-3, constants, 23, domain=domain, **extra)
one("FusedMatMul", "FusedMatMul", f32(3, 4), {"b": f32(5, 4)}, domain=MS, transB=1, alpha=0.5)

# Transforms.
for opset, axis in ((17, {"axis": 1}), (20, {})):
    for extra in ({}, {"inverse": 1}, {"onesided": 1}):
        one(f"DFT {opset} {extra}", "DFT", f32(2, 8, 1), {}, opset, **axis, **extra)
one("STFT", "STFT", f32(2, 32, 1), {"step": np.int64(8), "w": f32(16)}, onesided=1)
one("STFT both sides", "STFT", f32(2, 32, 1), {"step": np.int64(8), "w": f32(16)}, onesided=0)

# Classical models.
ML = "ai.onnx.ml"
for norm_name in ("MAX", "L1", "L2"):
    one(f"Normalizer {norm_name}", "Normalizer", line, domain=ML, norm=norm_name)
for post in ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"):
    one(f"LinearRegressor {post}", "LinearRegressor", line, domain=ML, coefficients=[float(v) for v in f32(32) * 0.3], intercepts=[0.1, 0.2], targets=2, post_transform=post)
    node = h.make_node("LinearClassifier", ["x"], ["l", "y"], name="node", domain=ML, coefficients=[float(v) for v in f32(48) * 0.3], intercepts=[0.1, 0.2, 0.3], classlabels_ints=[0, 1, 2], post_transform=post, multi_class=1)
    case(f"LinearClassifier {post}", [node], line, domains=[(ML, 1)])
one("Scaler", "Scaler", line, domain=ML, offset=[0.1] * 16, scale=[2.0] * 16)
tree = dict(nodes_treeids=[0, 0, 0, 1, 1, 1], nodes_nodeids=[0, 1, 2, 0, 1, 2], nodes_featureids=[1, 0, 0, 3, 0, 0], nodes_values=[0.2, 0, 0, -0.1, 0, 0], nodes_modes=["BRANCH_LT", "LEAF", "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"], nodes_truenodeids=[1, 0, 0, 1, 0, 0], nodes_falsenodeids=[2, 0, 0, 2, 0, 0])
for aggregate in ("SUM", "AVERAGE", "MIN", "MAX"):
    one(f"TreeEnsembleRegressor {aggregate}", "TreeEnsembleRegressor", line, domain=ML, n_targets=1, target_treeids=[0, 0, 1, 1], target_nodeids=[1, 2, 1, 2], target_ids=[0] * 4, target_weights=[1.0, -2.0, 3.0, 0.5], base_values=[0.25], aggregate_function=aggregate, **tree)
for post in ("NONE", "SOFTMAX", "LOGISTIC"):
    node = h.make_node("TreeEnsembleClassifier", ["x"], ["l", "y"], name="node", domain=ML, class_treeids=[0, 0, 1, 1], class_nodeids=[1, 2, 1, 2], class_ids=[0, 1, 2, 0], class_weights=[1.0, -2.0, 3.0, 0.5], classlabels_int64s=[0, 1, 2], post_transform=post, **tree)
    case(f"TreeEnsembleClassifier {post}", [node], line, domains=[(ML, 1)])

# Functions.
body = [h.make_node("Constant", [], ["c"], value_float=1.0), h.make_node("Add", ["a", "c"], ["b"])]
function = h.make_function("own", "Relu", ["a"], ["b"], body, [h.make_opsetid("", 17)])
case("function with the name of an operator", [h.make_node("Relu", ["x"], ["y"], domain="own")], line, domains=[("own", 1)], functions=[function])
function = h.make_function("own", "AddOne", ["a"], ["b"], body, [h.make_opsetid("", 17)])
case("function", [h.make_node("AddOne", ["x"], ["y"], domain="own")], line, domains=[("own", 1)], functions=[function])

# Loops.
inner = h.make_graph([h.make_node("Add", ["s", "e"], ["t"]), h.make_node("Mul", ["e", "t"], ["o"])], "b", [h.make_tensor_value_info(n, T.FLOAT, [4]) for n in ("s", "e")], [h.make_tensor_value_info(n, T.FLOAT, [4]) for n in ("t", "o")])
for extra in ({}, {"scan_input_directions": [1]}, {"scan_output_directions": [1]}):
    node = h.make_node("Scan", ["s0", "x"], ["s1", "y"], name="node", body=inner, num_scan_inputs=1, **extra)
    case(f"Scan {extra}", [node], f32(3, 4), {"s0": f32(4)}, outputs=("s1", "y"))

if __name__ == "__main__":
    arrays = {}
    for name, (model, x, got) in cases.items():
        arrays[f"{name}/model"], arrays[f"{name}/x"] = model, x
        for number, y in enumerate(got):
            arrays[f"{name}/y{number}"] = y.astype(np.float32)
    np.savez_compressed(pathlib.Path(__file__).parent / "cases.npz", **arrays)
    print(len(cases), "cases")
