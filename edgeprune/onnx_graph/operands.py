"""What an operator of an ONNX graph is given: tensors, numbers that shapes follow from, attributes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

Host = NDArray[Any]  # numbers that do not depend on what is in the network's inputs
Value = Tensor | Host | None


class Shared(dict[Any, Any]):
    """A cache that copies of a network share: what it holds is made again where it is missing."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Shared":
        return self


class SharedList(list[Any]):
    """A list that copies of a network share, since nothing changes it."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "SharedList":
        return self


class NotCovered(Exception):
    """A use of an operator that has no call of torch."""


class Operands:
    """Inputs and attributes of one node in one run.

    Args:
        node: the node.
        attributes: of the node, by name.
        values: one for each input, None where it is left out.
        opset: version of the operators.
        dtype: in which the network computes.
    """

    def __init__(
        self,
        node: onnx.NodeProto,
        attributes: dict[str, Any],
        values: Sequence[Value],
        opset: int,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.node, self.values, self.opset, self.dtype = node, values, opset, dtype
        self._attributes = attributes

    def __len__(self) -> int:
        return len(self.values)

    def attr(self, name: str, default: Any = None) -> Any:
        """Return an attribute, text as str."""
        return self._attributes.get(name, default)

    def has(self, position: int) -> bool:
        """Return whether an input is there."""
        return position < len(self.values) and self.values[position] is not None

    @property
    def x(self) -> Tensor:
        """The first input."""
        return self.tensor(0)

    def tensor(self, position: int) -> Tensor:
        """Return an input as a tensor."""
        value = self.values[position]
        if isinstance(value, Tensor):
            return value
        return as_tensor(value, self.dtype)

    def optional(self, position: int) -> Tensor | None:
        """Return an input as a tensor, None where it is left out."""
        return self.tensor(position) if self.has(position) else None

    def host(self, position: int) -> Host:
        """Return an input as numbers; raises NotCovered where they depend on the network's input."""
        value = self.values[position] if position < len(self.values) else None
        if isinstance(value, np.ndarray):
            return value
        raise NotCovered(f"{self.node.op_type} is given numbers that depend on the input")

    def integers(self, position: int, attribute: str) -> list[int] | None:
        """Return integers that an attribute holds in some opsets and an input in others; None where neither does.

        Args:
            position: of the input.
            attribute: its name.
        """
        if self.has(position):
            return [int(number) for number in self.host(position).reshape(-1)]
        numbers = self.attr(attribute)
        return (
            None
            if numbers is None
            else [int(n) for n in (numbers if isinstance(numbers, list) else [numbers])]
        )

    def number(self, position: int, attribute: str, default: float | None = None) -> float | None:
        """Return a number that an attribute or an input holds.

        Args:
            position: of the input.
            attribute: its name.
            default: where neither is there.
        """
        if self.has(position):
            return float(self.host(position).reshape(-1)[0])
        return self.attr(attribute, default)

    def factor(self, position: int, rank: int) -> Any:
        """Return an operand of arithmetic: a plain number where one is enough.

        Args:
            position: of the input.
            rank: number of axes of the other operand.
        """
        value = self.values[position]
        if isinstance(value, np.ndarray) and value.size == 1 and value.ndim <= rank:
            return value.reshape(-1)[0].item()
        return self.tensor(position)


def as_tensor(value: Any, dtype: torch.dtype) -> Tensor:
    """Return numbers as a tensor; floating-point ones in the network's type."""
    tensor = torch.from_numpy(np.array(value, order="C"))
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of a node by name, text as str."""
    attributes = {}
    for attribute in node.attribute:
        value = onnx.helper.get_attribute_value(attribute)
        attributes[attribute.name] = value.decode() if isinstance(value, bytes) else value
        if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
            attributes[attribute.name] = list(value)
    return attributes
