import pytest
import torch

from edgeprune.data.augment import (
    crop_box,
    draw_flips,
    draw_offsets,
    generator_for,
    mirrored,
    normalised,
    resized,
    shifted,
)


def numbered(count: int = 64, side: int = 4) -> torch.Tensor:
    """Images whose pixels are 1..side*side, none of them black."""
    return torch.arange(1, side * side + 1, dtype=torch.uint8).view(1, 1, side, side).repeat(count, 3, 1, 1)


def test_generator_depends_on_every_part_of_the_key() -> None:
    draws = [torch.randint(2**60, (1,), generator=generator_for(*key)).item() for key in KEYS]
    assert len(set(draws)) == len(KEYS)
    assert torch.randint(2**60, (1,), generator=generator_for(*KEYS[0])).item() == draws[0]


KEYS = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (-1, 0, 0), (0, 0)]


def test_shifted_moves_each_image_as_a_whole() -> None:
    images = numbered()
    padded = torch.nn.functional.pad(images, (1, 1, 1, 1))
    allowed = {padded[0, 0, y : y + 4, x : x + 4].numpy().tobytes() for y in range(3) for x in range(3)}
    moved = shifted(images, 1, draw_offsets(64, 1, generator_for(5)))
    seen = {image[0].numpy().tobytes() for image in moved}
    assert seen == allowed  # 64 draws of 9 places: one is missed with probability 9 * (8/9)**64 = 0.5 %
    assert torch.equal(moved[:, 0], moved[:, 2])
    assert moved.dtype == torch.uint8
    assert torch.equal(images, numbered())


def test_shift_of_nothing_changes_nothing() -> None:
    assert torch.equal(shifted(numbered(), 0, draw_offsets(64, 0, generator_for(0))), numbered())


def test_mirrored_flips_about_half_and_only_left_to_right() -> None:
    images = numbered(400)
    flipped = mirrored(images, draw_flips(400, generator_for(1)))
    changed = (flipped != images).flatten(1).any(1)
    assert 150 < changed.sum() < 250  # five standard deviations of 10
    assert torch.equal(flipped[changed], images[changed].flip(3))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 400), (300, 200), (224, 224)])
def test_crop_box_lies_inside(height: int, width: int) -> None:
    for key in range(50):
        top, left, tall, wide = crop_box(height, width, generator_for(key))
        assert 0 <= top <= top + tall <= height
        assert 0 <= left <= left + wide <= width
        assert tall > 0 and wide > 0


def test_crop_box_covers_the_stated_areas_and_aspects() -> None:
    boxes = [crop_box(1000, 1000, generator_for(key))[2:] for key in range(300)]
    areas = [tall * wide / 1e6 for tall, wide in boxes]
    aspects = [wide / tall for tall, wide in boxes]
    assert 0.079 < min(areas) < 0.2 and 0.8 < max(areas) <= 1
    assert 0.745 < min(aspects) < 0.85 and 1.2 < max(aspects) < 1.34


def test_resized_is_the_identity_at_the_same_size_and_bilinear_else() -> None:
    image = torch.tensor([[0, 100], [100, 200]], dtype=torch.uint8).view(1, 1, 2, 2)
    assert resized(image, (2, 2)) is image
    assert resized(image, (1, 1)).item() == 100  # antialiased: the mean
    assert resized(image, (4, 4))[0, 0, 0].tolist() == [0, 25, 75, 100]  # pixel centres at 1/4 steps


def test_normalised_is_the_formula() -> None:
    image = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    got = normalised(image, (0.5, 0.2, 0.0), (0.5, 0.1, 2.0)).flatten().tolist()
    assert got == pytest.approx([-1.0, 0.0, 0.5], abs=1e-7)
