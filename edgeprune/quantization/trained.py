"""What quantisation-aware training leaves: the constants of a graph, and the ranges of its activations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeprune.errors import ExportError
from edgeprune.quantization.layers import constants_of, put_constant

if TYPE_CHECKING:
    from onnx import ModelProto

CONSTANT, RANGE = "constant/", "range/"  # beginnings of the names in a file


@dataclass(frozen=True)
class Trained:
    """Constants and ranges.

    Attributes:
        constants: name in the graph -> its numbers.
        ranges: activation -> the largest value of it that counts.
    """

    constants: Mapping[str, np.ndarray]
    ranges: Mapping[str, float]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return all of it as arrays by name, for a file."""
        constants = {CONSTANT + name: array for name, array in self.constants.items()}
        return constants | {RANGE + name: np.array(limit, np.float32) for name, limit in self.ranges.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Trained":
        """Return what `to_arrays` gave."""
        constants = {
            name.removeprefix(CONSTANT): array for name, array in arrays.items() if name.startswith(CONSTANT)
        }
        ranges = {
            name.removeprefix(RANGE): float(array) for name, array in arrays.items() if name.startswith(RANGE)
        }
        return cls(constants, ranges)

    def put_into(self, model: "ModelProto") -> None:
        """Replace the constants of a graph.

        Raises:
            ExportError: it is not the graph that was trained.
        """
        shapes = {name: array.shape for name, array in constants_of(model).items()}
        values = {name for node in model.graph.node for name in node.output}
        values |= {value.name for value in model.graph.input}
        others = [name for name, array in self.constants.items() if shapes.get(name) != array.shape]
        others += [name for name in self.ranges if name not in values]
        if others:
            raise ExportError(
                f"the trained int8 scales are of a graph that has {others[0]}, which the exported one has not: export "
                "with the torch that trained them, or remove quantized.safetensors and resume the run"
            )
        for name, array in self.constants.items():
            put_constant(model, name, array.astype(np.float32))
