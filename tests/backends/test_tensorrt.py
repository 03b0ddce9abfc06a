"""Engines against the stand-in of every version of TensorRT."""

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from trt.fake_cuda import FakeCudart
from trt.fixtures import small_cnn
from trt.names import VERSIONS

from backends.conftest import StubRun
from edgeprune.backends import Artifact, Job, Parity, export_run
from edgeprune.backends import base as base_module
from edgeprune.backends.base import TOLERANCES
from edgeprune.backends.listing import lines
from edgeprune.backends.tensorrt import TYPED, TensorRt
from edgeprune.errors import ExportError

RECORD = {
    "schema",
    "tensorrt",
    "gpu",
    "compute",
    "precision",
    "shapes",
    "onnx_sha256",
    "engine_sha256",
    "parity",
}


def batches() -> list[tuple[torch.Tensor, torch.Tensor]]:
    torch.manual_seed(1)
    return [(torch.randn(70, 3, 6, 6), torch.zeros(70)), (torch.randn(9, 3, 6, 6), torch.zeros(9))]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    small_cnn(tmp_path / "m.onnx")
    return tmp_path


def job(folder: Path) -> Job:
    return Job(torch.nn.Linear(2, 3), "m", (3, 6, 6), folder, batches, batches)


def typed(folder: Path, precision: str) -> Artifact:
    """Write the ONNX file that has the precision itself."""
    return TYPED[precision]().export(job(folder))


def built(folder: Path, precision: str, **more: Any) -> Artifact:
    """Build the engine of the file that `typed` wrote."""
    return TensorRt(precision, **more).export(job(folder))


def made(folder: Path, precision: str, **more: Any) -> Artifact:
    if precision != "fp32":
        typed(folder, precision)
    return built(folder, precision, **more)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_every_version_and_precision(
    tensorrt: Any, cudart: Any, folder: Path, version: str, precision: str
) -> None:
    tensorrt(version)
    artifact = made(folder, precision, workspace_mb=64, timing_cache=folder / "times")
    record = json.loads((folder / f"m.{precision}.engine.json").read_text())
    assert set(record) >= RECORD
    assert {**record, **artifact.details} == record
    content = (folder / f"m.{precision}.engine").read_bytes()
    assert (artifact.file, artifact.size_bytes) == (f"m.{precision}.engine", len(content))
    assert artifact.size_bytes == record["engine_bytes"]
    assert artifact.sha256 == record["engine_sha256"] == hashlib.sha256(content).hexdigest()
    assert (artifact.backend, artifact.precision, artifact.versions) == (
        "tensorrt",
        precision,
        {"tensorrt": version},
    )
    assert artifact.options == {"workspace_mb": 64, "timing_cache": str(folder / "times")}
    assert (record["tensorrt"], record["compute"]) == (version, "8.7")
    assert record["shapes"] == {"input": [[1, 3, 6, 6], [1, 3, 6, 6], [64, 3, 6, 6]]}
    typed = version.startswith("11") and precision != "fp32"
    assert record["onnx"] == (TYPED[precision]().file_name("m") if typed else "m.onnx")
    assert record["calibration_images"] == (72 if precision == "int8" and not typed else 0)  # 79, in eights
    parity = record["parity"]
    assert parity["images"] == 79
    assert (parity["max_rel_diff"] > 1e-6) == (precision != "fp32")
    assert (folder / "times").is_file()


@pytest.mark.parametrize("version", ["8.6.1", "11.4.0.106"])
def test_an_engine_that_disagrees_is_an_error_and_leaves_no_file(
    tensorrt: Any, cudart: Any, folder: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trt import building

    def spoilt(model: Any, flags: Any, calibrated: Any) -> Any:
        for weight in model.graph.initializer:
            if weight.name.startswith("fc.weight"):
                weight.raw_data = np.zeros_like(np.frombuffer(weight.raw_data, np.uint8)).tobytes()
        return model

    monkeypatch.setattr(building, "emulated", spoilt)
    tensorrt(version)
    typed(folder, "fp16")
    message = r"m.fp16.engine disagrees with ONNX Runtime on 79 images: agreement .* \(0.02 allowed\)"
    with pytest.raises(ExportError, match=message):
        built(folder, "fp16")
    assert not list(folder.glob("*.engine*"))


@pytest.mark.parametrize("precision", list(TOLERANCES))
def test_what_is_tolerated(precision: str) -> None:
    allowed = TOLERANCES[precision]

    def parity(difference: float, agreement: float) -> Parity:
        return Parity(
            images=100,
            top1_agreement=agreement,
            max_abs_diff=difference,
            logit_scale=1.0,
            max_rel_diff=difference,
        )

    TensorRt(precision).check(parity(allowed.max_rel_diff, allowed.top1_agreement), "x")
    for bad in (
        parity(1.01 * allowed.max_rel_diff, 1.0),
        parity(0.0, allowed.top1_agreement - 0.01),
        parity(float("nan"), 1.0),
    ):
        with pytest.raises(ExportError, match="x disagrees with ONNX Runtime"):
            TensorRt(precision).check(bad, "x")


@pytest.mark.parametrize(
    ("devices", "installed", "reason"),
    [
        (0, True, r"^no CUDA device: cudaGetDeviceCount: no CUDA-capable device is detected$"),
        (1, False, r"^TensorRT's Python module is not installed.*pip install 'edgeprune\[trt\]'"),
        (0, False, r"^no CUDA device: .*; TensorRT's Python module is not installed"),
    ],
)
def test_what_is_missing_is_named(
    cudart: FakeCudart,
    tensorrt: Any,
    monkeypatch: pytest.MonkeyPatch,
    devices: int,
    installed: bool,
    reason: str,
) -> None:
    cudart.devices = devices
    tensorrt("10.3.0")
    if not installed:
        monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(TensorRt().why_skipped())


def test_nothing_is_missing(cudart: FakeCudart, tensorrt: Any) -> None:
    tensorrt("10.3.0")
    assert TensorRt().why_skipped() is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"precision": "fp61"}, "unknown precision 'fp61' .did you mean 'fp16'"),
        ({"workspace_mb": 0}, "`workspace_mb` is 0"),
        ({"timing_cache": Path("absent/folder/times")}, "no folder .*absent/folder for the timing cache"),
    ],
)
def test_options_that_make_no_sense(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(ExportError, match=reason):
        TensorRt(**arguments)


@pytest.mark.parametrize(
    ("precision", "file", "backend"),
    [("fp16", "m.fp16.onnx", "onnx-fp16"), ("int8", "m.int8.tensorrt.onnx", "onnx-int8-tensorrt")],
)
def test_the_onnx_with_the_precision_itself(folder: Path, precision: str, file: str, backend: str) -> None:
    artifact = typed(folder, precision)
    assert (artifact.file, artifact.skipped_because, artifact.backend) == (file, None, backend)
    assert (folder / file).is_file()


def test_a_typed_onnx_that_cannot_be_had_is_a_reason(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Parity(images=79, top1_agreement=0.5, max_abs_diff=1.0, logit_scale=1.0, max_rel_diff=1.0)
    monkeypatch.setattr(base_module, "parity_of", lambda *arguments: bad)
    artifact = typed(folder, "fp16")
    assert artifact.file is None and "m.fp16.onnx disagrees" in (artifact.skipped_because or "")
    assert not (folder / "m.fp16.onnx").exists()


def test_from_11_on_it_is_needed(tensorrt: Any, cudart: Any, folder: Path) -> None:
    tensorrt("11.4.0.106")
    with pytest.raises(ExportError, match="TensorRT 11.4.0.106 needs m.fp16.onnx, which could not be made"):
        built(folder, "fp16")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_whole_run(tensorrt: Any, cudart: Any, stub: StubRun, version: str) -> None:
    tensorrt(version)
    calls: list[tuple[int, int, str]] = []
    content = export_run(stub.path, to=["tensorrt"], images=40, progress=lambda *call: calls.append(call))
    record = content
    engines = record.of(TensorRt())
    assert [(engine.precision, engine.skipped_because) for engine in engines.values()] == [("fp16", None)] * 2
    files = {path.name for path in (stub.path / "export").iterdir()}
    kinds = ("onnx", "fp16.onnx", "fp16.engine", "fp16.engine.json")
    assert files == {"export.json", *(f"{name}.{kind}" for name in ("baseline", "pruned") for kind in kinds)}
    assert [line.split(":")[0] for line in lines(record)] == [
        "baseline.fp16.engine",
        "pruned.fp16.engine",
    ]
    assert calls[-1] == (6, 6, "exported")


def test_without_cuda_the_onnx_is_done_and_the_exit_is_0(
    stub: StubRun, cudart: FakeCudart, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from edgeprune.cli import main

    cudart.devices = 0
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    monkeypatch.setattr("edgeprune.runs.subjects.Run", sys.modules["edgeprune.runs.run"].Run)
    done = CliRunner().invoke(
        main, ["export", str(stub.path), "--trt", "--precision", "int8", "--images", "40"]
    )
    assert done.exit_code == 0, done.output
    assert "TensorRT skipped, because no CUDA device: " in done.output
    assert "TensorRT builds its engine on the board, from the ONNX files: edgeprune bench RUN " in done.output
    assert "TensorRT's Python module is not installed" in done.output
    files = {path.name for path in (stub.path / "export").iterdir()}
    kinds = ("onnx", "int8.onnx", "int8.tensorrt.onnx")
    assert files == {"export.json", *(f"{name}.{kind}" for name in ("baseline", "pruned") for kind in kinds)}


def test_companions_need_trt(stub: StubRun) -> None:
    from click.testing import CliRunner

    from edgeprune.cli import main

    done = CliRunner().invoke(main, ["export", str(stub.path), "--timing-cache", "x"])
    assert done.exit_code == 2 and "--timing-cache is of engines: give --trt with it" in done.output


def test_engines_of_another_model_are_removed(tensorrt: Any, cudart: Any, stub: StubRun) -> None:
    tensorrt("10.3.0")
    export_run(stub.path, to=["tensorrt"], images=8)
    export_run(stub.path, images=8)  # the same models: the engines are still theirs
    assert len(list((stub.path / "export").glob("*.engine"))) == 2
    torch.manual_seed(7)
    stub.models = {
        **stub.models,
        "pruned": torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3072, 10)),
    }
    export_run(stub.path, images=8)
    names = sorted(path.name for path in (stub.path / "export").glob("*.*.*"))
    assert names == ["baseline.fp16.engine", "baseline.fp16.engine.json", "baseline.fp16.onnx"]


def test_an_engine_that_fails_leaves_an_earlier_export_as_it_was(
    tensorrt: Any, cudart: Any, stub: StubRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trt.building import Builder

    tensorrt("10.3.0")
    export_run(stub.path, images=8)
    before = {path.name: path.read_bytes() for path in (stub.path / "export").iterdir()}
    monkeypatch.setattr(Builder, "_why_not", lambda *arguments: "no kernel image")
    with pytest.raises(
        ExportError, match="TensorRT 10.3.0 cannot build baseline.onnx in fp16: .*no kernel image"
    ):
        export_run(stub.path, to=["tensorrt"], images=8)
    assert {path.name: path.read_bytes() for path in (stub.path / "export").iterdir()} == before
