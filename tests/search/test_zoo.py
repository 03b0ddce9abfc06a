"""MobileNets and VGG go the same way as ResNets, with no code of their own; a few minutes."""

from pathlib import Path

import pytest

from edgeprune.search import SearchOptions, search

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "epochs"), [("mobilenetv1_cifar", 4), ("mobilenetv2_cifar", 12), ("vgg16_cifar", 4)]
)
def test_trained_briefly_on_digits(name: str, epochs: int, tmp_path: Path) -> None:
    result = search(
        tmp_path / "out",
        SearchOptions.of(
            {
                "source": name,
                "data": "digits",
                "baseline_epochs": epochs,
                "val_fraction": 0.2,
                "trials": 12,
                "calibration": 256,
                "clusters": 3,
                "bridge": 5,
            }
        ),
    )
    assert result["baseline"]["reward"] > 0.8
    assert result["best"]["reward"] >= max(0.2, result["uniform"]["reward"] - 0.1)
    assert all(0.3 < trial["fractions"]["flops"] <= 0.5 for trial in result["trials"])
    assert {trial["stage"] for trial in result["trials"]} == {"clusters", "bridge", "layers"}
