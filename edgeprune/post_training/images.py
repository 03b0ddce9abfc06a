"""A folder of images as inputs of a network, laid as the user says that the network wants them."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.backends.image_metadata import NAMES, read_image_metadata
from edgeprune.errors import DataError, EdgePruneError, one_line
from edgeprune.onnx_graph.files import OnnxFile
from edgeprune.post_training.options import PruneOptions
from edgeprune.post_training.source import InputSpec

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm"}


class ImageFolder:
    """All images in a folder, at any depth.

    Args:
        folder: the folder.
        specs: the network's inputs: one of images.
        options: how it wants them.

    Raises:
        DataError: it holds none, the network takes none, or it is not said how.
    """

    def __init__(self, folder: Path, specs: Sequence[InputSpec], options: PruneOptions) -> None:
        if len(specs) != 1 or len(specs[0].shape) != 4:
            names = ", ".join(map(str, specs))
            raise DataError(
                f"{folder} holds images, and the network takes {names}: give its inputs as an .npz file"
            )
        self.paths = sorted(
            path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        if not self.paths:
            raise DataError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))})")
        missing = [name for name in NAMES if getattr(options, name) is None]
        if missing:
            raise DataError(
                f"how does the network want its images? Say {', '.join(f'`{name}`' for name in missing)}, for example "
                "--scale 1/255 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --color rgb (--mean 0,0,0 --std 1,1,1 "
                "leave the scaled numbers as they are)"
            )
        layout, colors, self._size = _laid(specs[0], options)
        self.images, self._color = layout == "nchw", str(options.color)
        self._scale = np.float32(options.numbers("scale", 1)[0])
        self._mean, self._std = (
            np.array(options.numbers(name, colors), np.float32) for name in ("mean", "std")
        )
        self.note = (
            f"images of {folder}, scaled and cut to {self._size[1]}x{self._size[0]} pixels, {options.color}, {layout}, "
            f"(pixel * {options.scale} - {options.mean}) / {options.std}"
        )

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, positions: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Return images as one tensor; raises DataError for one that cannot be read."""
        pixels = np.stack([_decoded(self.paths[i], self._size, self._color) for i in positions])
        values = torch.from_numpy((pixels.astype(np.float32) * self._scale - self._mean) / self._std)
        return (values.permute(0, 3, 1, 2).contiguous() if self.images else values,)


def laid_as_said(options: PruneOptions, file: OnnxFile) -> PruneOptions:
    """Return options with what a file that edgeprune exported says of its images, where nothing of it was typed.

    Args:
        options: as they were typed.
        file: whose images they are.
    """
    if any(getattr(options, name) is not None for name in NAMES):
        return options
    try:
        return replace(options, **read_image_metadata(file.model))
    except EdgePruneError:  # the file was edited
        return options


def _laid(spec: InputSpec, options: PruneOptions) -> tuple[str, int, tuple[int, int]]:
    """Return the layout, the number of colors and (height, width) of the images."""
    colors = 1 if options.color == "gray" else 3
    fitting = [name for name, axis in (("nchw", 1), ("nhwc", 3)) if spec.shape[axis] in (colors, None)]
    exact = [name for name, axis in (("nchw", 1), ("nhwc", 3)) if spec.shape[axis] == colors]
    if options.layout is None and len(exact) != 1:
        if not fitting:
            raise DataError(
                f"the input {spec} takes no images of {options.color} pixels: is `color={options.color}` right?"
            )
        raise DataError(f"the input {spec} does not show the order of its axes: say `layout`")
    layout = options.layout or exact[0]
    if layout not in fitting:
        raise DataError(f"the input {spec} does not take {options.color} images in the order {layout}")
    height, width = spec.shape[2:] if layout == "nchw" else spec.shape[1:3]
    if options.size is None and (height is None or width is None):
        raise DataError(f"the input {spec} takes images of any size: say `size`")
    side = options.size
    if side is not None and any(fixed not in (None, side) for fixed in (height, width)):
        raise DataError(
            f"the input {spec} takes no images of `size={side}`: leave it out (a model that is named, no file, takes "
            f"them by `inputs=1x{colors}x{side}x{side}`)"
        )
    return layout, colors, (int(height or side or 0), int(width or side or 0))


def _decoded(path: Path, size: tuple[int, int], color: str) -> NDArray[np.uint8]:
    """Return an image whose shorter side was fitted and whose middle was cut out, as (height, width, colors)."""
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            image = ImageOps.fit(
                opened.convert("L" if color == "gray" else "RGB"),
                (size[1], size[0]),
                Image.Resampling.BILINEAR,
            )
    except Exception as error:
        raise DataError(
            f"{path} is not an image that can be read ({one_line(error)[:100]}): remove it"
        ) from error
    pixels = np.asarray(image)
    pixels = pixels[:, :, None] if color == "gray" else pixels
    return pixels[:, :, ::-1] if color == "bgr" else pixels
