import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch import nn

from edgeprune.errors import EdgePruneError, ExportError
from edgeprune.export import export_run
from edgeprune.export import run as run_module
from edgeprune.export.parity import Parity
from export.conftest import StubRun


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_files_and_record(stub: StubRun) -> None:
    calls = []
    record = export_run(stub.path, images=70, progress=lambda *call: calls.append(call))
    folder = stub.path / "export"
    assert names(stub.path) == ["export"]
    assert names(folder) == ["baseline.onnx", "export.json", "pruned.onnx"]
    assert json.loads((folder / "export.json").read_text()) == record
    assert record["schema"] == 1 and record["settings"] == {"opset": 18, "images": 70}
    assert record["input"]["shape"] == ["batch", 3, 32, 32] and record["output"]["shape"] == ["batch", 10]
    assert record["tensorrt"] is None
    for name, params in [("baseline", 112 + 8 + 36010), ("pruned", 1930)]:
        model, content = record["models"][name], (folder / f"{name}.onnx").read_bytes()
        assert (model["sha256"], model["size_bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
        assert model["params"] == params
        assert model["parity"]["images"] == 70 and model["parity"]["top1_agreement"] == 1.0
    assert [call[0] for call in calls] == [0, 1, 2]


def test_tensorrt_without_cuda_is_a_reason_and_no_error(
    stub: StubRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    record = export_run(stub.path, trt=True, images=8)
    assert record["tensorrt"]["built"] is False
    assert "no CUDA device" in record["tensorrt"]["skipped_because"]


def test_an_export_that_disagrees_leaves_nothing(stub: StubRun, monkeypatch: pytest.MonkeyPatch) -> None:
    bad = Parity(images=8, top1_agreement=0.5, max_abs_diff=1.0, logit_scale=1.0, max_rel_diff=1.0)
    monkeypatch.setattr(run_module, "measure_parity", lambda *args: bad)
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
    code = "import sys, edgeprune.export; print({'torch', 'onnx', 'onnxruntime'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
