"""Cut the constants of an ONNX file."""

from collections import defaultdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprune.graph.classes import Bools
from edgeprune.onnx_graph.cut_values import CutValues
from edgeprune.rewrite.tensors import kept_indices


def cut_constants(values: CutValues, keep: Bools) -> None:
    """Cut the constants; readers of one constant that need different parts of it get copies of their own.

    Args:
        values: of the file.
        keep: which classes stay.

    Raises:
        Immovable: a layer would lose all its channels.
    """
    kept = kept_indices(values.graph, keep, values.orders)
    tensors = {**dict(values.network.named_parameters()), **dict(values.network.named_buffers())}
    before: dict[str, NDArray[Any]] = {}
    parts: dict[str, list[tuple[str, NDArray[Any]]]] = defaultdict(list)
    for name, form in values.network.forms.items():
        if form.constant not in before:
            before[form.constant] = values.network.file.array(form.constant)
        array = values.network.written(name, tensors[name], before[form.constant])
        for axis, index in sorted(kept.get(name, {}).items()):
            if not len(index):
                values.refuse_empty(values.graph.param_axes[name, axis], name)
            array = np.take(array, index, form.axes[axis])
        parts[form.constant].append((name, array))
    for constant, readers in parts.items():
        if any(array is not before[constant] for _, array in readers):
            _put(values, constant, before[constant], readers)


def _put(
    values: CutValues, constant: str, before: NDArray[Any], readers: list[tuple[str, NDArray[Any]]]
) -> None:
    """Write what the readers of a constant need of it: once where that is the same.

    Args:
        values: of the file.
        constant: its name.
        before: its numbers.
        readers: each tensor of the network that was made of it, with the numbers that it needs.
    """
    distinct: list[tuple[NDArray[Any], str]] = []
    # A node that is run alone finds the constant by its name, so that its part keeps the name.
    fixed = [name for name, _ in readers if values.network.forms[name].position is None]
    others = [
        name
        for name in values.network.readers_of(constant)
        if name not in {values.network.forms[n].reader for n, _ in readers}
    ]
    if fixed or others:
        distinct.append((before, constant))
    for name, array in readers:
        form = values.network.forms[name]
        known = next((label for part, label in distinct if _equal(part, array)), None)
        if known is None:
            known = constant if not distinct else values.edits.file.add(constant, array, like=constant)
            distinct.append((array, known))
            if known == constant and array is not before and not _equal(array, before):
                values.edits.file.put(constant, array)
        if form.position is not None and known != constant:
            values.edits.rewire(form.reader, form.position, known)


def _equal(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a is b or (a.shape == b.shape and a.dtype == b.dtype and a.tobytes() == b.tobytes())
