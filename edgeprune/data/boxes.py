"""Boxes as targets, and folders that hold them: COCO's layout, and YOLO's."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from edgeprune.data.annotations import AnnotatedPart, SizedPart, sized
from edgeprune.data.augment import Crop
from edgeprune.data.coco import has_coco, read_coco
from edgeprune.data.folder import read_layout
from edgeprune.data.layout import Layout, Listing
from edgeprune.data.source import ReadOptions, Source, fingerprint_of
from edgeprune.data.targets import Targets
from edgeprune.data.yolo import has_yolo, read_yolo
from edgeprune.errors import DataError

LEAST_PIXELS = 1.0  # of a box's side, below which it is left out
DEFAULT_SIDE = 320  # pixels, as SSDlite's
FORM = (
    "COCO's layout (train/ and val/ with images, annotations/instances_train.json ...) or YOLO's (images/train/, "
    "labels/train/, data.yaml)"
)


class Boxes(Targets):
    """Boxes around things, and the class of each.

    Args:
        count: of images.
        read: returns of a position the boxes, float32 (n, 4) as x1, y1, x2, y2 in pixels, and labels, int64 (n,).
        strata: an int for each image, by which splits are stratified; None for no strata.
    """

    kind = "boxes"

    def __init__(
        self,
        count: int,
        read: Callable[[int], tuple[Tensor, Tensor]],
        strata: np.ndarray | None = None,
    ) -> None:
        self._count, self._read, self._strata = count, read, strata

    def __len__(self) -> int:
        """Return the number of images."""
        return self._count

    def batch(self, positions: np.ndarray, crops: Sequence[Crop]) -> list[dict[str, Tensor]]:
        """Return for each image its ``boxes``, in pixels of the image given to the model, and its ``labels``."""
        jobs = zip(positions.tolist(), crops, strict=True)
        return [
            dict(zip(("boxes", "labels"), cropped(*self._read(at), crop), strict=True)) for at, crop in jobs
        ]

    def strata(self) -> np.ndarray:
        """Return the class of each image's first box, and one more for images without any."""
        return super().strata() if self._strata is None else self._strata


def cropped(boxes: Tensor, labels: Tensor, crop: Crop) -> tuple[Tensor, Tensor]:
    """Return what became of boxes when their image was cropped: those whose centre is left, cut at the edges.

    Args:
        boxes: (n, 4), x1, y1, x2, y2 in pixels of the image.
        labels: (n,).
        crop: of the image.
    """
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    corner = boxes.new_tensor([crop.left, crop.top])
    extent = boxes.new_tensor([crop.width, crop.height])
    height, width = crop.size
    scale = boxes.new_tensor([width, height]) / extent
    inside = ((centre > corner) & (centre < corner + extent)).all(1)
    cut = (boxes - corner.repeat(2)) * scale.repeat(2)
    edges = boxes.new_tensor([width, height] * 2)
    cut = torch.minimum(cut.clamp(min=0), edges)
    if crop.mirrored:
        cut = torch.stack([width - cut[:, 2], cut[:, 1], width - cut[:, 0], cut[:, 3]], 1)
    kept = inside & (cut[:, 2:] - cut[:, :2] >= LEAST_PIXELS).all(1)
    return cut[kept], labels[kept]


def holds_boxes(folder: Path) -> bool:
    """Return whether a folder is of images with boxes."""
    return has_coco(folder) or has_yolo(folder)


def read_boxed(folder: Path, options: ReadOptions) -> Source:
    """Read a folder of images and boxes, in COCO's layout or in YOLO's.

    Raises:
        DataError: there are no annotations, or something in them is wrong; names the file, and the line or the entry.
    """
    if not folder.is_dir():
        raise DataError(f"no such data folder: {folder}")
    if not holds_boxes(folder):
        raise DataError(f"{folder} has no boxes: they are read in {FORM}")
    annotated = read_coco(folder) if has_coco(folder) else read_yolo(folder)
    parts = [part for part in (annotated.train, annotated.test) if part is not None]
    checked = [sized(part) for part in parts]
    listings = [_listing(part, read) for part, read in zip(parts, checked, strict=True)]
    notes = annotated.notes + tuple(note for part in parts for note in part.notes)
    layout = Layout(listings[0], listings[1] if len(listings) > 1 else None, notes)

    def targets_of(listing: Listing) -> Targets:
        # Parts may lie in one folder: a listing is known by being that one.
        return _targets(checked[next(at for at, known in enumerate(listings) if known is listing)])

    source = read_layout(folder, layout, options, annotated.classes, targets_of, default_side=DEFAULT_SIDE)
    return replace(source, fingerprint=fingerprint_of([source.fingerprint, *map(_digest, checked)]))


def _listing(part: AnnotatedPart, read: SizedPart) -> Listing:
    return Listing(part.folder, (), read.paths, np.zeros(len(read.paths), np.int64), read.left_out)


def _targets(read: SizedPart) -> Boxes:
    boxes = [torch.from_numpy(array).float() for array in read.boxes]
    labels = [torch.from_numpy(array) for array in read.labels]
    most = max((int(array.max()) for array in read.labels if len(array)), default=0)
    strata = np.array([array[0] if len(array) else most + 1 for array in read.labels], np.int64)
    return Boxes(len(boxes), lambda position: (boxes[position], labels[position]), strata)


def _digest(read: SizedPart) -> str:
    digest = hashlib.sha256()
    arrays: list[Any] = [*read.boxes, *read.labels]
    for array in arrays:
        digest.update(str(array.shape).encode() + array.tobytes())
    return digest.hexdigest()
