"""Where ONNX Runtime wants Q/DQ nodes: by hand, and by the kernels that it makes of them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgeprune.backends.onnx_export import export_quickly
from edgeprune.quantization.guarding import guard_float_layers
from edgeprune.quantization.layers import copied, layers_of
from edgeprune.quantization.placing import MIDDLE, ONNXRUNTIME, TENSORRT, Place, places_of
from edgeprune.quantization.qdq import scales_of, with_scales
from edgeprune.quantization.quantizing import Quantizer, Recipe
from edgeprune.quantization.running import outputs_of

IMAGES = np.random.default_rng(0).normal(size=(8, 8, 8, 8)).astype(np.float32)


def graph(nodes: Sequence[Any], outputs: Sequence[str] = ("y",)) -> onnx.ModelProto:
    """A graph of (operator, inputs, result), with a weight for each name that ends in .weight."""
    names = {name for _, inputs, _ in nodes for name in inputs if name.endswith(".weight")}
    weights = [numpy_helper.from_array(np.ones((4, 4, 1, 1), np.float32), name) for name in sorted(names)]
    made = [helper.make_node(op, inputs, [result], result) for op, inputs, result in nodes]
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 4, 8, 8]) for n in ("x", *outputs)]
    return helper.make_model(helper.make_graph(made, "g", values[:1], values[1:], weights))


BLOCK = [
    ("Conv", ["x", "a.weight"], "a"),
    ("Relu", ["a"], "ra"),
    ("Conv", ["ra", "b.weight"], "b"),
    ("Relu", ["b"], "rb"),
    ("Conv", ["rb", "c.weight"], "c"),
    ("Add", ["c", "ra"], "sum"),
    ("Relu", ["sum"], "rs"),
    ("Conv", ["rs", "d.weight"], "y"),
]


def placed(model: onnx.ModelProto, names: str, form: str = ONNXRUNTIME) -> dict[str, Place]:
    return places_of(model, [layer for layer in layers_of(model) if layer.name in names], form)


def test_a_block_in_int8() -> None:
    """Results behind their ReLU from 0, what a sum reads of both signs; nothing at the network's output."""
    assert placed(graph(BLOCK), "abcd") == {
        "x": Place(frozenset(["a"]), MIDDLE),
        "ra": Place(None, 0),
        "rb": Place(None, 0),
        "c": Place(None, MIDDLE),
        "rs": Place(None, 0),
    }


def test_a_layer_in_float_between() -> None:
    """What b makes is rounded for c alone; b reads what a makes, which is in int8, from behind its nodes."""
    assert placed(graph(BLOCK), "ac") == {
        "x": Place(frozenset(["a"]), MIDDLE),
        "ra": Place(None, 0),
        "rb": Place(frozenset(["c"]), 0),
        "c": Place(None, MIDDLE),
        "rs": Place(None, 0),
    }


def test_a_sum_is_as_the_layer_before_it() -> None:
    """The shortcut is float, and read as int8 by the sum that is folded into c; with c in float all of it is float."""
    assert placed(graph(BLOCK), "c") == {
        "rb": Place(frozenset(["c"]), 0),
        "ra": Place(frozenset(["sum"]), 0),
        "c": Place(None, MIDDLE),
        "rs": Place(None, 0),
    }
    assert placed(graph(BLOCK), "b") == {"ra": Place(frozenset(["b"]), 0), "rb": Place(None, 0)}


def test_movers_keep_the_scale_where_int8_follows() -> None:
    nodes = [
        ("Conv", ["x", "a.weight"], "a"),
        ("Relu", ["a"], "ra"),
        ("Flatten", ["ra"], "flat"),
        ("Reshape", ["flat", "shape"], "back"),
        ("Conv", ["back", "b.weight"], "y"),
        ("Transpose", ["ra"], "z"),
    ]
    model = graph(nodes, ["y", "z"])
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 4, 8, 8]), "shape"))
    assert placed(model, "ab") == {
        "x": Place(frozenset(["a"]), MIDDLE),
        "ra": Place(None, 0),
        "flat": Place(None, 0, "ra"),
        "back": Place(None, 0, "ra"),
    }
    assert set(placed(model, "a")) == {"x", "ra"}  # nothing reads the moved numbers as integers


def test_tensorrt_wants_them_at_inputs_alone() -> None:
    everywhere = placed(graph(BLOCK), "abcd", TENSORRT)
    assert set(everywhere) == {"x", "ra", "rb", "rs"}
    assert everywhere["ra"] == Place(frozenset(["b", "sum"]))
    assert placed(graph(BLOCK), "c", TENSORRT) == {"rb": Place(frozenset(["c"]))}


class Net(nn.Module):
    """A stem, a residual block and a layer behind it."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.stem, self.one, self.two = (nn.Conv2d(8, 8, 3, padding=1) for _ in range(3))
        self.last, self.act = nn.Conv2d(8, 8, 3, padding=1), activation

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.stem(x))
        x = self.act(x + self.two(self.act(self.one(x))))
        return self.act(self.last(nn.functional.max_pool2d(x, 2))).mean((2, 3))


@pytest.mark.parametrize(
    ("activation", "in_float", "kernels"),
    [
        (nn.ReLU(), (), {"QLinearConv": 4, "QLinearAdd": 1}),
        (nn.ReLU6(), (), {"QLinearConv": 4, "QLinearAdd": 1}),
        (nn.ReLU(), ("one",), {"QLinearConv": 3, "QLinearAdd": 1}),
        (nn.ReLU(), ("two",), {"QLinearConv": 3}),
    ],
)
def test_onnx_runtime_computes_it_in_int8(
    tmp_path: Path, activation: nn.Module, in_float: Sequence[str], kernels: dict[str, int]
) -> None:
    torch.manual_seed(0)
    export_quickly(Net(activation).eval(), (8, 8, 8), tmp_path / "m.onnx", batch=1)
    quantizer = Quantizer(onnx.load(tmp_path / "m.onnx"), [IMAGES[:1]], Recipe(correct=False))
    chosen = [layer.output for layer in quantizer.layers if layer.name in in_float]
    file, options = tmp_path / "q.onnx", onnxruntime.SessionOptions()
    rounded, _ = quantizer.with_float(chosen)
    onnx.save(rounded, file)
    options.optimized_model_filepath, options.log_severity_level = str(tmp_path / "run.onnx"), 4
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    made = Counter(node.op_type for node in onnx.load(tmp_path / "run.onnx").graph.node)
    assert {name: made[name] for name in ("QLinearConv", "QLinearAdd") if made[name]} == kernels


@pytest.mark.parametrize(("activation", "guards"), [(nn.ReLU(), 0), (nn.ReLU6(), 1)])
def test_a_float_layer_between_int8_ones_stays_float(
    tmp_path: Path, activation: nn.Module, guards: int
) -> None:
    """ONNX Runtime would make its weights int8; what the file computes is the same."""
    torch.manual_seed(0)
    export_quickly(Net(activation).eval(), (8, 8, 8), tmp_path / "m.onnx", batch=1)
    quantizer = Quantizer(onnx.load(tmp_path / "m.onnx"), [IMAGES[:1]], Recipe(correct=False))
    layers = [layer for layer in quantizer.layers if layer.name != "one"]
    places = places_of(quantizer.model, layers, ONNXRUNTIME)
    scales = scales_of(quantizer.model, layers, places, quantizer.ranges)
    plain = with_scales(quantizer.model, scales, places)
    guarded = copied(plain)
    assert guard_float_layers(guarded) == 1
    assert len(guarded.graph.node) == len(plain.graph.node) + guards
    np.testing.assert_array_equal(outputs_of(guarded, [IMAGES[:1]])[0], outputs_of(plain, [IMAGES[:1]])[0])
    assert guard_float_layers(guarded) == 0
