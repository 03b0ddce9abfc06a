from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgeprune.data.named import read_cifar, read_digits
from edgeprune.data.source import ReadOptions
from edgeprune.errors import DataError


def test_digits_are_stratified_and_grown() -> None:
    source = read_digits(ReadOptions())
    assert source.test is not None
    assert (len(source.train.targets), len(source.test.targets)) == (1437, 360)
    # 1797 images, 174 to 183 a class: a fifth is 34.9 to 36.7, rounded either way.
    assert set(np.bincount(source.test.targets.strata())) <= {34, 35, 36, 37}
    image = source.test.read(np.array([0]))[0]
    assert image.shape == (1, 3, 32, 32) and image.dtype == torch.uint8
    assert torch.equal(image[:, 0], image[:, 2])
    assert image.max() <= 255 and image.max() > 200


def test_digits_are_normalised_by_their_own_statistics() -> None:
    source = read_digits(ReadOptions())
    pixels = source.train.read(np.arange(1437))[0].double() / 255
    assert source.mean == pytest.approx([pixels.mean().item()] * 3, abs=1e-4)
    assert source.std == pytest.approx([pixels.std().item()] * 3, abs=1e-4)


def test_digits_are_never_mirrored() -> None:
    source = read_digits(ReadOptions())
    generator = torch.Generator().manual_seed(0)
    images = source.train.read(np.zeros(64, np.int64), generator)[0]
    own = source.train.read(np.array([0]))[0][0, 0]
    padded = torch.nn.functional.pad(own, (3, 3, 3, 3))
    shifts = {padded[y : y + 32, x : x + 32].numpy().tobytes() for y in range(7) for x in range(7)}
    assert {image[0].numpy().tobytes() for image in images} <= shifts


def test_digits_at_another_size() -> None:
    source = read_digits(ReadOptions(image_size=16))
    assert source.shape == (3, 16, 16)
    assert source.train.read(np.array([0]))[0].shape == (1, 3, 16, 16)


def fake_cifar(root: Path, train: bool, download: bool) -> Any:
    """What torchvision gives: uint8 (N, 32, 32, 3), a list of targets, class names."""
    data = np.zeros((4, 32, 32, 3), np.uint8)
    data[1, 2, 3] = (10, 20, 30)
    return SimpleNamespace(data=data, targets=[0, 1, 0, 1], classes=["cat", "dog"])


def test_cifar_is_taken_from_torchvision(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("torchvision.datasets.CIFAR10", fake_cifar)
    source = read_cifar("CIFAR10", ReadOptions(root=tmp_path))
    assert source.classes == ("cat", "dog") and source.shape == (3, 32, 32)
    assert source.mean == (0.485, 0.456, 0.406)
    assert source.train.read(np.array([1]))[0][0, :, 2, 3].tolist() == [10, 20, 30]


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100"])
def test_missing_cifar_says_how_to_get_it(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"{name.lower()} is not in .*: pass `download` .* or give `data`"):
        read_cifar(name, ReadOptions(root=tmp_path))


def test_a_failed_download(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def offline(*args: Any, **kwargs: Any) -> None:
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", offline)
    with pytest.raises(DataError, match="cannot download cifar10 into .*: no network"):
        read_cifar("CIFAR10", ReadOptions(root=tmp_path, download=True))
