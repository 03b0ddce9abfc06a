import numpy as np
import torch

from edgeprune.data.augment import Crop, generator_for
from edgeprune.data.images import MemoryImages
from edgeprune.data.targets import IGNORED, Labels, Masks, moved

MASK = torch.arange(12, dtype=torch.uint8).view(3, 4)


def cropped(crop: Crop) -> list[list[int]]:
    batch = Masks(1, lambda position: MASK).batch(np.array([0]), [crop])
    assert batch.dtype == torch.int64
    return batch[0].tolist()


def test_a_mask_is_cropped_and_mirrored_as_its_image_was() -> None:
    assert cropped(Crop(0, 0, 3, 4, (3, 4))) == MASK.tolist()
    assert cropped(Crop(1, 1, 2, 2, (2, 2))) == [[5, 6], [9, 10]]
    assert cropped(Crop(1, 1, 2, 2, (2, 2), mirrored=True)) == [[6, 5], [10, 9]]


def test_beyond_the_image_a_mask_does_not_count() -> None:
    assert cropped(Crop(-1, 2, 3, 4, (3, 4))) == [
        [IGNORED] * 4, [2, 3, IGNORED, IGNORED], [6, 7, IGNORED, IGNORED],
    ]  # fmt: skip


def test_a_resized_mask_has_the_nearest_values_and_no_mixture() -> None:
    assert cropped(Crop(0, 0, 2, 2, (4, 4))) == [[0, 0, 1, 1], [0, 0, 1, 1], [4, 4, 5, 5], [4, 4, 5, 5]]
    assert cropped(Crop(0, 0, 3, 4, (1, 2))) == [[5, 7]]


def test_augmented_images_and_masks_stay_together() -> None:
    """An image whose pixels are its mask's values: whatever is drawn, the two are equal where the mask counts."""
    pixels = torch.randint(1, 200, (3, 1, 12, 10), dtype=torch.uint8, generator=generator_for(0))
    masks = Masks(3, lambda position: pixels[position, 0])
    images = MemoryImages(masks, lambda: pixels.expand(-1, 3, -1, -1), size=(12, 10), pad=3, flip=True)
    positions = np.array([2, 0, 1, 1, 0, 2])
    flipped = set()
    for draw in range(4):
        shown, crops = images.read(positions, generator_for(draw))
        target = masks.batch(positions, crops)
        counted = target != IGNORED
        assert torch.equal(shown[:, 0][counted].long(), target[counted])
        assert (shown[:, 0][~counted] == 0).all()
        flipped |= {crop.mirrored for crop in crops}
    assert flipped == {False, True}


def test_labels_know_no_crops_and_are_their_own_strata() -> None:
    labels = Labels(np.array([3, 1, 2]))
    assert labels.batch(np.array([2, 0]), []).tolist() == [2, 3]
    assert labels.strata().tolist() == [3, 1, 2] and len(labels) == 3


def test_targets_of_any_shape_move_to_a_device() -> None:
    boxes = [{"boxes": torch.zeros(2, 4), "labels": torch.ones(2)}]
    present = moved(boxes, "meta")
    assert present[0]["boxes"].device.type == present[0]["labels"].device.type == "meta"
    assert moved(torch.ones(1), "meta").device.type == "meta"
