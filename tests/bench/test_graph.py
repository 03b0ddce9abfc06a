"""Names of a runtime's layers, found in the ONNX file."""

from pathlib import Path

import pytest
from trt.fixtures import small_cnn

from edgeprune.bench.graph import Graph, read_graph


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    """conv1 -> y, relu1 -> r, pool -> p, flat -> f, fc -> logits."""
    return read_graph(small_cnn(tmp_path / "m.onnx", width=5))


@pytest.mark.parametrize(
    ("name", "kind", "named", "nodes"),
    [
        ("conv1", "Conv", [], {"conv1"}),
        ("r_nchwc", "Conv", [], {"conv1", "relu1"}),  # the convolution goes by the tensor that it ends in
        ("p", "GlobalAveragePool", [], {"pool"}),
        ("p", "Unheard", [], {"pool"}),
        ("whatever", "CaskConvolution", ["conv1", "relu1", "absent"], {"conv1", "relu1"}),
        ("ReorderOutput_token_5", "ReorderOutput", [], {"ReorderOutput_token_5"}),
    ],
)
def test_nodes_of_a_layer(graph: Graph, name: str, kind: str, named: list[str], nodes: set[str]) -> None:
    assert graph.nodes_of(name, kind, named) == nodes


def test_channels(graph: Graph) -> None:
    assert graph.channels_of({"conv1", "relu1"}) == {5}
    assert graph.channels_of({"fc", "absent"}) == {3}


def test_a_file_that_is_no_onnx_has_no_nodes(tmp_path: Path) -> None:
    path = tmp_path / "fake.json"
    path.write_text("{}")
    assert read_graph(path).nodes_of("a", None, ["b"]) == {"a"}
