"""Unlabelled inputs of a network: a folder of images, arrays, or a factory of batches."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.errors import DataError, one_line
from edgeprune.post_training.options import PruneOptions

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm"}
FEWEST = 10  # inputs: with fewer, neither a fit nor a comparison says anything


@dataclass(frozen=True)
class InputSpec:
    """One input of a network: its name, and its sizes, None where any size is taken."""

    name: str
    shape: tuple[int | None, ...]
    dtype: torch.dtype = torch.float32

    def __str__(self) -> str:
        return f"{self.name} ({', '.join('?' if size is None else str(size) for size in self.shape)})"


@dataclass(frozen=True)
class Inputs:
    """All inputs, each tensor with one entry for each of them, and what was done to get them."""

    tensors: tuple[Tensor, ...]
    note: str
    images: bool = False

    def __len__(self) -> int:
        return len(self.tensors[0])

    def batches(self, size: int, first: int = 0, last: int | None = None) -> list[tuple[Tensor, ...]]:
        """Return batches of inputs.

        Args:
            size: inputs of a batch.
            first: index of the first input.
            last: index after the last; None for all.
        """
        end = len(self) if last is None else last
        return [
            tuple(tensor[start : min(start + size, end)] for tensor in self.tensors)
            for start in range(first, end, size)
        ]


def load_inputs(place: str, specs: Sequence[InputSpec], options: PruneOptions) -> Inputs:
    """Read inputs, at most ``options.limit``, in an order that the seed gives.

    Args:
        place: a folder of images, an .npy or .npz file, or package.module:factory.
        specs: the network's inputs.
        options: how images are to be laid, and how many are used.

    Raises:
        DataError: there are none, too few, or they do not fit.
    """
    path = Path(place)
    if path.is_dir():
        inputs = _images(path, specs, options)
    elif path.suffix in (".npy", ".npz"):
        inputs = Inputs(_checked(_arrays(path, specs), specs, place, options), f"arrays of {path}")
    elif ":" in place and not path.exists():
        inputs = Inputs(
            _checked(_made(place, specs, options.limit), specs, place, options), f"batches of {place}"
        )
    else:
        raise DataError(
            f"{place} is not a folder of images, an .npy or .npz file, or package.module:factory"
            + ("" if path.exists() else ", and does not exist")
        )
    if len(inputs) < FEWEST:
        raise DataError(
            f"{place} has {len(inputs)} inputs: at least {FEWEST} are needed, and 200 to 1,000 are good"
        )
    return inputs


# --- images ------------------------------------------------------------------------------------------


def _images(folder: Path, specs: Sequence[InputSpec], options: PruneOptions) -> Inputs:
    if len(specs) != 1 or len(specs[0].shape) != 4:
        names = ", ".join(map(str, specs))
        raise DataError(
            f"{folder} holds images, and the network takes {names}: give its inputs as an .npz file"
        )
    missing = [name for name in ("scale", "mean", "std", "color") if getattr(options, name) is None]
    if missing:
        raise DataError(
            f"how does the network want its images? Say {', '.join(f'`{name}`' for name in missing)}, for example "
            "--scale 1/255 --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225 --color rgb"
        )
    layout, colors, size = _laid(specs[0], options)
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise DataError(f"{folder} holds no images ({', '.join(sorted(SUFFIXES))})")
    order = np.random.default_rng(options.seed).permutation(len(paths))[: options.limit]
    pixels = np.stack([_decoded(paths[i], size, str(options.color)) for i in order])
    scale = options.numbers("scale", 1)[0]
    mean, std = (np.array(options.numbers(name, colors), np.float32) for name in ("mean", "std"))
    values = torch.from_numpy((pixels.astype(np.float32) * np.float32(scale) - mean) / std)
    values = values.permute(0, 3, 1, 2).contiguous() if layout == "nchw" else values
    note = (
        f"{len(values)} images of {folder}, {size[1]}x{size[0]} pixels, {options.color}, {layout}, "
        f"(pixel * {options.scale} - {options.mean}) / {options.std}"
    )
    return Inputs((values,), note, images=layout == "nchw")


def _laid(spec: InputSpec, options: PruneOptions) -> tuple[str, int, tuple[int, int]]:
    """Return the layout, the number of colors and (height, width) of the images."""
    colors = 1 if options.color == "gray" else 3
    fitting = [name for name, axis in (("nchw", 1), ("nhwc", 3)) if spec.shape[axis] in (colors, None)]
    exact = [name for name, axis in (("nchw", 1), ("nhwc", 3)) if spec.shape[axis] == colors]
    if options.layout is None and len(exact) != 1:
        raise DataError(f"the input {spec} does not show the order of its axes: say `layout`")
    layout = options.layout or exact[0]
    if layout not in fitting:
        raise DataError(f"the input {spec} does not take {options.color} images in the order {layout}")
    height, width = spec.shape[2:] if layout == "nchw" else spec.shape[1:3]
    if options.size is None and (height is None or width is None):
        raise DataError(f"the input {spec} takes images of any size: say `size`")
    side = options.size
    if side is not None and any(fixed not in (None, side) for fixed in (height, width)):
        raise DataError(f"the input {spec} takes no images of `size={side}`: leave it out")
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


# --- arrays ------------------------------------------------------------------------------------------


def _arrays(path: Path, specs: Sequence[InputSpec]) -> list[NDArray[Any]]:
    try:
        content = np.load(path, allow_pickle=False)
        arrays = {key: content[key] for key in content.files} if path.suffix == ".npz" else {"": content}
    except Exception as error:
        raise DataError(
            f"{path} cannot be read ({one_line(error)[:100]}): write it with numpy.savez"
        ) from error
    if len(arrays) == 1 and len(specs) == 1:
        return list(arrays.values())
    missing = [spec.name for spec in specs if spec.name not in arrays]
    if missing:
        raise DataError(f"{path} has no array {missing[0]!r}; it has {', '.join(arrays) or 'none'}")
    return [arrays[spec.name] for spec in specs]


def _made(place: str, specs: Sequence[InputSpec], limit: int) -> list[NDArray[Any]]:
    """Return the batches of a user's factory, joined."""
    from edgeprune.models.factory import attribute_of

    columns: list[list[NDArray[Any]]] = [[] for _ in specs]
    for batch in _iterated(attribute_of(place), place):
        values = [batch[s.name] for s in specs] if isinstance(batch, dict) else batch
        values = values if isinstance(values, (tuple, list)) else (values,)
        if len(values) != len(specs):
            raise DataError(f"a batch of {place} has {len(values)} inputs, the network {len(specs)}")
        for column, value in zip(columns, values, strict=True):
            column.append(np.asarray(value))
        if sum(map(len, columns[0])) >= limit:
            break
    if not columns[0]:
        raise DataError(f"{place} gave no batches")
    return [np.concatenate(column) for column in columns]


def _iterated(factory: Any, place: str) -> Iterator[Any]:
    try:
        batches: Iterable[Any] = factory() if callable(factory) else factory
        yield from batches
    except DataError:
        raise
    except Exception as error:  # the user's own code
        raise DataError(f"{place} failed ({type(error).__name__}: {one_line(error)[:100]})") from error


def _checked(
    arrays: list[NDArray[Any]], specs: Sequence[InputSpec], place: str, options: PruneOptions
) -> tuple[Tensor, ...]:
    """Check shapes and numbers; return tensors in the seed's order."""
    count = min(map(len, arrays))
    order = np.random.default_rng(options.seed).permutation(count)[: options.limit]
    tensors = []
    for array, spec in zip(arrays, specs, strict=True):
        fits = array.ndim == len(spec.shape) and all(
            size in (None, actual) for size, actual in zip(spec.shape[1:], array.shape[1:], strict=True)
        )
        if not fits or len(array) != count:
            raise DataError(f"{place} has the shape {tuple(array.shape)}, and the network takes {spec}")
        tensor = torch.from_numpy(np.ascontiguousarray(array[order]))
        if spec.dtype.is_floating_point and not bool(torch.isfinite(tensor.double()).all()):
            raise DataError(f"{place} holds numbers that are not finite")
        tensors.append(tensor.to(spec.dtype))
    return tuple(tensors)


def augmented(inputs: tuple[Tensor, ...], kind: str, seed: int) -> list[tuple[Tensor, ...]]:
    """Return images beside which stand changed copies: shifted by up to an eighth, and turned left to right.

    Args:
        inputs: one tensor of images, (n, colors, height, width).
        kind: 'none', 'shift' or 'flip'.
        seed: of the shifts.
    """
    (images,) = inputs
    if kind == "none":
        return [inputs]
    copies = [images, shifted(images, seed)]
    if kind == "flip":
        copies += [images.flip(3), shifted(images.flip(3), seed + 1)]
    return [(copy,) for copy in copies]


def shifted(images: Tensor, seed: int) -> Tensor:
    """Return images that are moved by up to an eighth of their sides, with their edges drawn out."""
    generator = torch.Generator().manual_seed(seed)
    reach = [max(1, side // 8) for side in images.shape[2:]]
    pad = (reach[1], reach[1], reach[0], reach[0])
    wide = torch.nn.functional.pad(images, pad, mode="replicate")
    moved = torch.empty_like(images)
    for number in range(len(images)):
        top, left = (int(torch.randint(0, 2 * r + 1, (1,), generator=generator)) for r in reach)
        moved[number] = wide[number, :, top : top + images.shape[2], left : left + images.shape[3]]
    return moved
