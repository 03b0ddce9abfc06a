"""Handwritten digits composed on canvases: real strokes for detection and segmentation, without a download.

Every scene is a function of its number alone, so a data set is the same on every machine and in every process.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from edgeprune.data.split import stratified_split

DIGITS = 10
DIGITS_TEST = 360  # a fifth of scikit-learn's 1797
MOST = 4  # digits on a canvas
SIZES = (20, 28, 36)  # pixels of a digit's side
TRIES = 20  # places tried for a digit before it is left out
STROKE = 0.35  # of full ink, above which a pixel belongs to the digit


@dataclass(frozen=True)
class Scene:
    """One canvas.

    Attributes:
        image: float32 (3, side, side) from 0 to 1.
        boxes: float32 (digits, 4) around the strokes, as x1, y1, x2, y2 in pixels.
        labels: int64 (digits,), 0 to 9.
        mask: int64 (side, side): 0 for background, 1 + digit where there is ink.
    """

    image: Tensor
    boxes: Tensor
    labels: Tensor
    mask: Tensor


def scene(number: int, *, part: str = "train", side: int = 96) -> Scene:
    """Return one canvas with one to four digits that do not overlap, on a coloured, uneven ground.

    Args:
        number: of the scene, from 0.
        part: "train" or "test"; digits of one part never stand in the other.
        side: of the canvas in pixels, 48 at least.
    """
    draw = np.random.default_rng([number, part == "test"])
    grey, digits = _digits(part)
    image = _ground(draw, side)
    mask, taken = torch.zeros(side, side, dtype=torch.int64), torch.zeros(side, side, dtype=torch.bool)
    boxes: list[list[float]] = []
    labels: list[int] = []
    for _ in range(int(draw.integers(1, MOST + 1))):
        which, size = int(draw.integers(len(digits))), int(draw.choice(SIZES))
        place = _free_place(draw, taken, size)
        if place is None:
            continue
        x, y = place
        ink = F.interpolate(grey[which][None, None], size=(size, size), mode="bilinear")[0, 0]
        colour = torch.from_numpy(draw.uniform(0.6, 1.0, 3).astype(np.float32)).view(3, 1, 1)
        patch = image[:, y : y + size, x : x + size]
        image[:, y : y + size, x : x + size] = patch * (1 - ink) + colour * ink
        taken[y : y + size, x : x + size] = True
        strokes = ink > STROKE
        mask[y : y + size, x : x + size][strokes] = 1 + int(digits[which])
        rows, columns = strokes.any(1).nonzero()[:, 0], strokes.any(0).nonzero()[:, 0]
        left, top = x + int(columns.min()), y + int(rows.min())
        boxes.append([left, top, x + int(columns.max()) + 1, y + int(rows.max()) + 1])
        labels.append(int(digits[which]))
    return Scene(image, torch.tensor(boxes, dtype=torch.float32), torch.tensor(labels), mask)


class Canvases:
    """The first canvases of a part, all drawn at first use.

    Args:
        part: "train" or "test".
        count: of canvases.
        side: in pixels.
    """

    def __init__(self, part: str, count: int, side: int) -> None:
        self.part, self.count, self.side = part, count, side

    @cached_property
    def scenes(self) -> list[Scene]:
        """The canvases, from number 0."""
        return [scene(number, part=self.part, side=self.side) for number in range(self.count)]

    @cached_property
    def pixels(self) -> Tensor:
        """All images, uint8 (N, 3, side, side)."""
        return torch.stack([(drawn.image * 255).round().to(torch.uint8) for drawn in self.scenes])

    @cached_property
    def masks(self) -> Tensor:
        """All masks, uint8 (N, side, side)."""
        return torch.stack([drawn.mask.to(torch.uint8) for drawn in self.scenes])


def write_yolo(folder: Path, train: int, test: int, side: int = 96) -> Path:
    """Write canvases as Ultralytics' trainers read them, and return the file that describes them.

    Args:
        folder: for images/ and labels/; made where it is missing.
        train: number of canvases to train on.
        test: number of canvases to compare on.
        side: of the canvases in pixels.
    """
    from PIL import Image

    for part, count in {"train": train, "test": test}.items():
        for kind in ("images", "labels"):
            (folder / kind / part).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            drawn = scene(number, part=part, side=side)
            pixels = (drawn.image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            Image.fromarray(pixels).save(folder / "images" / part / f"{number:05d}.png")
            centre, size = (
                (drawn.boxes[:, :2] + drawn.boxes[:, 2:]) / 2,
                drawn.boxes[:, 2:] - drawn.boxes[:, :2],
            )
            rows = torch.cat([centre, size], 1) / side
            lines = [
                f"{label} " + " ".join(f"{value:.6f}" for value in row)
                for label, row in zip(drawn.labels.tolist(), rows.tolist(), strict=True)
            ]
            (folder / "labels" / part / f"{number:05d}.txt").write_text("\n".join(lines) + "\n")
    names = ", ".join(f"{digit}: '{digit}'" for digit in range(DIGITS))
    place = folder / "digits.yaml"
    place.write_text(f"path: {folder.resolve()}\ntrain: images/train\nval: images/test\nnames: {{{names}}}\n")
    return place


@cache
def _digits(part: str) -> tuple[Tensor, NDArray[np.int64]]:
    """Return scikit-learn's digits of a part, (N, 8, 8) from 0 to 1, and what each is."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    labels = digits.target.astype(np.int64)
    train, test = stratified_split(labels, DIGITS_TEST, seed=0)
    chosen = test if part == "test" else train
    return torch.from_numpy(digits.images[chosen] / 16).float(), labels[chosen]


def _ground(draw: np.random.Generator, side: int) -> Tensor:
    """Return a dark, coloured ground that changes slowly, with noise."""
    coarse = torch.from_numpy(draw.uniform(0.0, 0.4, (1, 3, 4, 4)).astype(np.float32))
    smooth = F.interpolate(coarse, size=(side, side), mode="bilinear")[0]
    noise = torch.from_numpy(draw.normal(0, 0.03, (3, side, side)).astype(np.float32))
    return (smooth + noise).clamp(0, 1)


def _free_place(draw: np.random.Generator, taken: Tensor, size: int) -> tuple[int, int] | None:
    """Return a corner (x, y) where no digit is yet; None where none was found."""
    for _ in range(TRIES):
        x, y = (int(draw.integers(taken.shape[1] - size + 1)) for _ in range(2))
        if not bool(taken[y : y + size, x : x + size].any()):
            return x, y
    return None
