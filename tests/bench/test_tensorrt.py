"""A whole measurement with TensorRT, its processes included: by trtexec, and by the Python module."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from boards.stand_in import build, lock_clocks
from trt.fixtures import answer, small_cnn
from trt.trtexec_stand_in import install

from edgeprune.bench import BenchOptions, bench_models
from edgeprune.bench.local import LocalTransport
from edgeprune.devices import Device, load_device

CARD = Device("card", "A made-up card", "tensorrt", "fp16", runtimes={"tensorrt": "fp16"})
TESTS = Path(__file__).parents[1]


@pytest.fixture
def models(tmp_path: Path) -> dict[str, str | Path]:
    folder = tmp_path / "run/export"
    folder.mkdir(parents=True)
    return {
        name: small_cnn(folder / f"{name}.onnx", width) for name, width in (("baseline", 16), ("pruned", 5))
    }


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(
        "edgeprune.bench.layers.PASSES", 2
    )  # each is a process, and the stand-ins do not vary
    return tmp_path / "cache/edgeprune/engines"


def test_on_a_board_that_has_trtexec_alone(
    models: dict[str, str | Path], tmp_path: Path, cache: Path
) -> None:
    """The stand-in board draws 5 W; its trtexec says 2 ms per inference, and 10 + 40 of them a round."""
    root = build("jetson-nano", tmp_path / "board")
    lock_clocks(root, "jetson-nano")
    program = install(root, "8.2.1")
    options = BenchOptions(load_device("jetson-nano"), seconds=2.0, rounds=2)
    result = bench_models(models, options=options, transport=LocalTransport(root=str(root)), layers=True)
    assert (result["settings"]["runtime"], result["settings"]["precision"]) == ("tensorrt", "fp16")
    pruned = result["models"]["pruned"]
    assert pruned["latency_ms"]["p50"] == 2.0
    assert pruned["gpu_latency_ms"]["p50"] == 1.5 and pruned["enqueue_ms"]["p50"] == 0.25
    assert pruned["engine"]["tensorrt"] == "8.2.1" and pruned["engine"]["built_now"] is False
    assert pruned["memory_peak_bytes"] is None and "trtexec" in pruned["memory_reason"]
    window_s = pruned["energy"]["window_s"]
    assert 1.8 <= window_s < 4.0  # the line that begins a window may be read a little late
    assert pruned["energy_mj_per_inference"] == pytest.approx(1000 * 5 * window_s / 100, rel=0.01)
    assert len(list(cache.glob("*.engine"))) == 2  # one of each model, for all rounds
    assert sum("--onnx" in line for line in Path(f"{program}.log").read_text().splitlines()) == 2
    rows = result["layers"]["rows"]
    assert [(row["onnx"], row["verdict"]) for row in rows] == [(("conv1", "conv1/Relu"), "same")]
    assert rows[0]["pruned"]["reformats"] == 1
    assert not (root / "CHANGED").exists()
    json.dumps(result.to_dict(), allow_nan=False)


@pytest.mark.slow
@pytest.mark.parametrize("version", ["8.6.1", "11.4.0.106"])
def test_by_the_python_module(
    models: dict[str, str | Path], monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    path = [str(TESTS / "trt/child"), str(TESTS), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(path))
    monkeypatch.setenv("STAND_IN_TENSORRT", version)
    if version.startswith("11"):
        for name, width in (("baseline", 16), ("pruned", 5)):
            small_cnn(Path(models[name]).with_name(f"{name}.fp16.onnx"), width, "fp16")
    images = np.random.default_rng(2).normal(size=(3, 3, 6, 6)).astype(np.float32)
    labels = answer(Path(models["pruned"]), images).argmax(1)
    options = BenchOptions(CARD, batch=2, seconds=0.2, rounds=2)
    result = bench_models(models, options=options, batches=lambda: [(images, labels)], layers=True)
    pruned = result["models"]["pruned"]
    assert pruned["versions"]["tensorrt"] == version and pruned["versions"]["memory"] == "pycuda"
    assert pruned["accuracy"] == 1.0 and pruned["accuracy_images"] == 3
    assert (
        pruned["memory_peak_bytes"] is None or pruned["memory_peak_bytes"] > 0
    )  # not "built in this process"
    assert "built" not in (pruned["memory_reason"] or "")
    assert pruned["device_memory"]["engine_bytes"] > 1000
    # There is no GPU here, so no graph: that is said, per model, with the reason.
    message = [warning["message"] for warning in result["warnings"] if warning["code"] == "no_cuda_graph"]
    assert [words.split(":")[0] for words in message] == ["baseline", "pruned"]
    conv = next(row for row in result["layers"]["rows"] if "conv1" in row["onnx"])
    assert conv["verdict"] == "faster"
    if version == "8.6.1":
        assert conv["pruned"]["padded"] == "5 channels computed as 8"
        assert conv["baseline"]["padded"] is None
        assert (conv["pruned"]["reformats"], conv["gained_reformat"]) == (1, False)
        # 10 us for each of its two kernels, 1 ns per number: 2 x 8 x 36, twice
        assert conv["pruned"]["ms"] == pytest.approx(0.020 + 2 * 2 * 8 * 36 * 1e-6)
