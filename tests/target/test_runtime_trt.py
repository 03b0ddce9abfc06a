"""TensorRT's runtime on the stand-in of every version: real numbers, through checked device memory."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeprune_target.errors import TargetError
from edgeprune_target.feeds import random_feed
from edgeprune_target.layering import build_if_needed, layers
from edgeprune_target.measure import measure
from edgeprune_target.runtimes import make_runtime, runtime_versions
from edgeprune_target.trt.options import EngineOptions
from trt.fixtures import answer, small_cnn
from trt.names import VERSIONS

IMAGES = np.random.default_rng(3).normal(size=(4, 3, 6, 6)).astype(np.float32)


def typed(version: str, precision: str) -> str:
    """The ONNX that this version wants for a precision."""
    return precision if version.startswith("11") else "fp32"


def opened(path: Path, precision: str = "fp16", batch: int = 4, **more: Any) -> Any:
    return make_runtime("tensorrt", str(path), 1, EngineOptions(precision, batch, **more))


@pytest.fixture(params=["cudart", "pycuda"])
def either(request: Any) -> str:
    """Both ways to device memory."""
    request.getfixturevalue(request.param)
    return str(request.param)


@pytest.mark.parametrize("version", VERSIONS)
def test_computes_what_onnxruntime_computes(
    tensorrt: Any, either: str, engines: Path, tmp_path: Path, version: str
) -> None:
    tensorrt(version)
    path = small_cnn(tmp_path / "m.onnx", kind=typed(version, "fp16"))
    expected = answer(small_cnn(tmp_path / "exact.onnx"), IMAGES)
    with opened(path) as engine:
        logits = engine.infer({"input": IMAGES})["logits"]
        assert engine.versions()["memory"] == ("libcudart" if either == "cudart" else "pycuda")
        report = engine.engine_report()
    np.testing.assert_allclose(logits, expected, atol=2e-2 * np.abs(expected).max())
    assert np.abs(logits - expected).max() > 0  # fp16 it is
    assert report["cuda_graph"] is True
    assert (report["tensorrt"], report["precision"], report["built_now"]) == (version, "fp16", True)


def test_fewer_images_than_the_batch_are_filled_up(
    tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path
) -> None:
    tensorrt("10.3.0")
    path = small_cnn(tmp_path / "m.onnx")
    with opened(path, "fp32") as engine:
        engine.infer({"input": IMAGES})  # leaves numbers behind that must not be seen
        few = engine.infer({"input": IMAGES[:3]})["logits"]
        with pytest.raises(TargetError, match=r"takes 'input' as \(4, 3, 6, 6\), not \(5, 3, 6, 6\)"):
            engine.infer({"input": np.zeros((5, 3, 6, 6), np.float32)})
    np.testing.assert_allclose(few, answer(path, IMAGES[:3]), rtol=1e-5)


def test_an_engine_is_built_once(tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path) -> None:
    tensorrt("10.3.0")
    path = small_cnn(tmp_path / "m.onnx")
    first = build_if_needed(str(path), runtime="tensorrt", threads=1, options=EngineOptions("fp16"))
    second = build_if_needed(str(path), runtime="tensorrt", threads=1, options=EngineOptions("fp16"))
    assert (first["built_now"], second["built_now"]) == (True, False)
    assert len(list(engines.glob("*.engine"))) == 1
    record = json.loads(next(engines.glob("*.json")).read_text())
    assert {"tensorrt", "gpu", "precision", "shapes", "onnx_sha256", "engine_sha256", "schema"} <= set(record)
    assert record["shapes"] == {"input": [[1, 3, 6, 6]] * 3}


@pytest.mark.parametrize("change", ["version", "precision", "batch", "file", "workspace"])
def test_what_makes_it_build_anew(
    tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path, change: str
) -> None:
    tensorrt("10.3.0")
    options, path = EngineOptions("fp16"), small_cnn(tmp_path / "m.onnx")
    build_if_needed(str(path), runtime="tensorrt", threads=1, options=options)
    if change == "version":
        tensorrt("10.13.3.9")
    elif change == "file":
        small_cnn(path, width=5)
    else:
        new = {"precision": "fp32", "batch": 2, "workspace": 64}[change]
        options = options._replace(**{change if change != "workspace" else "workspace_mb": new})
    assert build_if_needed(str(path), runtime="tensorrt", threads=1, options=options)["built_now"]


def test_a_broken_engine_is_built_anew(tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path) -> None:
    tensorrt("10.3.0")
    path = small_cnn(tmp_path / "m.onnx")
    build_if_needed(str(path), runtime="tensorrt", threads=1, options=EngineOptions("fp16"))
    engine = next(engines.glob("*.engine"))
    engine.write_bytes(engine.read_bytes()[:-10])
    assert build_if_needed(str(path), runtime="tensorrt", threads=1, options=EngineOptions("fp16"))[
        "built_now"
    ]


def test_an_engine_file_of_another_version(tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path) -> None:
    tensorrt("10.3.0")
    build_if_needed(
        str(small_cnn(tmp_path / "m.onnx")), runtime="tensorrt", threads=1, options=EngineOptions("fp16")
    )
    engine = next(engines.glob("*.engine"))
    with opened(engine, batch=1) as loaded:
        assert loaded.engine_report()["precision"] == "fp16"
    tensorrt("8.6.1")
    with pytest.raises(
        TargetError, match="cannot load the engine .*expecting library version 8.6.1 got 10.3.0"
    ):
        opened(engine).__enter__()
    assert engine.exists()  # somebody gave it: it is not ours to remove


def test_an_engine_for_another_batch(tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path) -> None:
    tensorrt("10.3.0")
    build_if_needed(
        str(small_cnn(tmp_path / "m.onnx")), runtime="tensorrt", threads=1, options=EngineOptions("fp16")
    )
    engine = next(engines.glob("*.engine"))
    with pytest.raises(
        TargetError, match="takes 'input' from 1x3x6x6 to 1x3x6x6, not 2x3x6x6: give the ONNX"
    ):
        opened(engine, shapes={"": (2, 3, 6, 6)}).__enter__()


def test_no_graph_is_a_warning_and_works(tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path) -> None:
    tensorrt("8.6.1")
    cudart.lacks = ("cudaGraphInstantiateWithFlags",)
    path = small_cnn(tmp_path / "m.onnx")
    with opened(path, "fp32") as engine:
        np.testing.assert_allclose(engine.infer({"input": IMAGES})["logits"], answer(path, IMAGES), rtol=1e-5)
        report = engine.engine_report()
    assert report["cuda_graph"] is False
    assert report["cuda_graph_reason"] == "this CUDA runtime has no cudaGraphInstantiateWithFlags"
    assert engine.warnings[-1]["code"] == "no_cuda_graph"


def test_a_graph_is_launched_for_every_inference(
    tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path, device: Any
) -> None:
    tensorrt("8.6.1")
    with opened(small_cnn(tmp_path / "m.onnx")) as engine:
        before = device.launches
        engine.infer({"input": IMAGES})
        engine.infer({"input": IMAGES})
        assert device.launches == before + 2


@pytest.mark.parametrize("version", VERSIONS)
def test_layers(tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path, version: str) -> None:
    """Five channels are computed as eight; the input is reformatted first. 10 us + 1 us per 1000 numbers."""
    tensorrt(version)
    path = small_cnn(tmp_path / "m.onnx", width=5, kind=typed(version, "fp16"))
    result = layers(
        str(path), runtime="tensorrt", batch=4, threads=1, seconds=0.0, options=EngineOptions("fp16", 4)
    )["layers"]
    conv = next(layer for layer in result if layer["name"] == "conv1 + relu1")
    assert conv["onnx"] == ["conv1", "relu1"]
    assert conv["outputs"] == [[4, 5, 6, 6]]
    if version.startswith("11"):
        assert conv["formats"] == ["Row major linear FP32 Float"]
        return
    assert conv["ms"] == pytest.approx(0.010 + 4 * 8 * 36 * 1e-6)
    assert conv["formats"] == ["Channel major FP16 format where C % 8 == 0"]
    reformats = [layer for layer in result if layer["reformat"]]
    assert [layer["onnx"] for layer in reformats] == [["conv1", "relu1"]]
    assert reformats[0]["ms"] == pytest.approx(0.010 + 4 * 8 * 36 * 1e-6)


@pytest.mark.parametrize("version", VERSIONS)
def test_measure(tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path, version: str) -> None:
    tensorrt(version)
    path = str(small_cnn(tmp_path / "m.onnx"))
    options = EngineOptions("fp32", 2)
    first = measure(path, runtime="tensorrt", batch=2, seconds=0.02, options=options)
    assert "built in this process" in first["memory_reason"]
    report = measure(path, runtime="tensorrt", batch=2, seconds=0.02, options=options)
    assert report["feed"] == {"input": [2, 3, 6, 6]}
    assert report["engine"]["built_now"] is False and report["uses_gpu"] is True
    assert len(report["gpu_ns"]) == len(report["enqueue_ns"]) >= 20
    # conv1+relu1, pool, flat, fc: 10 us each, and 1 ns per number: 2*8*36 + 2*8 + 2*8 + 2*3
    assert report["gpu_ns"][0] == pytest.approx(40_000 + 614, abs=2)
    memory = report["device_memory"]
    assert memory["activation_bytes"] == 12_345 and memory["engine_bytes"] > 1000
    assert (memory["weights_bytes"] is not None) == (version in ("10.16.1.11", "11.4.0.106"))
    assert memory["used_bytes"] == 2 * (2 * 3 * 36 * 4 + 2 * 3 * 4)  # each tensor, on both sides
    # Handing over is computing, on a stand-in: that is what the warning is about.
    assert "enqueue_bound" in {warning["code"] for warning in report["warnings"]}


def test_accuracy_pads_the_last_batch(tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path) -> None:
    from edgeprune_target.accuracy import accuracy

    tensorrt("10.16.1.11")
    path = small_cnn(tmp_path / "m.onnx")
    images = np.random.default_rng(5).normal(size=(7, 3, 6, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    np.save(tmp_path / "y.npy", answer(path, images).argmax(1))
    files = (str(tmp_path / "x.npy"), str(tmp_path / "y.npy"))
    score = accuracy(str(path), *files, runtime="tensorrt", batch=3, options=EngineOptions("fp32", 3))
    assert score == {"correct": 7, "count": 7, "not_finite": 0}


def test_no_gpu_is_one_line(tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path) -> None:
    tensorrt("10.3.0")
    cudart.devices = 0
    with pytest.raises(TargetError, match="no CUDA device: cudaGetDeviceCount: no CUDA-capable device"):
        opened(small_cnn(tmp_path / "m.onnx")).__enter__()


def test_versions_are_known_without_a_model(tensorrt: Any) -> None:
    tensorrt("10.3.0")
    assert runtime_versions()["tensorrt"] == "10.3.0"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (EngineOptions("fp8"), "unknown precision 'fp8': known are fp32, fp16, int8"),
        (EngineOptions(workspace_mb=0), "a workspace of 0 MB"),
        (EngineOptions(batch=0), "a batch of 0"),
    ],
)
def test_options_that_make_no_sense(tensorrt: Any, options: EngineOptions, reason: str) -> None:
    tensorrt("10.3.0")
    with pytest.raises(TargetError, match=reason):
        make_runtime("tensorrt", "m.onnx", 1, options)


def test_a_feed_can_be_made(tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path) -> None:
    tensorrt("8.4.1")
    with opened(small_cnn(tmp_path / "m.onnx"), batch=2) as engine:
        assert random_feed(engine.inputs, 2, {})["input"].shape == (2, 3, 6, 6)
