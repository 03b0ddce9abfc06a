"""Fixtures for whoever tests against the stand-ins: import them into a conftest."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgeprune_target.cuda import loading
from onnx import TensorProto, helper, numpy_helper

from trt import fake_cuda, fake_pycuda
from trt.stand_in import make

PYCUDA = ("pycuda", "pycuda.driver", "edgeprune_target.cuda.pycuda_gpu")


@pytest.fixture
def no_pycuda(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PYCUDA[:2]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, PYCUDA[2], raising=False)


@pytest.fixture
def device() -> Iterator[fake_cuda.Device]:
    """The made-up device; nothing of it may be left over."""
    device = fake_cuda.DEVICE
    before = len(device.memory)
    yield device
    assert len(device.memory) == before, "device memory was not freed"
    assert not device.capturing


@pytest.fixture
def cudart(monkeypatch: pytest.MonkeyPatch, no_pycuda: None, device: Any) -> fake_cuda.FakeCudart:
    """libcudart, and no pycuda."""
    library = fake_cuda.FakeCudart()
    monkeypatch.setattr(loading, "load_library", lambda: library)
    return library


@pytest.fixture
def pycuda(monkeypatch: pytest.MonkeyPatch, device: Any) -> Iterator[Any]:
    """pycuda, and a libcudart for the graphs."""
    package: Any = type(sys)("pycuda")
    package.driver = fake_pycuda
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", fake_pycuda)
    monkeypatch.delitem(sys.modules, PYCUDA[2], raising=False)
    monkeypatch.setattr(loading, "load_library", lambda: fake_cuda.FakeCudart())
    yield fake_pycuda
    sys.modules.pop(PYCUDA[2], None)


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Install the stand-in of a version; returns it."""

    def install(version: str) -> Any:
        module = make(version)
        monkeypatch.setitem(sys.modules, "tensorrt", module)
        return module

    return install


@pytest.fixture
def engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for engines, not that of whoever runs the tests."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/edgeprune/engines"


def small_cnn(path: Path, width: int = 8, kind: str = "fp32", batch: Any = "batch", size: Any = 6) -> Path:
    """conv1, relu1, pool, flat, fc: (batch, 3, size, size) to 3 logits. ``kind`` fp16 or int8 is typed so."""
    random = np.random.default_rng(width)
    stored = {
        "conv1.weight": random.normal(size=(width, 3, 3, 3)).astype(np.float32),
        "conv1.bias": random.normal(size=width).astype(np.float32),
        "fc.weight": random.normal(size=(width, 3)).astype(np.float32),
    }
    before, after = [], []
    first, last = "input", "logits"
    if kind == "fp16":
        stored = {name: value.astype(np.float16) for name, value in stored.items()}
        before = [helper.make_node("Cast", ["input"], ["x"], "cast_in", to=TensorProto.FLOAT16)]
        after = [helper.make_node("Cast", ["z"], ["logits"], "cast_out", to=TensorProto.FLOAT)]
        first, last = "x", "z"
    elif kind == "int8":
        stored.update(s=np.asarray(0.03, np.float32), zero=np.asarray(0, np.int8))
        before = [
            helper.make_node("QuantizeLinear", ["input", "s", "zero"], ["q"], "q1"),
            helper.make_node("DequantizeLinear", ["q", "s", "zero"], ["x"], "dq1"),
        ]
        first = "x"
    nodes = [
        *before,
        helper.make_node("Conv", [first, "conv1.weight", "conv1.bias"], ["y"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["y"], ["r"], "relu1"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["f"], "flat"),
        helper.make_node("MatMul", ["f", "fc.weight"], [last], "fc"),
        *after,
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, size, size])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, 3])],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def answer(path: Path, images: np.ndarray) -> np.ndarray:
    """What ONNX Runtime says."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # The file is what counts: on x86 without VNNI the fused integer kernels saturate at 16 bits.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    logits: np.ndarray = session.run(None, {"input": images})[0]
    return logits
