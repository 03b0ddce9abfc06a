"""Names of a network's parameters and buffers: one for each tensor, however many the network has."""

from typing import Any

import torch.fx as fx
from torch import nn

from edgeprune.recording.record import VALUE
from edgeprune.recording.walks import named_tensors


class TensorNames:
    """The canonical name of each tensor, which is the first of those it has; ``tensors`` has it under all of them."""

    def __init__(self, model: nn.Module) -> None:
        self.tensors = named_tensors(model, repeated=True)
        self._canonical: dict[int, str] = {}
        for name, tensor in self.tensors.items():
            self._canonical.setdefault(id(tensor), name)

    def of(self, tensor: Any) -> str | None:
        """Return the name of a parameter or buffer; None for any other value."""
        return None if tensor is None else self._canonical.get(id(tensor))

    def read_by(self, node: Any) -> str | None:
        """Return the name of the tensor that a get_attr node reads; None for any other node or value."""
        if isinstance(node, fx.Node) and node.op == "get_attr":
            return self.of(node.meta[VALUE])
        return None
