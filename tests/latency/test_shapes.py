"""The layers of exported models, and sample files that ONNX Runtime runs."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edgeprune.backends.onnx_export import export_model
from edgeprune.errors import LatencyError
from edgeprune.latency.layer_models import sample_model
from edgeprune.latency.shapes import Shape, read_model


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.down = nn.Conv2d(16, 24, 3, stride=2, padding=1)
        self.wise = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        self.grouped = nn.Conv2d(24, 24, 1, groups=3)
        self.point = nn.Conv2d(24, 24, 1)
        self.head = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        x = self.down(x)
        y = torch.nn.functional.relu6(self.wise(x))
        y = self.grouped(y).sigmoid()
        return self.head((x + self.point(y)).relu().mean((2, 3)))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return export_model(Net().eval(), (3, 8, 8), tmp_path / "net.onnx").path


def test_layers_of_a_file(file: Path) -> None:
    model = read_model(file, batch=2)
    result = {layer.name: (layer.shape.key, layer.inputs, layer.outputs) for layer in model.layers}
    assert result == {
        "stem": ("conv 3x3 on 8x8 raw + Relu", 3, 16),
        "down": ("conv 3x3 stride 2x2 on 8x8", 16, 24),
        "wise": ("depthwise 3x3 on 4x4 + Clip", 24, 24),
        "point": ("conv 1x1 on 4x4 + Add + Relu", 24, 24),
        "head": ("linear", 24, 10),
    }
    labels = {other.label: (other.key, other.channels, other.base) for other in model.others}
    assert labels["grouped"] == ("Conv on 4x4", 24, "grouped")
    assert labels["grouped/Sigmoid"] == ("Sigmoid on 4x4", 24, "grouped")
    assert not any(name.startswith(("stem", "wise")) for name in labels if "/" in name)


def test_a_file_without_layers(tmp_path: Path) -> None:
    path = export_model(nn.Flatten().eval(), (3, 8, 8), tmp_path / "flat.onnx").path
    with pytest.raises(LatencyError, match="nothing to time"):
        read_model(path, batch=1)


CASES = [
    Shape("conv", (8, 8), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), ("Relu",)),
    Shape("conv", (9, 9), (3, 3), (2, 2), (1, 1, 1, 1), (1, 1), ("Add", "Relu")),
    Shape("conv", (8, 8), (3, 3), (1, 1), (2, 2, 2, 2), (2, 2), ("Clip",)),
    Shape("depthwise", (8, 8), (5, 5), (1, 1), (2, 2, 2, 2), (1, 1), ("Clip",)),
    Shape("conv", (16, 16), (7, 7), (2, 2), (3, 3, 3, 3), (1, 1), ("Relu",), raw=True),
    Shape("conv", (12,), (3,), (1,), (1, 1), (1,), ("Relu",)),
    Shape("linear"),
]


@pytest.mark.parametrize("shape", CASES, ids=lambda s: s.key)
def test_sample_files_run_and_hold_those_layers(shape: Shape) -> None:
    points = (
        [(5, 5), (8, 8)] if shape.op == "depthwise" else [(3, 8), (3, 5)] if shape.raw else [(5, 8), (16, 3)]
    )
    data = sample_model([(shape, point) for point in points], batch=2)
    onnx.checker.check_model(onnx.load_from_string(data), full_check=True)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    feed = {i.name: np.ones(i.shape, np.float32) for i in session.get_inputs()}
    (out,) = session.run(None, feed)
    assert out.shape == (2, sum(b for _, b in points) + 64) and np.isfinite(out).all()
    stored = {item.name: item.dims for item in onnx.load_from_string(data).graph.initializer}
    for number, (a, b) in enumerate(points):
        channels = 1 if shape.op == "depthwise" else a
        assert list(stored[f"t{number}.weight"]) == [b, channels, *shape.kernel]


def test_shapes_there_and_back() -> None:
    for shape in CASES:
        assert Shape.from_dict(shape.to_dict()) == shape
    assert CASES[1].out_size == (5, 5)
    assert CASES[0].macs(4, 5) == 8 * 8 * 9 * 20
    assert CASES[3].macs(4, 4) == 8 * 8 * 25 * 4


class Resized(nn.Module):
    """Layers on maps whose size is taken from another map, as in the heads of segmenters."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.head = nn.Conv2d(8, 4, 1)
        self.last = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.first(x)
        small = nn.functional.interpolate(nn.functional.avg_pool2d(maps, 2), size=maps.shape[-2:])
        return self.last(nn.functional.interpolate(self.head(small), size=x.shape[-2:]))


def exported(path: Path, *free: int) -> Path:
    """A file of the older exporter, with these axes of the input free."""
    axes = {"input": {axis: f"axis{axis}" for axis in free}}
    torch.onnx.export(
        Resized().eval(), (torch.zeros(1, 3, 32, 32),), str(path), dynamo=False, input_names=["input"],
        dynamic_axes=axes,
    )  # fmt: skip
    return path


def test_sizes_that_are_computed_in_the_file(tmp_path: Path) -> None:
    layers = read_model(exported(tmp_path / "net.onnx", 0), 1).layers
    assert [(layer.name, layer.shape.size) for layer in layers] == [
        ("first", (32, 32)),
        ("head", (16, 16)),
        ("last", (32, 32)),
    ]


def test_a_layer_whose_size_nothing_tells_is_no_layer_of_a_table(tmp_path: Path) -> None:
    with pytest.raises(LatencyError, match="no convolution or linear layer"):
        read_model(exported(tmp_path / "net.onnx", 0, 2, 3), 1)
