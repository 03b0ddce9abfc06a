import numpy as np
import pytest
import torch

from edgeprune.data.bundle import DataBundle, Split
from edgeprune.data.images import MemoryImages
from edgeprune.data.targets import Labels
from edgeprune.errors import DataError


def bundle(train: int = 10, *, ahead: bool = False) -> DataBundle:
    """Images that are their own label: position p is all pixels p, label p."""
    labels = np.arange(train + 5)
    pixels = torch.from_numpy(labels).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()
    images = MemoryImages(Labels(labels), lambda: pixels, size=(2, 2), pad=0, flip=True)
    images.ahead = ahead
    splits = {"train": Split(images, labels[:train]), "val": Split(images, labels[:0])}
    splits["test"] = Split(images, labels[train:][::-1].copy())
    names = tuple(map(str, labels))
    return DataBundle("own", names, (3, 2, 2), (0.0,) * 3, (1 / 255,) * 3, splits, {"data": "own"})


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize(("size", "steps"), [(3, 3), (10, 1), (5, 2), (64, 1)])
def test_an_epoch_gives_each_image_at_most_once(size: int, steps: int, ahead: bool) -> None:
    batches = list(bundle(ahead=ahead).train_batches(0, batch_size=size, seed=0))
    assert len(batches) == steps == bundle().steps(size)
    labels = torch.cat([labels for _, labels in batches])
    assert len(set(labels.tolist())) == len(labels) == steps * min(size, 10)
    for images, labels in batches:
        assert images.shape[1:] == (3, 2, 2) and images.dtype == torch.float32
        assert labels.dtype == torch.int64
        assert torch.allclose(images[:, 0, 0, 0], labels.float(), atol=1e-4)


def test_a_set_smaller_than_the_batch_is_one_batch_of_all() -> None:
    ((_, labels),) = bundle().train_batches(0, batch_size=64, seed=0)
    assert sorted(labels.tolist()) == list(range(10))


@pytest.mark.parametrize("ahead", [False, True])
def test_skipping_gives_what_would_have_come(ahead: bool) -> None:
    original = list(bundle(40).train_batches(3, batch_size=7, seed=1))
    rest = list(bundle(40, ahead=ahead).train_batches(3, batch_size=7, seed=1, skip=2))
    assert len(rest) == len(original) - 2
    assert all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(original[2:], rest, strict=True)
    )


def test_epochs_and_seeds_differ() -> None:
    orders = {
        tuple(next(iter(bundle(40).train_batches(epoch, batch_size=40, seed=seed)))[1].tolist())
        for epoch, seed in [(0, 0), (1, 0), (0, 1)]
    }
    assert len(orders) == 3


def test_fixed_batches_keep_order_limit_and_the_short_last_one() -> None:
    labels = [labels.tolist() for _, labels in bundle().batches("test", batch_size=2)]
    assert labels == [[14, 13], [12, 11], [10]]
    assert [len(images) for images, _ in bundle().batches("test", batch_size=2, limit=3)] == [2, 1]
    assert list(bundle().batches("val")) == []


def test_unknown_split() -> None:
    with pytest.raises(DataError, match="unknown split 'tset' .did you mean 'test'"):
        bundle().batches("tset")


def test_sizes() -> None:
    assert bundle().sizes == {"train": 10, "val": 0, "test": 5}
