"""The SVD peer: every Conv, Gemm and MatMul weight truncated to a rank and emitted as two layers where that is smaller.

Each layer has a share of its squared weight that may be dropped; `smallest` looks for the shares that give the smallest model which
still agrees with the original on enough of the held-out inputs.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from measure import top_classes

SHARES = np.linspace(0.01, 0.99, 99)


def matrix(node, weight):
    """The weight as outputs x inputs, or None where the node is not a plain dense layer."""
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    if node.op_type == "Conv" and attributes.get("group", 1) == 1:
        return weight.reshape(weight.shape[0], -1)
    if node.op_type == "Gemm" and not attributes.get("transA", 0):
        return weight if attributes.get("transB", 0) else weight.T
    if node.op_type == "MatMul" and weight.ndim == 2:
        return weight.T
    return None


def decompose(model):
    """{weight name: U, S, Vt} of all dense weights that one node alone reads."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    readers = [name for node in model.graph.node for name in node.input]
    found = {}
    for node in model.graph.node:
        name = node.input[1] if len(node.input) > 1 else ""
        if name in weights and readers.count(name) == 1 and weights[name].dtype == np.float32:
            dense = matrix(node, weights[name])
            if dense is not None:
                found[name] = np.linalg.svd(dense, full_matrices=False)
    return found


def truncate(model, factors, shares):
    """The model with every weight named in `shares` cut to the smallest rank that drops at most this share of its squared norm."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.node[:]
    stored = {tensor.name: tensor for tensor in cut.graph.initializer}
    for node in model.graph.node:
        name = node.input[1] if len(node.input) > 1 else ""
        if name not in shares:
            cut.graph.node.append(node)
            continue
        u, s, vt = factors[name]
        kept = np.cumsum(s.astype(np.float64) ** 2)
        rank = int(np.searchsorted(kept, (1 - shares[name]) * kept[-1]) + 1)
        if rank * (u.shape[0] + vt.shape[1]) >= u.shape[0] * vt.shape[1]:
            cut.graph.node.append(node)
            continue
        shape = list(stored[name].dims)
        cut.graph.initializer.remove(stored[name])
        inner, outer = vt[:rank], u[:, :rank] * s[:rank]
        cut.graph.node.extend(two_layers(node, shape, inner, outer, cut.graph.initializer))
    return cut


def two_layers(node, shape, inner, outer, initializers):
    """The nodes for outer @ inner in place of the weight of `node`; their weights are appended to `initializers`."""
    name, middle = node.input[1], f"{node.input[1]}/low_rank"
    rank = inner.shape[0]
    first, second = onnx.NodeProto(), onnx.NodeProto()
    first.CopyFrom(node)
    second.CopyFrom(node)
    first.name, second.name = f"{node.name}/inner", f"{node.name}/outer"
    del first.input[2:]
    first.output[0] = second.input[0] = middle
    first.input[1], second.input[1] = f"{name}/inner", f"{name}/outer"
    if node.op_type == "Conv":
        inner, outer = inner.reshape(rank, *shape[1:]), outer.reshape(shape[0], rank, *[1] * (len(shape) - 2))
        del second.attribute[:]
    elif node.op_type == "MatMul" or not any(a.name == "transB" and a.i for a in node.attribute):
        inner, outer = inner.T, outer.T
    if node.op_type == "Gemm":
        # alpha scales the product once; beta belongs to the bias, which the second layer adds.
        kept = [attribute for attribute in first.attribute if attribute.name not in ("alpha", "beta")]
        del first.attribute[:]
        first.attribute.extend(kept)
    for weight, value in ((first.input[1], inner), (second.input[1], outer)):
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), weight))
    return first, second


def smallest(path, images, wanted, agreement):
    """The smallest truncated model (bytes) found that agrees with the classes `wanted` on the share `agreement`, and its shares.

    The better of two searches: one share for all layers, and layer after layer, the largest first, each taking as much of the slack
    as it can. Both bisect over SHARES: agreement falls, near enough, as more is dropped.
    """
    model = onnx.load(path)
    factors = decompose(model)

    def bisect(names, shares):
        """`shares` with the largest share for `names` that still agrees; unchanged where none does."""
        low, high, best = 0, len(SHARES), shares
        while low < high:
            middle = (low + high) // 2
            trial = shares | dict.fromkeys(names, float(SHARES[middle]))
            candidate = truncate(model, factors, trial).SerializeToString()
            if (top_classes(candidate, images) == wanted).mean() >= agreement:
                best, low = trial, middle + 1
            else:
                high = middle
        return best

    one_by_one = {}
    for name in sorted(factors, key=lambda name: -factors[name][0].shape[0] * factors[name][2].shape[1]):
        one_by_one = bisect([name], one_by_one)
    found = [(truncate(model, factors, shares).SerializeToString(), shares) for shares in (bisect(list(factors), {}), one_by_one)]
    return min(found, key=lambda pair: len(pair[0]))
