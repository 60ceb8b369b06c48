"""The rivals' ways to store the same layers in fewer bytes: each takes a model and gives a new one."""

import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx_shrink_ray.shrink import quantize_weights
from onnxconverter_common.float16 import convert_float_to_float16
from onnxruntime.quantization import QuantType, quantize_dynamic
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

# The quantisers' advice, and what they say of every node.
logging.getLogger().setLevel(logging.ERROR)
logging.getLogger("onnxruntime.quantization.matmul_nbits_quantizer").setLevel(logging.ERROR)

LEAST = 64  # elements; shorter tensors are not worth the nodes that unpack them


def copy(model):
    new = onnx.ModelProto()
    new.CopyFrom(model)
    return new


def dynamic_int8(model, weights, per_channel, operators=None):
    """ONNX Runtime's dynamic quantisation: int8 weights, activations quantised as they come."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.onnx", Path(folder) / "out.onnx"
        onnx.save(model, source)
        quantize_dynamic(source, target, weight_type=QuantType[weights], per_channel=per_channel, op_types_to_quantize=operators)
        return onnx.load(target)


def shrink_ray(model, least, per_channel):
    return quantize_weights(copy(model), min_elements=least, ir_version=model.ir_version, per_channel=per_channel)


def shrink_ray_floats(model, levels):
    """Still float32, but of few values, for what compresses the file afterwards."""
    return quantize_weights(copy(model), min_elements=256, float_quantization=True, float_levels=levels, ir_version=model.ir_version)


def float16_network(model):
    return convert_float_to_float16(copy(model), keep_io_types=True)


def stored(model, tensors):
    """The model with some initializers replaced: name -> (initializers, nodes that make a value of the same name)."""
    new = copy(model)
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in tensors]
    nodes = list(model.graph.node)
    del new.graph.initializer[:], new.graph.node[:]
    new.graph.initializer.extend(kept)
    for initializers, unpacking in tensors.values():
        new.graph.initializer.extend(initializers)
        new.graph.node.extend(unpacking)
    new.graph.node.extend(nodes)
    return new


def floats(model):
    """The float32 initializers that are worth packing and feed operators of ONNX itself."""
    readers = {name for node in model.graph.node if not node.domain for name in node.input}
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and tensor.name in readers and np.prod(tensor.dims) >= LEAST:
            yield tensor.name, numpy_helper.to_array(tensor)


def float16_weights(model):
    """Weights as float16, one Cast each; the network computes in float32."""
    packed = {}
    for name, value in floats(model):
        half = numpy_helper.from_array(value.astype(np.float16), f"{name}/h")
        packed[name] = [half], [helper.make_node("Cast", [half.name], [name], to=TensorProto.FLOAT)]
    return stored(model, packed)


def eight_bits(model):
    """Weights as int8 with a scale for the tensor, or one for each entry of an axis where that is nearer and adds no twentieth to its size.

    Cast and Mul unpack them, which ONNX Runtime folds.
    """
    packed = {}
    for name, value in floats(model):
        choices = [tuple(range(value.ndim))]
        choices += [tuple(a for a in range(value.ndim) if a != axis) for axis in range(value.ndim) if 80 * value.shape[axis] <= value.size]
        best = None
        for axes in choices:
            scale = np.abs(value).max(axis=axes, keepdims=True) / 127
            scale[scale == 0] = 1
            digits = np.rint(value / scale)
            error = float(((digits * scale - value) ** 2).sum())
            if best is None or error < best[0]:
                best = error, digits.astype(np.int8), scale.astype(np.float32)
        _, digits, scale = best
        scale = scale.reshape(()) if scale.size == 1 else scale
        initializers = [numpy_helper.from_array(digits, f"{name}/d"), numpy_helper.from_array(scale, f"{name}/s")]
        cast = helper.make_node("Cast", [f"{name}/d"], [f"{name}/c"], to=TensorProto.FLOAT)
        packed[name] = initializers, [cast, helper.make_node("Mul", [f"{name}/c", f"{name}/s"], [name])]
    return stored(model, packed)


def matmuls(model):
    """Gemm as MatMul and Add, which the 4-bit quantiser wants."""
    new = copy(model)
    tensors = {tensor.name: tensor for tensor in new.graph.initializer}
    del new.graph.node[:]
    for node in model.graph.node:
        given = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        weight = node.input[1] if len(node.input) > 1 else ""
        plain = given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0 and not given.get("transA", 0)
        if node.op_type != "Gemm" or weight not in tensors or not plain:
            new.graph.node.append(node)
            continue
        if given.get("transB", 0):
            tensors[weight].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(numpy_helper.to_array(tensors[weight]).T), weight))
        bias = len(node.input) > 2
        product = f"{node.output[0]}/p" if bias else node.output[0]
        new.graph.node.append(helper.make_node("MatMul", [node.input[0], weight], [product], name=weight))
        if bias:
            new.graph.node.append(helper.make_node("Add", [product, node.input[2]], [node.output[0]]))
    return new


def four_bits(model, symmetric, block=32):
    """MatMulNBits for the fully connected layers; the rest stays as it is."""
    quantizer = MatMulNBitsQuantizer(matmuls(model), bits=4, block_size=block, is_symmetric=symmetric)
    quantizer.process()
    return quantizer.model.model
