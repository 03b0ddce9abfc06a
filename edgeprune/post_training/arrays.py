"""Arrays as inputs of a network: of a file of numpy's, or of a user's factory of batches."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.errors import DataError, one_line
from edgeprune.post_training.source import InputSpec


class Arrays:
    """Inputs that lie in arrays, one for each input of the network.

    Args:
        arrays: each with one entry for each input.
        specs: the network's inputs.
        place: for messages.
        note: what they are.

    Raises:
        DataError: shapes do not fit.
    """

    images = False

    def __init__(self, arrays: list[NDArray[Any]], specs: Sequence[InputSpec], place: str, note: str) -> None:
        self._arrays, self._specs, self._place, self.note = arrays, specs, place, note
        self._count = min(len(array) if array.ndim else 0 for array in arrays)
        for array, spec in zip(arrays, specs, strict=True):
            fits = array.ndim == len(spec.shape) and all(
                size in (None, actual) for size, actual in zip(spec.shape[1:], array.shape[1:], strict=True)
            )
            if not fits or len(array) != self._count:
                raise DataError(f"{place} has the shape {tuple(array.shape)}, and the network takes {spec}")

    def __len__(self) -> int:
        return self._count

    def read(self, positions: NDArray[np.int64]) -> tuple[Tensor, ...]:
        """Return inputs; raises DataError for numbers that are not finite."""
        tensors = []
        for array, spec in zip(self._arrays, self._specs, strict=True):
            tensor = torch.from_numpy(np.ascontiguousarray(array[positions]))
            if spec.dtype.is_floating_point and not bool(torch.isfinite(tensor.double()).all()):
                raise DataError(f"{self._place} holds numbers that are not finite")
            tensors.append(tensor.to(spec.dtype))
        return tuple(tensors)


def arrays_of(path: Path, specs: Sequence[InputSpec]) -> list[NDArray[Any]]:
    """Return the arrays of a file in the order of the network's inputs; those of an .npy file stay on the disk.

    Raises:
        DataError: it cannot be read, or has no array for an input.
    """
    try:
        content = np.load(path, allow_pickle=False, mmap_mode="r" if path.suffix == ".npy" else None)
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


def made_by(place: str, specs: Sequence[InputSpec], limit: int) -> list[NDArray[Any]]:
    """Return the batches of a user's factory, joined.

    Args:
        place: package.module:factory.
        specs: the network's inputs.
        limit: inputs, after which no more batches are taken.

    Raises:
        DataError: it fails, or gives nothing that fits.
    """
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
