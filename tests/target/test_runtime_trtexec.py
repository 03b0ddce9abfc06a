"""TensorRT by trtexec alone: boards whose Python has no module for it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boards.stand_in import build as build_board
from edgeprune_target.accuracy import accuracy
from edgeprune_target.errors import TargetError
from edgeprune_target.layering import build_if_needed, layers
from edgeprune_target.measure import measure
from edgeprune_target.runtimes import make_runtime, runtime_versions
from edgeprune_target.trt.options import EngineOptions
from trt.fixtures import small_cnn
from trt.trtexec_stand_in import BANNERS, install


@pytest.fixture
def no_module(monkeypatch: pytest.MonkeyPatch, engines: Path) -> None:
    """Python has no tensorrt."""
    monkeypatch.setitem(sys.modules, "tensorrt", None)


def options(root: Path, precision: str = "fp32", **more: Any) -> EngineOptions:
    return EngineOptions(precision, 2, root=str(root), **more)


@pytest.mark.parametrize("version", list(BANNERS))
def test_measures(no_module: None, tmp_path: Path, version: str, five_watts: Path) -> None:
    program = install(tmp_path, version)
    path = str(small_cnn(tmp_path / "m.onnx"))
    report = measure(
        path,
        runtime="tensorrt",
        batch=2,
        seconds=0.2,
        root=str(tmp_path),
        options=options(tmp_path),
        sensors=[f"replay:{five_watts}"],
    )
    assert report["samples_ns"] == [2_000_000] * 40
    assert (report["gpu_ns"][0], report["enqueue_ns"][0]) == (1_500_000, 250_000)
    assert report["versions"] == {"tensorrt": version, "trtexec": str(program)}
    assert report["feed"] == {"input": [2, 3, 6, 6]}
    assert report["warm_up"] == {"runs": 10, "seconds": 0.2} and report["window_runs"] == 50
    # From "Starting inference" to the end of the runs: loading the engine is not in it.
    assert 0.15 <= report["window_s"] < 1.0  # that line may be read a little late
    assert report["energy"]["gross_j"] == pytest.approx(5 * report["energy"]["window_s"])
    assert report["memory_peak_bytes"] is None and "another process" in report["memory_reason"]
    assert report["uses_gpu"] is True and report["engine"]["tensorrt"] == version


def test_the_engine_is_built_once_with_the_right_shapes(no_module: None, tmp_path: Path) -> None:
    program = install(tmp_path, "8.2.1")
    path = str(small_cnn(tmp_path / "m.onnx"))
    for expected in (True, False):
        record = build_if_needed(path, runtime="tensorrt", threads=1, options=options(tmp_path))
        assert record["built_now"] is expected
    lines = Path(f"{program}.log").read_text().splitlines()
    builds = [line for line in lines if "--onnx" in line]
    assert len(builds) == 1
    assert "--minShapes=input:2x3x6x6 --optShapes=input:2x3x6x6 --maxShapes=input:2x3x6x6" in builds[0]
    assert record["engine"]["shapes"] == {"input": [[2, 3, 6, 6]] * 3}


@pytest.mark.parametrize(
    ("version", "times"), [("8.2.1", (0.5, 2.5)), ("10.3.0", (0.25, 1.25)), ("11.4.0", (0.25, 1.25))]
)
def test_layers(no_module: None, tmp_path: Path, version: str, times: tuple[float, float]) -> None:
    """Before 8.4 it is the mean, which the stand-in makes twice the median."""
    install(tmp_path, version)
    path = str(small_cnn(tmp_path / "m.onnx"))
    result = layers(path, runtime="tensorrt", batch=2, threads=1, seconds=0.05, options=options(tmp_path))[
        "layers"
    ]
    assert [layer["ms"] for layer in result] == list(times)
    assert [layer["reformat"] for layer in result] == [True, False]
    assert result[1]["onnx"] == ["conv1", "relu1"]


def test_gives_no_answers(no_module: None, tmp_path: Path) -> None:
    install(tmp_path, "8.2.1")
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 6, 6), np.float32))
    np.save(tmp_path / "y.npy", np.zeros(2, np.int64))
    with pytest.raises(TargetError, match="trtexec times an engine and gives no answers"):
        accuracy(
            str(small_cnn(tmp_path / "m.onnx")),
            str(tmp_path / "x.npy"),
            str(tmp_path / "y.npy"),
            runtime="tensorrt",
            batch=2,
            options=options(tmp_path),
        )


@pytest.mark.parametrize(
    ("version", "kind", "precision", "reason"),
    [
        ("8.2.1", "fp32", "int8", "trtexec makes up int8 scales"),
        ("11.4.0", "fp32", "fp16", "TensorRT 11 takes the precision from the ONNX file"),
        ("8.2.1", "fp32", "fp12", "unknown precision"),
    ],
)
def test_what_would_be_wrong_is_refused(
    no_module: None, tmp_path: Path, version: str, kind: str, precision: str, reason: str
) -> None:
    install(tmp_path, version)
    with pytest.raises(TargetError, match=reason):
        make_runtime(
            "tensorrt", str(small_cnn(tmp_path / "m.onnx", kind=kind)), 1, options(tmp_path, precision)
        ).prepare()


@pytest.mark.parametrize(
    ("version", "kind", "precision"), [("8.2.1", "int8", "int8"), ("11.4.0", "fp16", "fp16")]
)
def test_a_file_with_its_own_precision(
    no_module: None, tmp_path: Path, version: str, kind: str, precision: str
) -> None:
    install(tmp_path, version)
    path = str(small_cnn(tmp_path / "m.onnx", kind=kind))
    assert make_runtime("tensorrt", path, 1, options(tmp_path, precision)).prepare() is True


def test_a_build_that_fails_says_why(no_module: None, tmp_path: Path, engines: Path) -> None:
    install(tmp_path, "8.2.1")
    path = small_cnn(tmp_path / "m.onnx")
    path.write_bytes(path.read_bytes().replace(b"MatMul", b"Unheard"[:6]))
    path.write_bytes(path.read_bytes() + b"\x12\x07Unheard")  # the producer's name
    with pytest.raises(TargetError, match="trtexec failed: Failed to parse onnx file"):
        build_if_needed(str(path), runtime="tensorrt", threads=1, options=options(tmp_path))
    assert not engines.exists()


def test_a_board_counts_as_having_tensorrt(no_module: None, tmp_path: Path) -> None:
    root = build_board("jetson-nano", tmp_path / "board")
    assert runtime_versions(str(root))["tensorrt"] is None
    install(root, "8.2.1")
    assert runtime_versions(str(root))["tensorrt"] == "8.2.1"


def test_a_quarter_of_the_boards_memory_is_the_workspace(no_module: None, tmp_path: Path) -> None:
    """The stand-in board has 8 GB; before 8.4 a gigabyte at most."""
    path = str(small_cnn(tmp_path / "m.onnx"))
    for version, expected in (("8.2.1", "--workspace=1024"), ("8.6.1", "--memPoolSize=workspace:1953")):
        root = build_board("jetson-nano", tmp_path / version)
        program = install(root, version)
        build_if_needed(path, runtime="tensorrt", threads=1, options=options(root))
        assert expected in Path(f"{program}.log").read_text()


def test_a_program_that_does_not_start(no_module: None, tmp_path: Path) -> None:
    program = install(tmp_path, "8.2.1")
    program.write_text("#!/bin/sh\necho error while loading shared libraries\nexit 127\n")
    with pytest.raises(TargetError, match="trtexec does not start: it prints no version"):
        make_runtime("tensorrt", "m.onnx", 1, options(tmp_path))
