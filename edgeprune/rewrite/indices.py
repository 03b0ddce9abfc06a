"""Indices of tensors, written out."""

from typing import Any


def full_index(index: Any, dims: int, *more: type) -> tuple[Any, ...] | None:
    """Return an index without Ellipsis, or None where it holds anything but slices, ints, None and ``more``.

    Args:
        index: as it is written.
        dims: number of axes of the tensor.
        more: further types that it may hold.
    """
    items = index if isinstance(index, tuple) else (index,)
    if any(not isinstance(i, (slice, int, *more)) and i is not None and i is not Ellipsis for i in items):
        return None
    used = sum(i is not None and i is not Ellipsis for i in items)
    if not any(i is Ellipsis for i in items):
        return items
    place = next(p for p, i in enumerate(items) if i is Ellipsis)
    return (*items[:place], *[slice(None)] * (dims - used), *items[place + 1 :])
