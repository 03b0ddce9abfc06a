"""A run to export, and the stand-ins for CUDA and TensorRT."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn
from trt.fixtures import cudart, device, engines, no_pycuda, tensorrt  # noqa: F401

from edgeprune.data import DataBundle, load_data


class StubRun:
    """A run of two untrained models on digits."""

    task = "classification"

    path: Path
    models: dict[str, nn.Module]
    digits: DataBundle

    def load(self, name: str) -> nn.Module:
        return self.models[name].eval()

    def data(self) -> DataBundle:
        return self.digits

    def check_trusted(self) -> None:
        """It names no code."""

    def summary(self) -> None:
        """It is finished."""

    def precisions(self) -> None:
        """None were chosen."""


@pytest.fixture(scope="module")
def digits() -> DataBundle:
    return load_data("digits")


@pytest.fixture
def stub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: DataBundle, older_exporter: None
) -> StubRun:
    """A run folder, and in the place of `edgeprune.runs.run` what opens it."""
    run = StubRun()
    run.path, run.digits = tmp_path / "run", digits
    run.path.mkdir()
    torch.manual_seed(0)
    run.models = {
        "baseline": nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(3600, 10)),
        "pruned": nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), nn.Linear(192, 10)),
    }
    runs = ModuleType("edgeprune.runs.run")
    runs.Run = SimpleNamespace(open=lambda path: run)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "edgeprune.runs.run", runs)
    return run
