"""The SVD peer: every Conv, Gemm and MatMul weight cut to a rank and emitted as two layers where that is smaller.

`decompose` factors the weights, by themselves or weighted by the second moments of their inputs (`moments`), `truncate` makes the model
of some ranks, and the searches look for the ranks that give the smallest model that still holds what is asked of it.
"""

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from measure import session

# Shares of a weight's energy that may be dropped: close together near none and near all.
SHARES = 1 / (1 + np.exp(-np.arange(-9, 5.01, 0.25)))
# Ranks over the full ones.
FRACTIONS = 2.0 ** np.arange(0, -9.01, -0.125)
RIDGE = 0.01


@dataclass
class Factors:
    """weight (outputs x inputs) = left @ right, the directions of most energy first."""

    left: np.ndarray
    right: np.ndarray
    energy: np.ndarray

    @property
    def elements(self):
        return self.left.shape[0] * self.right.shape[1]

    def rank_without(self, share):
        """The smallest rank that drops at most this share of the energy."""
        kept = np.cumsum(self.energy)
        return int(min(np.searchsorted(kept, (1 - share) * kept[-1]) + 1, len(kept)))

    def rank_at(self, fraction):
        return max(1, round(fraction * len(self.energy)))

    def pays(self, rank):
        """Whether two factors of that rank are smaller than the weight."""
        return rank * (self.left.shape[0] + self.right.shape[1]) < self.elements


def attributes(node):
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def matrix(node, weight):
    """The weight as outputs x inputs, or None where the node is not a plain dense layer."""
    given = attributes(node)
    if node.op_type == "Conv" and given.get("group", 1) == 1:
        return weight.reshape(weight.shape[0], -1)
    if node.op_type == "Gemm" and not given.get("transA", 0):
        return weight if given.get("transB", 0) else weight.T
    if node.op_type == "MatMul" and weight.ndim == 2:
        return weight.T
    return None


def dense_layers(model):
    """(node, weight as outputs x inputs) of all dense weights that one node alone reads."""
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    readers = [name for node in model.graph.node for name in node.input]
    for node in model.graph.node:
        name = node.input[1] if len(node.input) > 1 else ""
        if name in weights and readers.count(name) == 1 and weights[name].dtype == np.float32:
            dense = matrix(node, weights[name])
            if dense is not None:
                yield node, dense


def rows(node, values, shape):
    """What the weight of `node` multiplies, one row a product, from its input `values`; windows of the kernel for Conv (2-D)."""
    if node.op_type != "Conv":
        return values.reshape(-1, values.shape[-1])
    given = attributes(node)
    top, left, bottom, right = given.get("pads", [0] * 4)
    kernel, strides, dilations = shape[2:], given.get("strides", [1, 1]), given.get("dilations", [1, 1])
    values = np.pad(values, ((0, 0), (0, 0), (top, bottom), (left, right)))
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations)]
    windows = np.lib.stride_tricks.sliding_window_view(values, reach, (2, 3))
    windows = windows[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]
    return windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, values.shape[1] * kernel[0] * kernel[1])


def moments(model, images, batch=64):
    """{weight name: second moments of the inputs of its rows over `images`}, with a ridge of 1 % of their mean."""
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    layers = [(node, shapes[node.input[1]]) for node, _ in dense_layers(model)]
    seen = onnx.ModelProto()
    seen.CopyFrom(model)
    inputs = list(dict.fromkeys(node.input[0] for node, _ in layers))
    own = {value.name for value in model.graph.input}
    del seen.graph.output[:]
    seen.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in inputs if name not in own)
    run = session(seen.SerializeToString())
    wanted = [value.name for value in run.get_outputs()]
    found = {}
    for at in range(0, len(images), batch):
        part = images[at : at + batch]
        values = dict(zip(wanted, run.run(wanted, {run.get_inputs()[0].name: part})))
        for node, shape in layers:
            x = rows(node, values.get(node.input[0], part), shape)
            found[node.input[1]] = found.get(node.input[1], 0) + (x.T @ x).astype(np.float64)
    for name, gram in found.items():
        gram[np.diag_indices_from(gram)] += RIDGE * np.trace(gram) / len(gram)
    return found


def decompose(model, second_moments=None):
    """{weight name: Factors}: the best of each rank for the weight itself, or for its outputs where the inputs have these moments."""
    found = {}
    for node, weight in dense_layers(model):
        name = node.input[1]
        if second_moments is None:
            left, values, right = np.linalg.svd(weight, full_matrices=False)
            right = values[:, None] * right
        else:
            root = np.linalg.cholesky(second_moments[name]).astype(np.float32)
            left, values, _ = np.linalg.svd(weight @ root, full_matrices=False)
            right = left.T @ weight
        found[name] = Factors(left, right, values.astype(np.float64) ** 2)
    return found


def truncate(model, factors, ranks):
    """The model with every weight named in `ranks` cut to that rank, where that is smaller."""
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.node[:]
    stored = {tensor.name: tensor for tensor in cut.graph.initializer}
    for node in model.graph.node:
        name = node.input[1] if len(node.input) > 1 else ""
        if name not in ranks or not factors[name].pays(ranks[name]):
            cut.graph.node.append(node)
            continue
        shape = list(stored[name].dims)
        cut.graph.initializer.remove(stored[name])
        inner, outer = factors[name].right[: ranks[name]], factors[name].left[:, : ranks[name]]
        cut.graph.node.extend(two_layers(node, shape, inner, outer, cut.graph.initializer))
    return cut


def two_layers(node, shape, inner, outer, initializers):
    """The nodes for outer @ inner in place of the weight of `node`; their weights are appended to `initializers`."""
    name, middle = node.input[1], f"{node.input[1]}/m"
    rank = inner.shape[0]
    first, second = onnx.NodeProto(), onnx.NodeProto()
    first.CopyFrom(node)
    second.CopyFrom(node)
    first.name = second.name = ""
    del first.input[2:]
    first.output[0] = second.input[0] = middle
    first.input[1], second.input[1] = f"{name}/i", f"{name}/o"
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


def last(count, holds):
    """The last of `count` steps that holds, as far as those before one that holds do too; -1 where the first does not."""
    low, high = 0, count
    while low < high:
        middle = (low + high) // 2
        low, high = (middle + 1, high) if holds(middle) else (low, middle)
    return low - 1


def by_energy(factors, holds):
    """The ranks that drop as much energy of every weight, the same share of each, as still holds; {} where none does."""
    steps = [{name: each.rank_without(share) for name, each in factors.items()} for share in SHARES]
    found = last(len(steps), lambda step: holds(steps[step]))
    return steps[found] if found >= 0 else {}


def by_fraction(factors, holds):
    """The ranks that are the same share of the full rank of every weight, as small as still holds; {} where none does."""
    steps = [{name: each.rank_at(fraction) for name, each in factors.items()} for fraction in FRACTIONS]
    found = last(len(steps), lambda step: holds(steps[step]))
    return steps[found] if found >= 0 else {}


def worthwhile(factors, least=0.003):
    """The factors of the weights that have this share of all elements, or more."""
    total = sum(each.elements for each in factors.values())
    return {name: each for name, each in factors.items() if each.elements >= least * total}


def one_by_one(factors, holds, coarse=False):
    """Ranks found layer after layer, the largest first.

    `holds(ranks, share)` says whether the ranks hold with that share of the tolerance. The better of two starts counts: dense weights, or
    the ranks by energy that take half of the tolerance. Each layer is given an equal part more of it than the one before; in a second
    pass each takes what there is left. `coarse` takes the second start alone, one pass and half as many steps.
    """
    names = sorted(factors, key=lambda name: -factors[name].elements)
    shares = SHARES[:: 2 if coarse else 1]

    def descend(ranks, used):
        for at, name in enumerate(names if coarse else names * 2):
            each = factors[name]
            now = ranks.get(name, len(each.energy))
            steps = sorted({rank for rank in map(each.rank_without, shares) if each.pays(rank) and rank < now}, reverse=True)
            share = min(1, used + (1 - used) * (at + 1) / len(names))
            found = last(len(steps), lambda step: holds(ranks | {name: steps[step]}, share))
            if found >= 0:
                ranks = ranks | {name: steps[found]}
        return ranks

    def elements(ranks):
        sizes = {name: sum(each.left.shape[:1] + each.right.shape[1:]) for name, each in factors.items()}
        return sum(min(each.elements, ranks.get(name, 1 << 60) * sizes[name]) for name, each in factors.items())

    half = by_energy(factors, lambda ranks: holds(ranks, 0.5))
    return min([descend(half, 0.5), *([] if coarse else [descend({}, 0)])], key=elements)
