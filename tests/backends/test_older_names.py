"""Files of torch's older exporter name their layers as those of the newer do."""

from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from edgeprune.backends.older_names import module_of
from edgeprune.backends.onnx_export import export_model
from edgeprune.backends.onnx_running import run_onnx
from edgeprune.bench.graph import read_graph
from edgeprune.latency.shapes import read_model


class Nested(nn.Module):
    """Norms that are folded, a block within a container, a layer that is used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8), nn.ReLU())
        )
        self.twice, self.head = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.blocks(self.norm(self.stem(x)).relu())
        return self.head(self.twice(self.twice(x)).mean((2, 3)))


@pytest.mark.parametrize(
    ("node", "module"),
    [
        ("/stem/Conv", "stem"),
        ("/layer1/layer1.0/conv1/Conv", "layer1.0.conv1"),
        ("/layer1/layer1.0/layer1.0.1/Conv", "layer1.0.1"),
        ("/Relu", ""),
        ("", ""),
    ],
)
def test_the_module_of_a_node(node: str, module: str) -> None:
    assert module_of(node) == module


def test_layers_have_the_names_of_their_modules(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Nested().eval()
    path = export_model(net, (3, 8, 8), tmp_path / "m.onnx", opset=17).path
    labels = list(read_graph(path).labels.values())
    assert {"stem", "stem/Relu", "blocks.0.0", "twice.0", "head"} <= set(labels)
    names = [layer.name for layer in read_model(path, 1).layers]
    assert names == ["stem", "blocks.0.0", "twice.0", "head"]  # the second use reads a copy of the weights
    assert not any(node.name.startswith("/") for node in onnx.load(path).graph.node)
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        assert next(iter(run_onnx(path, [images]))) == pytest.approx(net(images).numpy(), abs=1e-5)
