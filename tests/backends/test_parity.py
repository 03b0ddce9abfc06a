from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch import nn

from edgeprune.backends.onnx_export import export_model
from edgeprune.backends.onnx_running import check_parity, measure_parity
from edgeprune.backends.parity import SAME_NUMBERS, Parity, parity_of
from edgeprune.errors import ExportError
from edgeprune.tasks import Segmentation

GOOD = Parity(images=100, top1_agreement=1.0, max_abs_diff=1e-5, logit_scale=10.0, max_rel_diff=1e-6)


def test_figures_by_hand() -> None:
    expected = np.array([[1.0, 2.0], [-8.0, 3.0]])
    got = np.array([[2.0, 1.5], [-8.0, 3.0]])
    assert parity_of(expected, got) == Parity(
        images=2, top1_agreement=0.5, max_abs_diff=1.0, logit_scale=8.0, max_rel_diff=0.125
    )


def test_all_zero_logits_have_no_scale() -> None:
    zeros = np.zeros((2, 3))
    assert parity_of(zeros, zeros) == Parity(
        images=2, top1_agreement=1.0, max_abs_diff=0.0, logit_scale=0.0, max_rel_diff=0.0
    )


def test_other_shapes_are_an_error() -> None:
    with pytest.raises(ExportError, match=r"shape \(2, 4\), the reference of \(2, 3\)"):
        parity_of(np.zeros((2, 3)), np.zeros((2, 4)))


@pytest.mark.parametrize(
    ("change", "holds"),
    [
        ({}, True),
        ({"max_rel_diff": 1e-4}, True),
        ({"max_rel_diff": 1.1e-4}, False),
        ({"max_rel_diff": float("nan")}, False),
        ({"top1_agreement": 0.99}, True),
        ({"top1_agreement": 0.98}, False),
    ],
)
def test_when_it_holds(change: dict, holds: bool) -> None:
    parity = replace(GOOD, **change)
    assert SAME_NUMBERS.allows(parity) is holds
    if holds:
        check_parity(parity, "pruned")
    else:
        with pytest.raises(ExportError, match=r"the exported pruned model disagrees .* on 100 images"):
            check_parity(parity, "pruned")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_logits_that_are_not_numbers_never_agree(value: float) -> None:
    logits = np.full((2, 3), value)
    with np.errstate(invalid="ignore"):
        assert not SAME_NUMBERS.allows(parity_of(logits, logits))


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval()


def batches(*sizes: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.randn(size, 3, 2, 2), torch.zeros(size)) for size in sizes]


def test_a_faithful_file(tmp_path: Path) -> None:
    model = linear()
    path = export_model(model, (3, 2, 2), tmp_path / "m.onnx").path
    parity = measure_parity(model, path, batches(4, 4, 1))
    assert SAME_NUMBERS.allows(parity) and parity.images == 9 and parity.max_rel_diff < 1e-5


def test_another_model(tmp_path: Path) -> None:
    path = export_model(linear(), (3, 2, 2), tmp_path / "m.onnx").path
    assert not SAME_NUMBERS.allows(measure_parity(linear(), path, batches(4)))


class Whole(nn.Module):
    """Its answer for an image depends on the batch it comes in."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - x.mean(0)).flatten(1) if x.shape[0] > 1 else x.flatten(1)


def test_an_image_alone_is_compared_too(tmp_path: Path) -> None:
    path = export_model(Whole(), (3, 2, 2), tmp_path / "m.onnx").path
    assert not SAME_NUMBERS.allows(measure_parity(Whole(), path, batches(4)))


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    with pytest.raises(ExportError, match=r"ONNX Runtime cannot run m\.onnx: ") as caught:
        measure_parity(linear(), tmp_path / "m.onnx", batches(1))
    assert "\n" not in str(caught.value)


def test_no_images(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="no images to compare"):
        measure_parity(linear(), tmp_path / "m.onnx", [])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["expected", "got", "both"])
def test_logits_that_are_no_numbers_never_agree(value: float, side: str) -> None:
    right = np.ones((4, 3), np.float32)
    wrong = right.copy()
    wrong[0, 0] = value
    expected, got = {"expected": (wrong, right), "got": (right, wrong), "both": (wrong, wrong)}[side]
    with np.errstate(invalid="ignore"):
        parity = parity_of(expected, got)
    assert not SAME_NUMBERS.allows(parity)
    with pytest.raises(ExportError, match="logits are not all numbers.*look for NaN"):
        check_parity(parity, "pruned")


def test_masks_agree_by_pixel() -> None:
    expected = np.zeros((2, 3, 4, 4), np.float32)
    expected[:, 1] = 1.0
    got = expected.copy()
    got[0, 2, 0] = 1.5  # four of the 32 pixels
    parity = parity_of(expected, got, Segmentation())
    assert (parity.images, parity.top1_agreement, parity.max_abs_diff) == (2, 28 / 32, 1.5)
