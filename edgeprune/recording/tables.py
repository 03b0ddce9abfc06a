"""Tables keyed by tensors, whose entries last as long as the tensor."""

from typing import Any
from weakref import ref

from torch import Tensor


class ByTensor:
    """Values by tensor, told apart by which they are; it does not keep the tensors.

    What torch has for it makes two objects for each question, and there are several for each call of a network.
    """

    def __init__(self) -> None:
        # A tensor that comes to have the id of one which has gone is another one: the reference tells.
        self._entries: dict[int, tuple[ref[Tensor], Any]] = {}

    def get(self, tensor: Tensor | None, default: Any = None) -> Any:
        """Return what is known of a tensor."""
        entry = self._entries.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else default

    def __setitem__(self, tensor: Tensor, value: Any) -> None:
        self._entries[id(tensor)] = (ref(tensor), value)

    def __getitem__(self, tensor: Tensor) -> Any:
        entry = self._entries[id(tensor)]
        if entry[0]() is not tensor:
            raise KeyError(id(tensor))
        return entry[1]

    def __contains__(self, tensor: Tensor) -> bool:
        entry = self._entries.get(id(tensor))
        return entry is not None and entry[0]() is tensor

    def __bool__(self) -> bool:
        return bool(self._entries)
