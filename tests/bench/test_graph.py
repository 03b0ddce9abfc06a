"""Names of a runtime's layers, found in the ONNX file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import helper
from torch import nn
from trt.fixtures import small_cnn

from edgeprune.backends.onnx_export import export_model
from edgeprune.bench.graph import OnnxGraph, read_graph
from edgeprune.bench.local import LocalTransport


@pytest.fixture
def graph(tmp_path: Path) -> OnnxGraph:
    """conv1 -> y, relu1 -> r, pool -> p, flat -> f, fc -> logits; the weights of two have their names."""
    return read_graph(small_cnn(tmp_path / "m.onnx", width=5))


@pytest.mark.parametrize(
    ("name", "kind", "named", "nodes"),
    [
        ("conv1", "Conv", [], {"conv1"}),
        ("r_nchwc", "Conv", [], {"conv1", "conv1/Relu"}),  # it goes by the tensor that it ends in
        ("p", "GlobalAveragePool", [], {"conv1/Relu/GlobalAveragePool"}),
        ("p", "Unheard", [], {"conv1/Relu/GlobalAveragePool"}),
        ("whatever", "CaskConvolution", ["conv1", "relu1", "absent"], {"conv1", "conv1/Relu"}),
        ("ReorderOutput_token_5", "ReorderOutput", [], {"ReorderOutput_token_5"}),
    ],
)
def test_nodes_of_a_layer(graph: OnnxGraph, name: str, kind: str, named: list[str], nodes: set[str]) -> None:
    assert graph.nodes_of(name, kind, named) == nodes


def test_channels(graph: OnnxGraph) -> None:
    assert graph.channels_of({"conv1", "conv1/Relu"}) == {5}
    assert graph.channels_of({"fc", "absent"}) == {3}
    assert graph.knows({"absent", "fc"}) and not graph.knows({"relu1"})


@pytest.mark.parametrize("kind", ["fp16", "int8"])
def test_typed_files_have_the_same_labels(graph: OnnxGraph, tmp_path: Path, kind: str) -> None:
    from edgeprune.backends.onnx_fp16 import export_half
    from edgeprune.backends.onnx_int8 import export_quantised

    source, path = small_cnn(tmp_path / "m.onnx", width=5), tmp_path / "typed.onnx"
    if kind == "fp16":
        export_half(source, path)
    else:
        export_quantised(source, path, [np.ones((2, 3, 6, 6), np.float32)])
    typed = read_graph(path)
    for node in ("conv1", "relu1", "fc"):
        assert typed.labels[node] == graph.labels[node]


def test_a_sum_of_rounded_maps_has_the_label_of_the_float_file(tmp_path: Path) -> None:
    """Kernels that ONNX Runtime makes of Q/DQ nodes and a layer are named after the layer's node, and numbered."""
    from edgeprune.backends.onnx_int8 import export_quantised

    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x).relu()
            return (self.b(x) + x).relu().mean((2, 3))

    export_model(Sum().eval(), (3, 6, 6), tmp_path / "m.onnx")
    export_quantised(tmp_path / "m.onnx", tmp_path / "q.onnx", [np.ones((2, 3, 6, 6), np.float32)])
    plain, rounded = read_graph(tmp_path / "m.onnx"), read_graph(tmp_path / "q.onnx")
    labels = set(plain.labels.values())
    assert labels >= {"a", "b", "b/Add"} and labels <= set(rounded.labels.values())
    node = next(node for node, label in rounded.labels.items() if label == "b")
    assert rounded.nodes_of(f"{node}_token_12", "QLinearConv", []) == {"b"}


def test_files_that_torch_numbered_otherwise_have_the_same_labels(tmp_path: Path) -> None:
    """A residual block, wide, and narrow with a channel selection that shifts all numbers."""

    class Block(nn.Module):
        def __init__(self, width: int, kept: list[int] | None) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6)
            self.inner, self.outer = (
                nn.Conv2d(6 if kept is None else len(kept), width, 1),
                nn.Conv2d(width, 6, 1),
            )
            self.kept = kept

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.norm(self.stem(x)))
            chosen = x if self.kept is None else x[:, self.kept]
            return torch.relu(self.outer(torch.relu(self.inner(chosen))) + x).mean((2, 3))

    graphs = []
    for name, width, kept in (("baseline", 8, None), ("pruned", 5, [0, 2, 3])):
        export_model(Block(width, kept), (3, 8, 8), tmp_path / f"{name}.onnx")
        graphs.append(read_graph(tmp_path / f"{name}.onnx"))
    baseline, pruned = (set(graph.labels.values()) for graph in graphs)
    assert baseline == {
        "stem",
        "stem/Relu",
        "inner",
        "inner/Relu",
        "outer",
        "outer/Add",
        "outer/Add/Relu",
        "outer/Add/Relu/ReduceMean",
    }
    assert baseline < pruned
    assert graphs[1].channels["inner"] == 5


def test_equal_labels_are_counted(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.node.insert(2, helper.make_node("Relu", ["y"], ["unused"], "relu2"))
    onnx.save(model, path)
    labels = read_graph(path).labels
    assert (labels["relu1"], labels["relu2"]) == ("conv1/Relu", "conv1/Relu (2)")


def test_scoped_names_stay_as_they_are(tmp_path: Path) -> None:
    path = small_cnn(tmp_path / "m.onnx")
    model = onnx.load(path)
    model.graph.node[0].name = "/conv1/Conv"
    onnx.save(model, path)
    assert read_graph(path).labels["/conv1/Conv"] == "/conv1/Conv"


def test_a_file_that_is_no_onnx_has_no_nodes(tmp_path: Path) -> None:
    path = tmp_path / "fake.json"
    path.write_text("{}")
    assert read_graph(path).nodes_of("a", None, ["b"]) == {"a"}


def test_a_linear_layer_that_took_in_its_activation(tmp_path: Path) -> None:
    """ONNX Runtime itself names it, in the head of a VGG."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(288, 16), nn.ReLU(), nn.Linear(16, 4))
    path = export_model(net, (3, 8, 8), tmp_path / "net.onnx").path
    graph = read_graph(path)
    call = ["--model", str(path), "--runtime", "onnxruntime", "--batch", "1", "--seconds", "0.05"]
    layers = LocalTransport().call("layers", [*call, "--threads", "1"])["layers"]
    result = [graph.nodes_of(layer["name"], layer["kind"], layer["onnx"]) for layer in layers]
    assert any("2" in nodes for nodes in result) and any("4" in nodes for nodes in result)
