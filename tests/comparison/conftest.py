"""A tiny net, a data set of 60 images, and a finished comparison of two seeds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.comparison import CompareOptions, compare

MODELS = """
import torch
from torch import nn

class Tiny(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.inside, self.inner = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.back = nn.Conv2d(12, 8, 3, padding=1)
        self.linear = nn.Linear(8, num_classes)

    def forward(self, x):
        x = self.norm(self.stem(x)).relu()
        x = (x + self.back(self.inner(self.inside(x)).relu())).relu()
        return self.linear(x.mean((2, 3)))

def tiny(num_classes): return Tiny(num_classes)

def explodes(num_classes):
    class Explodes(Tiny):
        def forward(self, x): return super().forward(x) * (float("nan") if self.training else 1)
    return Explodes(num_classes)

def has_a_bug(num_classes):
    class HasABug(Tiny):
        def load_state_dict(self, state, strict=True, assign=False):
            if strict: raise IndexError("off by one\\nsecond line")
            return super().load_state_dict(state, strict=strict)
    return HasABug(num_classes)
"""


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a module of models and a data set of 60 images in three classes."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("place")
    (folder / "compare_nets.py").write_text(MODELS)
    draw = np.random.default_rng(0)
    for number in range(60):
        image = folder / "images" / f"class{number % 3}" / f"{number:02d}.png"
        image.parent.mkdir(parents=True, exist_ok=True)
        pixels = draw.integers(0, 90, (8, 8, 3)) + 60 * (number % 3)
        Image.fromarray(pixels.astype(np.uint8)).save(image)
    return folder


@pytest.fixture(scope="session")
def importable(place: Path) -> Iterator[None]:
    """The models can be named as compare_nets:NAME."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        yield


@pytest.fixture(scope="session")
def training(place: Path) -> dict[str, Any]:
    """Fields of TrainPruneOptions: as short as it can be."""
    return {
        "data": str(place / "images"),
        "target": "flops=0.6",
        "epochs": 3,
        "prune_iterations": 8,
        "baseline_epochs": 1,
        "batch_size": 8,
        "mask_images": 4,
        "precision": "fp32",
        "device": "cpu",
    }


@pytest.fixture(scope="session")
def options(training: dict[str, Any], importable: None) -> CompareOptions:
    return CompareOptions(
        source="compare_nets:tiny", methods=("learned",), seeds=2, training=training, latency=False
    )


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, options: CompareOptions) -> Path:
    """A comparison that nothing interrupted; not to be changed."""
    out = tmp_path_factory.mktemp("comparisons") / "straight"
    compare(out, options)
    return out
