"""A tiny net, a data set of 60 images, and a finished comparison of two seeds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeprune.comparison import CompareOptions, compare

MODELS = """
from tiny_nets import Tiny, explodes, tiny

def has_a_bug(num_classes):
    class HasABug(Tiny):
        def load_state_dict(self, state, strict=True, assign=False):
            if strict: raise IndexError("off by one\\nsecond line")
            return super().load_state_dict(state, strict=strict)
    return HasABug(num_classes)
"""


@pytest.fixture(scope="session")
def place(place: Path) -> Path:
    """The folder of all tests, with the models of these beside the others."""
    (place / "compare_nets.py").write_text(MODELS)
    return place


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
