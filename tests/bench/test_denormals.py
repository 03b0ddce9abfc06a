"""Weights that are too small for a full mantissa."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from measured import changed
from onnx import TensorProto, helper, numpy_helper

from edgeprune.bench.denormals import denormal_weights, with_denormals

WEIGHTS = np.array([[1e-39, -1e-40, 0.0], [1.2e-38, -3.0, 1e-45]], np.float32)


def file_with(path: Path, **tensors: np.ndarray) -> Path:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    stored = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", [value], [output], stored)), str(path))
    return path


def test_zeros_normal_numbers_and_other_types_do_not_count(tmp_path: Path) -> None:
    halves = np.array([1e-6], np.float16)  # denormal there, and converted before it is multiplied
    assert denormal_weights(file_with(tmp_path / "m.onnx", w=WEIGHTS, h=halves)) == 3


@pytest.mark.parametrize("name", ["m.tflite", "m.onnx"])
def test_of_what_is_no_onnx_file_there_is_no_count(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"no model")
    assert denormal_weights(tmp_path / name) is None


def test_the_result_has_the_number(tmp_path: Path) -> None:
    file = str(file_with(tmp_path / "m.onnx", w=WEIGHTS))
    files = "models.baseline.file", file, "models.pruned.file", str(tmp_path / "none.tflite")
    models = with_denormals(changed(*files)).models
    assert models["baseline"].denormal_weights == 3
    assert not models["pruned"].denormal_weights
