"""MobileNets and VGG go the same way as ResNets, with no code of their own; a few minutes."""

from pathlib import Path

import pytest

from edgeprune.search import SearchOptions, search

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["mobilenetv1_cifar", "mobilenetv2_cifar", "vgg16_cifar"])
def test_trained_briefly_on_digits(name: str, tmp_path: Path) -> None:
    found = search(
        tmp_path / "out",
        SearchOptions.of(
            {
                "source": name,
                "data": "digits",
                "baseline_epochs": 4,
                "val_fraction": 0.2,
                "trials": 12,
                "calibration": 256,
                "clusters": 3,
                "bridge": 5,
            }
        ),
    )
    assert found["baseline"]["reward"] > 0.8
    assert found["best"]["reward"] >= max(0.2, found["uniform"]["reward"] - 0.1)
    assert all(0.3 < one["fractions"]["flops"] <= 0.5 for one in found["trials"])
    assert {one["stage"] for one in found["trials"]} == {"clusters", "bridge", "layers"}
