"""Digits on canvases: boxes and masks say where the ink is."""

import pytest
import torch

from edgeprune.data.canvases import DIGITS, scene


@pytest.mark.parametrize("part", ["train", "test"])
def test_boxes_hold_the_ink_of_their_digit_and_nothing_else_does(part: str) -> None:
    for number in range(20):
        canvas = scene(number, part=part)
        assert canvas.image.shape == (3, 96, 96) and canvas.image.min() >= 0 and canvas.image.max() <= 1
        assert 1 <= len(canvas.boxes) == len(canvas.labels) <= 4
        left = canvas.mask.clone()
        for (x1, y1, x2, y2), label in zip(canvas.boxes.int().tolist(), canvas.labels.tolist(), strict=True):
            inside = left[y1:y2, x1:x2]
            assert bool((inside == 1 + label).any()) and set(inside.unique().tolist()) <= {0, 1 + label}
            assert bool(inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any())
            inside.zero_()
        assert not bool(left.any())


def test_a_scene_is_a_function_of_its_number() -> None:
    first, again, other, test = scene(3), scene(3), scene(4), scene(3, part="test")
    assert torch.equal(first.image, again.image) and torch.equal(first.mask, again.mask)
    assert not torch.equal(first.image, other.image) and not torch.equal(first.image, test.image)


def test_every_digit_comes_up() -> None:
    labels = torch.cat([scene(number).labels for number in range(60)])
    assert len(labels.unique()) == DIGITS


def test_a_smaller_canvas() -> None:
    assert scene(0, side=48).image.shape == (3, 48, 48)
