"""Models small enough to make in a test."""

import json
from pathlib import Path

import pytest
from trt.fixtures import cudart, device, engines, no_pycuda, pycuda, tensorrt  # noqa: F401


def channel_means(path: Path, batch: int | str = "batch", size: int | str = 4) -> Path:
    """An ONNX file whose logits are the means of the image's three channels."""
    from onnx import TensorProto, checker, helper, save

    image = helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, size, size])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["logits"]),
    ]
    graph = helper.make_graph(nodes, "means", [image], [logits])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, path)
    return path


@pytest.fixture
def onnx_file(tmp_path: Path) -> Path:
    return channel_means(tmp_path / "means.onnx")


@pytest.fixture
def fake_file(tmp_path: Path) -> Path:
    path = tmp_path / "fake.json"
    path.write_text(json.dumps({"latency_ns": 100_000, "answer": 2, "classes": 3}))
    return path


class Clock:
    """Nanoseconds that move only when told to."""

    def __init__(self) -> None:
        self.ns = 0

    def __call__(self) -> int:
        return self.ns

    def forward(self, seconds: float) -> None:
        self.ns += round(seconds * 1e9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def five_watts(tmp_path: Path) -> Path:
    path = tmp_path / "power.csv"
    path.write_text("t_s,VDD_IN\n0,5\n100,5\n")
    return path
