"""Tests work on tiny tensors, where threads cost more than they give."""

import contextlib
import gc
import traceback
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgeprune.data import DataBundle, load_data
from edgeprune.train_prune.options import TrainPruneOptions


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The README's commands take longest: they begin first, and the other worker does the rest meanwhile."""
    items.sort(key=lambda item: "one_after_the_other" not in item.name)


def pytest_collection_finish() -> None:
    """Torch, the tests and their parameters stay to the end: each full collection would look through them anew."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True, scope="session")
def no_waiting_for_the_disk() -> Iterator[None]:
    """What a killed process wrote is there without fsync, which guards against a loss of power: tests have none."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _descriptor: None)
        yield


@pytest.fixture(autouse=True, scope="session")
def one_registry() -> Iterator[None]:
    """torch.onnx makes the same list of its functions anew for each export: two fifths of the time here."""
    with pytest.MonkeyPatch.context() as patch:
        with contextlib.suppress(ImportError, AttributeError):  # torch may keep it elsewhere one day
            from torch.onnx._internal.exporter._registration import ONNXRegistry

            patch.setattr(ONNXRegistry, "from_torchlib", staticmethod(cache(ONNXRegistry.from_torchlib)))
        yield


@pytest.fixture(autouse=True, scope="session")
def no_stacks_for_seeds() -> Iterator[None]:
    """Where an accelerator is not in use, each torch.manual_seed formats the stack for it, once for each kind: 1 ms."""
    without_stacks = SimpleNamespace(**{**vars(traceback), "format_stack": list})
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("cuda", "xpu", "mtia"):
            with contextlib.suppress(ImportError, AttributeError):  # torch may do otherwise one day
                patch.setattr(f"torch.{kind}.traceback", without_stacks)
        yield


@pytest.fixture
def older_exporter(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are written by torch's older exporter, in a tenth of the time: for tests of what is done with them."""

    def passed_over(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr("edgeprune.backends.onnx_export._by_dynamo", passed_over)


@pytest.fixture(scope="session")
def small_data(tmp_path_factory: pytest.TempPathFactory) -> DataBundle:
    """Three classes of 16 images of 8 x 8."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("images")
    draw = np.random.default_rng(0)
    for number in range(48):
        place = folder / f"class{number % 3}" / f"{number:02d}.png"
        place.parent.mkdir(exist_ok=True)
        pixels = draw.integers(0, 90, (8, 8, 3)) + 60 * (number % 3)
        Image.fromarray(pixels.astype(np.uint8)).save(place)
    return load_data(folder, val_fraction=0.1)


MODELS = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.inside, self.inner = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.back = nn.Conv2d(12, 8, 3, padding=1)
        self.drop = nn.Dropout(0.1)
        self.linear = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = (x + self.back(self.inner(self.inside(x)).relu())).relu()
        return self.linear(self.drop(x).mean((2, 3)))

def tiny(num_classes): return Tiny(num_classes)
def always_ten(): return Tiny(10)
def tuples(num_classes):
    class Both(Tiny):
        def forward(self, x): return super().forward(x), x
    return Both(num_classes)
def linear(num_classes): return nn.Sequential(
    nn.Flatten(), nn.Linear(192, 16), nn.ReLU(), nn.Linear(16, num_classes))
def flat(num_classes): return nn.Sequential(nn.Flatten(), nn.Linear(192, num_classes))
def no_batch_norm(num_classes): return nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, num_classes))
def lower(num_classes):
    class Lower(Tiny):
        def forward(self, x):
            x = self.norm(self.stem(x)).relu()
            x = (x + self.back(torch.tril(self.inner(self.inside(x)).relu()))).relu()
            return self.linear(self.drop(x).mean((2, 3)))
    return Lower(num_classes)
def explodes(num_classes):
    class Breaks(Tiny):
        def forward(self, x): return super().forward(x) * (float("nan") if self.training else 1)
    return Breaks(num_classes)
"""


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module of models and a data set of 60 images in three classes."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("place")
    (folder / "tiny_nets.py").write_text(MODELS)
    draw = np.random.default_rng(0)
    for number in range(60):
        image = folder / "images" / f"class{number % 3}" / f"{number:02d}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 90, (8, 8, 3)) + 60 * (number % 3)
        Image.fromarray(pixels.astype(np.uint8)).save(image)
    return folder


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    """Models can be imported."""
    monkeypatch.syspath_prepend(str(place))


@pytest.fixture(scope="session")
def options(place: Path) -> TrainPruneOptions:
    return TrainPruneOptions(
        model="tiny_nets:tiny",
        data=str(place / "images"),
        target="flops=0.6",
        epochs=6,
        prune_iterations=16,
        baseline_epochs=2,
        batch_size=8,
        mask_images=4,
        precision="fp32",
        device="cpu",
    )


@pytest.fixture
def free_port() -> int:
    """A TCP port that nothing listens on."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def dead_process() -> int:
    """A number that no process has."""
    import subprocess

    child = subprocess.Popen(["true"])
    child.wait()
    return child.pid
