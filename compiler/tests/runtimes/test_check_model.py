"""check_model.py passes sound models and rejects broken ones, each for the right reason: python test_check_model.py"""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

CHECKER = Path(__file__).with_name("check_model.py")
BOND, OUTPUTS, INPUTS = 3, 6, 8


def random(*dims):
    return np.random.default_rng(7).standard_normal(dims).astype(np.float32)


OUT_CORE, IN_CORE, BIAS = random(OUTPUTS, BOND), random(BOND, INPUTS), random(OUTPUTS)


def model(nodes, weights, output="y"):
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", INPUTS])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["N", OUTPUTS])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def gemm(output="y"):
    return helper.make_node("Gemm", ["x", "w", "b"], [output], "fc/Gemm", transB=1)


def dense():
    return model([gemm()], {"w": np.tanh(OUT_CORE @ IN_CORE), "b": BIAS})


def generated(**changes):
    """The same layer with its weight made of two cores and a tanh."""
    nodes = [
        helper.make_node("MatMul", ["out_core", "in_core"], ["z"], "fc/ttn/level1/MatMul"),
        helper.make_node("Tanh", ["z"], ["w"], "fc/ttn/level1/Tanh"),
        gemm(),
    ]
    return model(nodes, {"out_core": OUT_CORE, "in_core": IN_CORE, "b": BIAS} | changes)


def unfoldable(prefix):
    """The first core stored as int8 behind DequantizeLinear, which ONNX Runtime does not fold."""
    nodes = [
        helper.make_node("DequantizeLinear", ["quantised", "step"], ["out_core"], f"{prefix}/DequantizeLinear"),
        helper.make_node("MatMul", ["out_core", "in_core"], ["w"], f"{prefix}/MatMul"),
        gemm(),
    ]
    quantised = np.clip(np.round(OUT_CORE * 32), -127, 127).astype(np.int8)
    return model(nodes, {"quantised": quantised, "step": np.float32(1 / 32), "in_core": IN_CORE, "b": BIAS})


class CheckModel(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.inputs = self.folder / "inputs.npz"
        self.x = random(5, INPUTS)
        np.savez(self.inputs, x=self.x, labels=np.zeros(5, np.int64))

    def check(self, compiled, *options):
        """Exit code and result of checking `compiled` (a model or bytes) against the dense layer."""
        paths = [self.folder / "original.onnx", self.folder / "compiled.onnx"]
        onnx.save(dense(), paths[0])
        paths[1].write_bytes(compiled if isinstance(compiled, bytes) else compiled.SerializeToString())
        command = [sys.executable, CHECKER, *paths, *options]
        run = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
        self.assertNotIn("Traceback", run.stderr)
        return run.returncode, json.loads(run.stdout) if run.stdout else None

    def assert_fails(self, reason, compiled, *options):
        code, result = self.check(compiled, *options)
        self.assertEqual((code, result["ok"]), (1, False))
        self.assertRegex(result["failure"], reason)

    def expected(self, **arrays):
        path = self.folder / "expected.npz"
        np.savez(path, **arrays)
        return "--inputs", self.inputs, "--expected", path

    def outputs(self):
        return self.x @ np.tanh(OUT_CORE @ IN_CORE).T + BIAS

    def test_generator_passes_and_is_folded(self):
        code, result = self.check(generated(), *self.expected(y=self.outputs()))
        self.assertEqual((code, result["ok"]), (0, True))
        self.assertEqual((result["generator_nodes"], result["generator_nodes_after_optimisation"]), (2, 0))
        self.assertLess(result["difference_from_original"], 1e-5)
        self.assertIn("difference_of_reference", result)

    def test_inputs_are_drawn_when_none_are_given(self):
        self.assertEqual(self.check(generated())[0], 0)

    def test_difference_from_the_original_is_measured(self):
        code, result = self.check(generated(b=BIAS + 1))
        self.assertEqual(code, 0)
        self.assertGreater(result["difference_from_original"], 0.01)

    def test_wrong_expected_outputs(self):
        self.assert_fails("expected outputs: relative difference", generated(), *self.expected(y=self.outputs() * 1.001))
        self.assert_fails("expected outputs: .*shape", generated(), *self.expected(y=self.outputs()[:3]))
        self.assert_fails("has arrays", generated(), *self.expected(z=self.outputs()))

    def test_generator_that_stays(self):
        self.assert_fails("did not fold .* generator nodes", unfoldable("fc/ttn/level1"))
        self.assert_fails("depend on no graph input", unfoldable("fc/another/name"))

    def test_changed_interface(self):
        weights = {"w": np.tanh(OUT_CORE @ IN_CORE), "b": BIAS}
        self.assert_fails("graph outputs were", model([gemm("renamed")], weights, "renamed"))
        changed = generated()
        changed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
        self.assert_fails("graph input x was", changed)

    def test_malformed(self):
        dangling = generated()
        dangling.graph.node[1].input[0] = "nowhere"
        self.assert_fails("onnx.checker rejects", dangling)
        self.assert_fails("onnx.checker rejects", generated(out_core=random(OUTPUTS, BOND + 1)))
        self.assert_fails("not readable as ONNX", generated().SerializeToString()[:-20])

    def test_values_that_are_not_finite(self):
        self.assert_fails("not finite", generated(b=np.full(OUTPUTS, np.nan, np.float32)))

    def test_inputs_without_the_array(self):
        np.savez(self.inputs, other=self.x)
        self.assert_fails("no array for the graph inputs", generated(), "--inputs", self.inputs)

    def test_command_line(self):
        self.assertEqual(self.check(generated(), "--inputs", self.folder / "missing.npz")[0], 2)


if __name__ == "__main__":
    unittest.main()
