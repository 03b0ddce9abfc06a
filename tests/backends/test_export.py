import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from backends.conftest import StubRun
from edgeprune.backends import export_run
from edgeprune.backends import onnx as onnx_module
from edgeprune.backends.image_metadata import read_image_metadata
from edgeprune.backends.parity import Parity
from edgeprune.errors import EdgePruneError, ExportError, InUseError, MovedError, StorageError
from edgeprune.files.locks import held


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_and_record(stub: StubRun) -> None:
    calls = []
    record = export_run(stub.path, images=70, progress=lambda *call: calls.append(call))
    folder = stub.path / "export"
    assert names(stub.path) == ["export"]
    assert names(folder) == ["baseline.onnx", "export.json", "pruned.onnx"]
    assert json.loads((folder / "export.json").read_text()) == record.to_dict()
    assert record["schema"] == 2 and record["settings"] == {"opset": 18, "images": 70}
    assert record["input"]["shape"] == ["batch", 3, 32, 32] and record["output"]["shape"] == ["batch", 10]
    assert [(artifact["backend"], artifact["precision"]) for artifact in record["artifacts"]] == [
        ("onnx", "fp32")
    ] * 2
    artifacts = {artifact["model"]: artifact for artifact in record["artifacts"]}
    for name, params in [("baseline", 112 + 8 + 36010), ("pruned", 1930)]:
        model, content = artifacts[name], (folder / f"{name}.onnx").read_bytes()
        assert (model["sha256"], model["size_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
        assert model["params"] == params
        assert model["parity"]["images"] == 70 and model["parity"]["top1_agreement"] == 1.0
    assert [call[0] for call in calls] == [0, 1, 2]


def test_the_files_say_how_their_images_are_laid(stub: StubRun) -> None:
    import onnx

    export_run(stub.path, images=8)
    layout = read_image_metadata(onnx.load(stub.path / "export" / "pruned.onnx"))
    assert (layout["scale"], layout["color"]) == ("1/255", "rgb")
    assert tuple(map(float, layout["mean"].split(","))) == pytest.approx(stub.digits.mean)
    assert tuple(map(float, layout["std"].split(","))) == pytest.approx(stub.digits.std)


def test_tensorrt_without_cuda_is_a_reason_and_no_error(
    stub: StubRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    record = export_run(stub.path, to=["tensorrt"], images=8)
    engines = [artifact for artifact in record["artifacts"] if artifact["backend"] == "tensorrt"]
    assert [engine["file"] for engine in engines] == [None, None]
    assert all("no CUDA device" in engine["skipped_because"] for engine in engines)


@pytest.mark.parametrize(("named", "code"), [("openvino", 1), ("openvino, onnx", 0)])
def test_the_exit_is_1_where_nothing_of_what_is_named_could_be_made(
    named: str, code: int, stub: StubRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from edgeprune.cli import main

    monkeypatch.setattr("edgeprune.runs.subjects.Run", sys.modules["edgeprune.runs.run"].Run)
    monkeypatch.setattr(
        "edgeprune.backends.base.find_spec", lambda package: None if package == "openvino" else package
    )
    done = CliRunner().invoke(main, ["export", str(stub.path), "--to", named, "--images", "40"])
    assert done.exit_code == code, done.output
    assert "OpenVINO skipped, because the Python package" in done.output
    assert ("next: edgeprune bench" in done.output) == (code == 0)


def test_an_export_that_disagrees_leaves_nothing(stub: StubRun, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Parity(images=8, top1_agreement=0.5, max_abs_diff=1.0, logit_scale=1.0, max_rel_diff=1.0)
    monkeypatch.setattr(onnx_module, "measure_parity", lambda *args: bad)
    with pytest.raises(ExportError, match=r"exported baseline model disagrees .* agreement 50\.00 %"):
        export_run(stub.path, images=8)
    assert names(stub.path) == []


@pytest.mark.parametrize("problem", [RuntimeError("a bug"), KeyboardInterrupt()])
def test_a_failure_leaves_an_earlier_export_as_it_was(stub: StubRun, problem: BaseException) -> None:
    export_run(stub.path, images=8)
    before = {path.name: path.read_bytes() for path in (stub.path / "export").iterdir()}

    class Broken(dict):
        def __getitem__(self, name: str) -> nn.Module:
            if name == "pruned":
                raise problem
            return nn.Sequential(nn.Flatten(), nn.Linear(3072, 10))

    stub.models = Broken()
    with pytest.raises(type(problem)):
        export_run(stub.path, images=8)
    assert {path.name: path.read_bytes() for path in (stub.path / "export").iterdir()} == before
    assert names(stub.path) == ["export"]


def test_leftovers_of_a_killed_export_are_cleared(stub: StubRun) -> None:
    (stub.path / ".export.part").mkdir()
    (stub.path / ".export.part" / "junk").write_text("")
    export_run(stub.path, images=8)
    assert names(stub.path) == ["export"]
    assert "junk" not in names(stub.path / "export")


def test_an_export_place_that_is_taken(stub: StubRun) -> None:
    (stub.path / "export").write_text("a file")
    with pytest.raises(EdgePruneError, match="cannot write .*export"):
        export_run(stub.path, images=8)
    assert names(stub.path) == ["export"]


def test_no_images() -> None:
    with pytest.raises(ExportError, match="images must be at least 1, not 0"):
        export_run("anywhere", images=0)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, edgeprune.backends; print({'torch', 'onnx', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


# --- nothing lost ---------------------------------------------------------------------------------


def test_a_run_in_use_is_not_exported(stub: StubRun) -> None:
    with held(stub.path), pytest.raises(InUseError, match="is in use by process"):
        export_run(stub.path, images=8)
    assert names(stub.path) == []


def test_what_a_killed_export_left_is_swept(stub: StubRun) -> None:
    for name in (".export.part/baseline.onnx", "export/.pruned.onnx.12.part"):
        (stub.path / name).parent.mkdir()
        (stub.path / name).write_text("half")
    export_run(stub.path, images=8)
    assert names(stub.path) == ["export"]
    assert names(stub.path / "export") == ["baseline.onnx", "export.json", "pruned.onnx"]


def test_files_of_others_stay_in_the_export_folder(stub: StubRun) -> None:
    (stub.path / "export").mkdir()
    (stub.path / "export/baseline.my.notes.txt").write_text("mine")
    (stub.path / "export/baseline.fp16.onnx").write_text("of an earlier model")
    export_run(stub.path, images=8)
    assert "baseline.my.notes.txt" in names(stub.path / "export")
    assert "baseline.fp16.onnx" not in names(stub.path / "export")


def test_an_export_folder_that_is_a_link_is_followed(stub: StubRun, tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (stub.path / "export").symlink_to(tmp_path / "large")
    export_run(stub.path, images=8)
    assert (stub.path / "export").is_symlink()
    assert names(tmp_path / "large") == ["baseline.onnx", "export.json", "pruned.onnx"]


@pytest.mark.parametrize("done", [0, 1])
def test_a_run_that_goes_away_is_not_made_anew(stub: StubRun, tmp_path: Path, done: int) -> None:
    def move(now: int, total: int, text: str) -> None:
        if now == done:
            stub.path.rename(tmp_path / "elsewhere")

    with pytest.raises(MovedError, match="was moved or removed"):
        export_run(stub.path, images=8, progress=move)
    assert not stub.path.exists()


@pytest.mark.parametrize(
    ("number", "message"), [(28, "the disk is full"), (30, "read-only"), (5, "Input/output")]
)
def test_a_disk_that_refuses_leaves_an_earlier_export(
    stub: StubRun, monkeypatch: pytest.MonkeyPatch, number: int, message: str
) -> None:
    export_run(stub.path, images=8)
    before = {path.name: path.read_bytes() for path in (stub.path / "export").iterdir()}
    real = Path.write_bytes

    def refuse(self: Path, content: bytes) -> int:
        if "onnx" in self.name:
            raise OSError(number, "refused")
        return real(self, content)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(StorageError, match=message) as error:
        export_run(stub.path, images=8)
    assert "\n" not in str(error.value)
    assert {path.name: path.read_bytes() for path in (stub.path / "export").iterdir()} == before
    assert names(stub.path) == ["export"]
