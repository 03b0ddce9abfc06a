"""fp16 by the operators' own schemas."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.backends.onnx_fp16 import export_half
from edgeprune.errors import ExportError

IMAGES = np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32)


def saved(path: Path, nodes: list, weights: dict[str, np.ndarray], out: list | None = None) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, out)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, path)
    return path


def answers(path: Path) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    logits: np.ndarray = session.run(None, {"input": IMAGES})[0]
    return logits


def conv(weights: dict[str, np.ndarray]) -> list:
    weights["w"] = np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32)
    return [helper.make_node("Conv", ["input", "w"], ["c"], "conv", pads=[1, 1, 1, 1])]


def test_weights_are_half_and_the_ends_are_not(tmp_path: Path) -> None:
    weights: dict = {}
    nodes = [*conv(weights), helper.make_node("Relu", ["c"], ["logits"], "relu")]
    source = saved(tmp_path / "m.onnx", nodes, weights)
    export_half(source, tmp_path / "h.onnx")
    half = onnx.load(tmp_path / "h.onnx")
    assert [weight.data_type for weight in half.graph.initializer] == [TensorProto.FLOAT16]
    assert [item.type.tensor_type.elem_type for item in (*half.graph.input, *half.graph.output)] == [1, 1]
    assert [node.op_type for node in half.graph.node] == ["Cast", "Conv", "Relu", "Cast"]
    np.testing.assert_allclose(answers(tmp_path / "h.onnx"), answers(source), atol=0.02)


def resize(weights: dict) -> list:
    weights.update(roi=np.zeros(0, np.float32), scales=np.array([1, 1, 2, 2], np.float32))
    return [helper.make_node("Resize", ["c", "roi", "scales"], ["logits"], "up")]


def clip(weights: dict) -> list:
    weights.update(low=np.float32(0.25), high=np.float32(0.75))
    return [helper.make_node("Clip", ["c", "low", "high"], ["logits"], "clip")]


def constants(weights: dict) -> list:
    return [
        helper.make_node("Constant", [], ["k1"], "k1", value_float=0.5),
        helper.make_node(
            "Constant", [], ["k2"], "k2", value=numpy_helper.from_array(np.full(1, 2, np.float32))
        ),
        helper.make_node("Mul", ["c", "k1"], ["m"], "mul"),
        helper.make_node("Add", ["m", "k2"], ["logits"], "add"),
    ]


def zeros(weights: dict) -> list:
    weights["size"] = np.array([1, 4, 1, 1], np.int64)
    return [
        helper.make_node("ConstantOfShape", ["size"], ["z"], "zeros"),
        helper.make_node("Add", ["c", "z"], ["logits"], "add"),
    ]


def casts(weights: dict) -> list:
    return [
        helper.make_node("Cast", ["c"], ["i"], "to_int", to=TensorProto.INT32),
        helper.make_node("Cast", ["i"], ["f"], "to_float", to=TensorProto.FLOAT),
        helper.make_node("Add", ["c", "f"], ["logits"], "add"),
    ]


def ranged(weights: dict) -> list:
    """Range takes no fp16, so it stays in float32 between Casts."""
    weights.update(start=np.float32(0), stop=np.float32(8), step=np.float32(1))
    return [
        helper.make_node("Range", ["start", "stop", "step"], ["r"], "range"),
        helper.make_node("Add", ["c", "r"], ["logits"], "add"),
    ]


def used_inside(weights: dict) -> list:
    """The output is an input of another node as well."""
    return [
        helper.make_node("Relu", ["c"], ["logits"], "relu"),
        helper.make_node("Neg", ["logits"], ["unused"], "neg"),
    ]


@pytest.mark.parametrize("more", [resize, clip, constants, zeros, casts, ranged, used_inside])
def test_operators_that_are_particular(tmp_path: Path, more: object) -> None:
    weights: dict = {}
    nodes = [*conv(weights), *more(weights)]  # type: ignore[operator]
    source = saved(tmp_path / "m.onnx", nodes, weights)
    export_half(source, tmp_path / "h.onnx")
    expected = answers(source)
    # Rounding down to whole numbers may fall on the other side by fp16.
    atol = 1.05 if more is casts else 0.02
    np.testing.assert_allclose(answers(tmp_path / "h.onnx"), expected, atol=atol)


def test_scales_of_resize_stay_as_they_are(tmp_path: Path) -> None:
    weights: dict = {}
    source = saved(tmp_path / "m.onnx", [*conv(weights), *resize(weights)], weights)
    export_half(source, tmp_path / "h.onnx")
    kinds = {item.name: item.data_type for item in onnx.load(tmp_path / "h.onnx").graph.initializer}
    assert kinds["scales"] == TensorProto.FLOAT and kinds["w_fp16"] == TensorProto.FLOAT16


def test_a_weight_of_both_kinds_is_there_twice(tmp_path: Path) -> None:
    weights: dict = {"start": np.float32(0), "step": np.float32(1)}
    nodes = [
        helper.make_node("Range", ["start", "step", "step"], ["r"], "range"),
        helper.make_node("Mul", ["input", "step"], ["m"], "mul"),
        helper.make_node("Add", ["m", "r"], ["logits"], "add"),
    ]
    export_half(saved(tmp_path / "m.onnx", nodes, weights), tmp_path / "h.onnx")
    kinds = {item.name: item.data_type for item in onnx.load(tmp_path / "h.onnx").graph.initializer}
    assert kinds == {"start": 1, "step": 1, "step_fp16": 10}


def test_weights_that_fp16_cannot_hold(tmp_path: Path) -> None:
    source = saved(
        tmp_path / "m.onnx",
        [helper.make_node("Mul", ["input", "k"], ["logits"], "mul")],
        {"k": np.float32(1e6)},
    )
    with pytest.raises(ExportError, match=r"k reaches 1e\+06, and fp16 ends at 65504: use fp32, or int8"):
        export_half(source, tmp_path / "h.onnx")
    assert not (tmp_path / "h.onnx").exists()


def test_infinity_stays_infinity(tmp_path: Path) -> None:
    source = saved(
        tmp_path / "m.onnx",
        [helper.make_node("Min", ["input", "k"], ["logits"], "min")],
        {"k": np.float32(np.inf)},
    )
    export_half(source, tmp_path / "h.onnx")
    np.testing.assert_allclose(answers(tmp_path / "h.onnx"), IMAGES, atol=0.01)


def test_subgraphs_are_refused(tmp_path: Path) -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["input"], ["y"])],
        "branch",
        [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    node = helper.make_node("If", ["yes"], ["logits"], "if", then_branch=branch, else_branch=branch)
    with pytest.raises(ExportError, match="If has a graph of its own"):
        export_half(saved(tmp_path / "m.onnx", [node], {"yes": np.array(True)}), tmp_path / "h.onnx")
