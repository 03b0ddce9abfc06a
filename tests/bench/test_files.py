"""Which files are measured."""

from pathlib import Path
from typing import Any

import pytest

from bench.remote_fixtures import linear_onnx, record_onnx
from edgeprune.backends import ExportRecord, for_runtime, names
from edgeprune.backends.onnx import Onnx
from edgeprune.backends.tensorrt import TensorRt
from edgeprune.bench.files import LooseFiles, exported_files, loose_files, measuring_with
from edgeprune.devices import Device, load_device
from edgeprune.errors import BenchError
from edgeprune.files.writing import write_json


def exported(run: Path, *models: str) -> Path:
    for name in models:
        linear_onnx(run / "export" / f"{name}.onnx", layers=0)
    record_onnx(run / "export")
    return run


def test_files_that_have_the_precision_themselves(tmp_path: Path) -> None:
    files = LooseFiles({"pruned": tmp_path / "run/export/pruned.onnx"})
    for version, precision in (("10.3.0", "fp16"), ("11.4.0", "fp32"), (None, "fp16"), ("unknown", "fp16")):
        backend = TensorRt(precision).measured_file(version)
        assert files.of(backend, "TensorRT") == files.paths
    assert files.of(Onnx(), "ONNX") == files.paths
    expected = TensorRt("fp16").measured_file("11.4.0")
    with pytest.raises(
        BenchError, match=r"no pruned.fp16.onnx: make it with: edgeprune export .*/run --to onnx-fp16"
    ):
        files.of(expected, "TensorRT 11.4.0")
    (tmp_path / "run/export").mkdir(parents=True)
    typed = tmp_path / "run/export/pruned.fp16.onnx"
    typed.touch()
    assert files.of(expected, "TensorRT 11.4.0") == {"pruned": typed}
    assert LooseFiles({"pruned": typed}).of(expected, "TensorRT 11.4.0") == {"pruned": typed}


def test_files_of_a_run_are_those_of_its_record(tmp_path: Path) -> None:
    files = exported_files(exported(tmp_path / "run", "baseline", "pruned"))
    folder = tmp_path / "run/export"
    assert files.of(Onnx(), "x") == {name: folder / f"{name}.onnx" for name in ("baseline", "pruned")}
    assert files.onnx("pruned") == folder / "pruned.onnx"
    content = files.record.to_dict()
    content["artifacts"][1]["file"] = "another.onnx"
    (folder / "pruned.onnx").rename(folder / "another.onnx")
    write_json(folder / "export.json", content)
    assert exported_files(tmp_path / "run").of(Onnx(), "x")["pruned"] == folder / "another.onnx"


def skip(content: dict[str, Any]) -> None:
    content["artifacts"][1] |= {
        "file": None,
        "sha256": None,
        "size_bytes": None,
        "skipped_because": "of this",
    }


@pytest.mark.parametrize(
    ("change", "expected", "reason"),
    [
        (
            lambda content: None,
            "int8",
            "no export/baseline.int8.onnx: make it with: edgeprune export .*--to onnx-int8$",
        ),
        (
            lambda content: content["artifacts"].pop(),
            "fp32",
            "no export/pruned.onnx: make it with: edgeprune export ",
        ),
        (skip, "fp32", "no export/pruned.onnx: it was skipped, because of this; then: edgeprune export "),
        (lambda content: content.update(schema=3), "fp32", "made by a newer edgeprune"),
        (
            lambda content: content["artifacts"][0].update(file="../x"),
            "fp32",
            "export again with: edgeprune export ",
        ),
    ],
)
def test_what_was_not_exported(tmp_path: Path, change: Any, expected: str, reason: str) -> None:
    run = exported(tmp_path / "run", "baseline", "pruned")
    content = ExportRecord.read(run / "export").to_dict()
    change(content)
    write_json(run / "export/export.json", content)
    backend = for_runtime("onnxruntime", expected)
    assert backend is not None
    with pytest.raises(BenchError, match=reason) as error:
        exported_files(run).of(backend, "x")  # the first raises for fp32, before a device is asked
    assert "\n" not in str(error.value)


def test_a_run_without_an_export(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="no such run folder"):
        exported_files(tmp_path / "absent")
    with pytest.raises(BenchError, match="has no export/export.json: make it with: edgeprune export "):
        exported_files(tmp_path)


def test_loose_files_must_be_there(tmp_path: Path) -> None:
    path = linear_onnx(tmp_path / "m.onnx", layers=0)
    assert loose_files({"baseline": path, "pruned": str(path)}).paths == {"baseline": path, "pruned": path}
    with pytest.raises(BenchError, match="no model named 'pruned' was given"):
        loose_files({"baseline": path})
    with pytest.raises(BenchError, match="no such model file"):
        loose_files({"baseline": path, "pruned": tmp_path / "absent"})


def test_runtimes_and_precisions_that_are_asked_for() -> None:
    cpu, nano = load_device("cpu"), load_device("jetson-nano")
    assert measuring_with(cpu, None, None) is cpu
    eight: Device = measuring_with(cpu, None, "int8")
    assert (eight.runtime, eight.precision, eight.runtimes) == (
        "onnxruntime",
        "int8",
        {"onnxruntime": "int8"},
    )
    assert measuring_with(nano, None, "int8").runtimes == {"tensorrt": "int8", "onnxruntime": "int8"}
    assert measuring_with(nano, "onnxruntime", None).runtimes == {"onnxruntime": "fp32"}
    assert measuring_with(cpu, "tensorrt", None).runtimes == {"tensorrt": "fp16"}
    with pytest.raises(BenchError, match="unknown runtime 'onnxruntine' .did you mean 'onnxruntime'"):
        measuring_with(cpu, "onnxruntine", None)
    with pytest.raises(
        BenchError, match=r"unknown precision 'int4'.*; known: fp16, fp32, int8 .of the runtime onnxruntime."
    ):
        measuring_with(cpu, None, "int4")
    assert names()[:4] == ("onnx", "onnx-fp16", "onnx-int8", "tensorrt")
