"""A device made by hand, whose times are known; and a small network on it."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from edgeprune.backends.onnx_export import export_model
from edgeprune.bench.process import OnEvent, ignore_event
from edgeprune.graph.classes import Graph, build_graph

STEP = 16
NO_BOARD = {"model": None, "compatible": [], "soc": None, "l4t": None, "android": False, "gpus": []}


class Board:
    """Convolutions take steps of 16 on either side, all else 1 us for each channel; it counts its files.

    It slows down all the time, by `drift` with every call. What it measures of a whole model is `whole`
    times the sum of the layers.
    """

    def __init__(self) -> None:
        self.timed: list[str] = []
        self.measured: list[float] = []
        self.speed = 1.0
        self.drift = 1.3
        self.whole = 1.0

    def send(self, path: Path) -> str:
        return str(path)

    def remove(self, remote: str) -> None:
        """Nothing was made."""

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        if verb == "probe":
            return {
                "board": NO_BOARD,
                "cpu_model": "made up",
                "runtimes": {"onnxruntime": "1.0", "tensorrt": None},
                "cores_physical": 2,
            }
        path = arguments[arguments.index("--model") + 1]
        if verb == "measure":
            return self.round(path)
        assert verb == "layers"
        self.timed.append(Path(path).name)
        self.speed *= self.drift
        return {"layers": times_of(path, self.speed)}

    def round(self, path: str) -> Any:
        raise NotImplementedError(path)


def times_of(path: str, speed: float) -> list[dict[str, Any]]:
    graph = onnx.shape_inference.infer_shapes(onnx.load(path)).graph
    weights = {item.name: list(item.dims) for item in graph.initializer}
    sizes = {
        v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim]
        for v in [*graph.input, *graph.value_info, *graph.output]
    }
    collected = []
    for node in graph.node:
        area = math.prod(sizes.get(node.output[0], [1, 1])[2:])
        if node.op_type in ("Conv", "Gemm"):
            a, b, *_ = (math.ceil(n / STEP) * STEP for n in weights[node.input[1]][:2])
            ms = 1e-6 * a * b * area + 0.01
        else:
            ms = 0.001 * sizes.get(node.output[0], [1, 1])[1] if node.op_type == "AveragePool" else 0.0
        row = {"name": node.name, "kind": node.op_type, "onnx": [node.name], "ms": ms * speed}
        collected.append({**row, "outputs": [], "formats": [], "reformat": False})
    return collected


def truth(path: Path) -> float:
    """What a file takes on the board, ms."""
    return sum(layer["ms"] for layer in times_of(str(path), 1.0))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.one, self.two = nn.Conv2d(32, 64, 3, padding=1), nn.Conv2d(64, 32, 3, padding=1)
        self.last = nn.Conv2d(32, 96, 3, stride=2, padding=1)
        self.head = nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        x = (x + self.two(self.one(x).relu())).relu()
        x = torch.nn.functional.avg_pool2d(self.last(x).relu(), 2)
        return self.head(x.mean((2, 3)))


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board()
    monkeypatch.setattr("edgeprune.bench.run.LocalTransport", lambda: made)
    return made


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Net().eval()


@pytest.fixture
def file(tmp_path: Path, net: nn.Module, older_exporter: None) -> Path:
    return export_model(net, (3, 16, 16), tmp_path / "net.onnx").path


@pytest.fixture
def graph(net: nn.Module) -> Graph:
    return build_graph(net, torch.zeros(1, 3, 16, 16))
