"""Core ML's files: written by coremltools where it is here, else by a stand-in that notes what it is asked."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from bench.remote_fixtures import exported_digits
from click.testing import CliRunner

from edgeprune import backends
from edgeprune.backends.coreml import CoreMl
from edgeprune.backends.jobs import Job
from edgeprune.cli import main
from edgeprune.errors import ExportError

OPERATIONS = ("const", "cast", "conv", "relu", "linear")


class StandIn:
    """The functions of coremltools that are called, and what they were called with."""

    precision = SimpleNamespace(FLOAT16="half", FLOAT32="single")
    target = SimpleNamespace(iOS16="ios16")

    def __init__(self, inputs: dict[str, tuple[int, ...]], failure: str = "") -> None:
        self.inputs, self.failure = inputs, failure
        self.arguments: dict[str, Any] = {}
        self.utils = SimpleNamespace(load_spec=self.load_spec)

    def TensorType(self, name: str, dtype: type, shape: tuple[int, ...] = ()) -> Any:
        return name, dtype, shape

    def convert(self, model: torch.jit.ScriptModule, **arguments: Any) -> Any:
        if self.failure:
            raise RuntimeError(self.failure)
        self.arguments = {**arguments, "model": model}
        return SimpleNamespace(save=self.save)

    def save(self, path: str) -> None:
        (Path(path) / "Data").mkdir(parents=True)
        (Path(path) / "Manifest.json").write_text("{}")
        (Path(path) / "Data" / "weight.bin").write_bytes(b"weights")

    def load_spec(self, path: str) -> Any:
        assert Path(path, "Manifest.json").is_file()
        block = SimpleNamespace(operations=[SimpleNamespace(type=kind) for kind in OPERATIONS])
        program = {"main": SimpleNamespace(block_specializations={"CoreML6": block})}
        return SimpleNamespace(
            description=SimpleNamespace(
                input=[_described(*item) for item in self.inputs.items()],
                output=[_described("logits", (1, 10))],
            ),
            mlProgram=SimpleNamespace(functions=program),
        )


def _described(name: str, shape: tuple[int, ...]) -> Any:
    return SimpleNamespace(name=name, type=SimpleNamespace(multiArrayType=SimpleNamespace(shape=shape)))


@pytest.fixture
def job(tmp_path: Path) -> Job:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 10))
    return Job(network.eval(), "pruned", (3, 8, 8), tmp_path)


@pytest.fixture
def as_installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    made = StandIn({"input": (1, 3, 8, 8)})
    monkeypatch.setitem(__import__("sys").modules, "coremltools", made)
    yield made


@pytest.mark.parametrize(("precision", "numbers"), [("fp16", "half"), ("fp32", "single")])
def test_what_is_asked_of_coremltools_and_packed(
    as_installed: StandIn, job: Job, precision: str, numbers: str
) -> None:
    artifact = CoreMl(precision).export(job)
    assert as_installed.arguments["inputs"] == [("input", np.float32, (1, 3, 8, 8))]
    assert (
        as_installed.arguments["compute_precision"],
        as_installed.arguments["minimum_deployment_target"],
    ) == (
        numbers,
        "ios16",
    )
    image = torch.randn(1, 3, 8, 8)
    assert torch.equal(as_installed.arguments["model"](image), job.model(image))
    assert artifact.file == f"pruned.{precision}.mlpackage.zip"
    with zipfile.ZipFile(job.folder / artifact.file) as file:
        names = [f"pruned.{precision}.mlpackage/{name}" for name in ("Data/weight.bin", "Manifest.json")]
        assert file.namelist() == names
    assert artifact.parity is None
    assert artifact.details["not_compared_because"] == "Core ML runs on Apple's systems alone"
    assert artifact.details["operations"] == {"cast": 1, "conv": 1, "linear": 1, "relu": 1}
    assert (
        "4 operations; Core ML runs on Apple's systems alone, so it was not compared"
        in (CoreMl(precision).describe(artifact)[0])
    )


def test_another_network_or_none_is_one_line(as_installed: StandIn, job: Job) -> None:
    as_installed.inputs = {"x": (1, 8, 8, 3)}
    with pytest.raises(ExportError, match="coremltools wrote another network than the pruned model: inputs"):
        CoreMl().export(job)
    as_installed.failure = "PyTorch convert function for op 'roll' not implemented.\nmore"
    with pytest.raises(ExportError, match="coremltools cannot convert the pruned model: PyTorch convert"):
        CoreMl().export(job)
    assert list(job.folder.iterdir()) == []


def test_without_the_package_it_is_skipped_and_nowhere_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "edgeprune.backends.base.find_spec", lambda package: None if package == "coremltools" else package
    )
    run = exported_digits(tmp_path / "run", "onnx", CoreMl())
    artifacts = json.loads((run / "export/export.json").read_text())["artifacts"]
    reasons = {artifact["skipped_because"] for artifact in artifacts if artifact["backend"] == "coreml"}
    assert reasons == {"the Python package coremltools is not installed: pip install 'edgeprune[coreml]'"}
    for words in (["bench", str(run)], ["lut", "build", "--model", "resnet8"]):
        outcome = CliRunner().invoke(main, [*words, "--runtime", "coreml"])
        assert outcome.exit_code == 1 and outcome.output.count("\n") == 1
        assert "coreml is not measured by edgeprune: Core ML runs on Apple's systems alone" in outcome.output


@pytest.mark.parametrize("precision", ["fp16", "fp32"])
def test_by_coremltools_itself(job: Job, precision: str) -> None:
    pytest.importorskip("coremltools")
    artifact = backends.get("coreml")(precision).export(job)
    assert artifact.details["inputs"] == {"input": [1, 3, 8, 8]}
    assert [*artifact.details["outputs"]] == ["logits"]
    operations = artifact.details["operations"]
    assert (operations["conv"], operations["linear"]) == (1, 1)
    assert ("cast" in operations) is (precision == "fp16")
    with zipfile.ZipFile(job.folder / str(artifact.file)) as file:
        weights = next(file.getinfo(name) for name in file.namelist() if name.endswith("weight.bin"))
    numbers = sum(weight.numel() for weight in job.model.parameters())
    assert weights.file_size >= numbers * (2 if precision == "fp16" else 4)
