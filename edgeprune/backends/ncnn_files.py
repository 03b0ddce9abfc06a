"""ncnn's own files: the layers of a .param, their weights in a .bin, and both with some layers in int8.

ncnn's tool that writes int8 is not in its Python package. Its format is small: a layer in int8 has the number of
its scales in its line, and in the .bin its weights behind a tag, then one scale for each output channel (127 over
the largest weight) and one for its input (127 over the largest input that counts).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgeprune.errors import ExportError

MAGIC = "7767517"
INT8_TAG = (0x000D4B38).to_bytes(4, "little")
FP16_TAG = (0x01306B47).to_bytes(4, "little")
FLOAT_TAG = bytes(4)
LARGEST = 127
SCALES = {"Convolution": "2", "ConvolutionDepthWise": "1", "InnerProduct": "2"}  # scales by output channel
OUTPUTS, BIAS, INT8 = "0", {"Convolution": "5", "ConvolutionDepthWise": "5", "InnerProduct": "1"}, "8"
SIZE = {"Convolution": "6", "ConvolutionDepthWise": "6", "InnerProduct": "2"}
GROUPS = "7"

# Layers without weights, and without a name that says so: pnnx writes what it could not map with a dot.
UNMAPPED = "."


@dataclass(frozen=True)
class Layer:
    """One line of a .param file.

    Attributes:
        kind: of layer, as in "Convolution".
        name: of the layer.
        inputs: names of blobs.
        outputs: names of blobs.
        values: number of a parameter -> its text.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, line: str) -> "Layer":
        """Make it from a line."""
        kind, name, reads, writes, *rest = line.split()
        inputs, outputs = rest[: int(reads)], rest[int(reads) : int(reads) + int(writes)]
        values = dict(word.split("=", 1) for word in rest[int(reads) + int(writes) :])
        return cls(kind, name, tuple(inputs), tuple(outputs), values)

    def __str__(self) -> str:
        """Return the line."""
        words = [self.kind, self.name, str(len(self.inputs)), str(len(self.outputs))]
        return " ".join([*words, *self.inputs, *self.outputs, *(f"{k}={v}" for k, v in self.values.items())])

    def number(self, key: str, default: int = 0) -> int:
        """Return a parameter.

        Args:
            key: its number.
            default: where the line leaves it out.
        """
        return int(self.values.get(key, default))


def layers_of(param: str) -> list[Layer]:
    """Return the layers of a .param file, in order.

    Raises:
        ExportError: it is no such file, or it has a layer that ncnn lacks; names it.
    """
    lines = param.split("\n")
    if not lines or lines[0].strip() != MAGIC:
        raise ExportError("pnnx wrote no .param file of ncnn")
    layers = [Layer.parse(line) for line in lines[2:] if line.strip()]
    for layer in layers:
        if UNMAPPED in layer.kind:
            raise ExportError(f"ncnn has no {layer.kind} (layer {layer.name})")
    return layers


def param_text(layers: list[Layer]) -> str:
    """Return the .param file of these layers."""
    blobs = {name for layer in layers for name in layer.outputs}
    return "\n".join([MAGIC, f"{len(layers)} {len(blobs)}", *map(str, layers), ""])


@dataclass(frozen=True)
class Weights:
    """The weights of one layer that can be quantised.

    Attributes:
        matrix: float32, one row for each of its scales: an output channel, or a group of a depthwise layer.
        bias: float32, empty where it has none.
    """

    matrix: np.ndarray
    bias: np.ndarray

    @property
    def scales(self) -> np.ndarray:
        """One for each row; a row of zeros has 1."""
        largest = np.abs(self.matrix).max(1)
        return np.where(largest > 0, LARGEST / np.where(largest > 0, largest, 1), 1).astype(np.float32)

    def in_int8(self) -> np.ndarray:
        """Return the rows in int8."""
        scaled = np.rint(self.matrix * self.scales[:, None])
        return np.clip(scaled, -LARGEST, LARGEST).astype(np.int8)


def weights_of(layers: list[Layer], content: bytes) -> Iterator[tuple[Layer, bytes, Weights | None]]:
    """Yield each layer with its part of a float32 .bin, and its weights where it can be quantised.

    Args:
        layers: of the .param file.
        content: of the .bin file.

    Raises:
        ExportError: a layer's weights are not known here, or the file has more or less than its layers say.
    """
    reader = _Reader(content)
    for layer in layers:
        start = reader.at
        weights = None
        if layer.kind in SCALES:
            if layer.number("19"):
                raise ExportError(f"the weights of {layer.name} are computed: int8 needs fixed ones")
            matrix = reader.tagged(layer.number(SIZE[layer.kind]), layer)
            bias = reader.floats(layer.number(OUTPUTS) if layer.number(BIAS[layer.kind]) else 0, layer)
            depthwise = layer.kind == "ConvolutionDepthWise"
            rows = layer.number(GROUPS, 1) if depthwise else layer.number(OUTPUTS)
            weights = Weights(matrix.reshape(rows, -1), bias)
        else:
            reader.skip(layer)
        yield layer, content[start : reader.at], weights
    if reader.at != len(content):
        raise ExportError(
            f"the .bin has {len(content)} bytes, its layers account for {reader.at}: int8 is not possible"
        )


class _Reader:
    """Reads a .bin from its beginning."""

    def __init__(self, content: bytes) -> None:
        self.content, self.at = content, 0

    def floats(self, count: int, layer: Layer) -> np.ndarray:
        """Return so many numbers without a tag."""
        end = self.at + 4 * count
        if end > len(self.content):
            raise ExportError(f"the .bin ends within {layer.name}")
        values = np.frombuffer(self.content[self.at : end], np.float32)
        self.at = end
        return values

    def tagged(self, count: int, layer: Layer) -> np.ndarray:
        """Return so many numbers behind a tag, which must say float32."""
        if self.content[self.at : self.at + 4] != FLOAT_TAG:
            raise ExportError(f"the weights of {layer.name} are not float32")
        self.at += 4
        return self.floats(count, layer)

    def skip(self, layer: Layer) -> None:
        """Pass over a layer's weights."""
        plain, with_tag = PLAIN.get(layer.kind), TAGGED.get(layer.kind)
        if with_tag:
            self.tagged(layer.number(with_tag), layer)
            if layer.number("5"):
                self.floats(layer.number(OUTPUTS), layer)
        elif plain:
            self.floats(plain(layer), layer)


def _memory(layer: Layer) -> int:
    sizes = [layer.number(key) for key in ("0", "1", "11", "2")]
    return int(np.prod([size for size in sizes if size]))


# Layers with weights that stay as they are: how many numbers, without a tag; or the parameter that says so, with one.
PLAIN: Mapping[str, Any] = {
    "BatchNorm": lambda layer: 4 * layer.number("0"),
    "Scale": lambda layer: layer.number("0") * (2 if layer.number("1") else 1),
    "PReLU": lambda layer: layer.number("0"),
    "MemoryData": _memory,
    "LayerNorm": lambda layer: 2 * layer.number("0") if layer.number("2", 1) else 0,
    "GroupNorm": lambda layer: 2 * layer.number("1") if layer.number("3", 1) else 0,
    "InstanceNorm": lambda layer: 2 * layer.number("0") if layer.number("2", 1) else 0,
}
TAGGED: Mapping[str, str] = {"Deconvolution": "6", "DeconvolutionDepthWise": "6"}


def quantised(
    layers: list[Layer], content: bytes, ranges: Mapping[str, float], but: frozenset[str] = frozenset()
) -> tuple[str, bytes]:
    """Return the .param and the .bin with convolutions and products in int8.

    Args:
        layers: of the float32 .param file.
        content: of the float32 .bin file.
        ranges: blob -> the largest value of it that counts; of the input of every layer that is quantised.
        but: names of layers that stay in float32.

    Raises:
        ExportError: see `weights_of`.
    """
    lines, parts = [], []
    for layer, part, weights in weights_of(layers, content):
        largest = ranges.get(layer.inputs[0], 0.0) if layer.inputs else 0.0
        if weights is None or layer.name in but or largest <= 0:
            lines.append(layer)
            parts.append(part)
            continue
        lines.append(replace(layer, values={**layer.values, INT8: SCALES[layer.kind]}))
        numbers = weights.in_int8().tobytes()
        scale = np.float32(LARGEST / largest).tobytes()
        parts += [
            *(INT8_TAG, numbers, bytes(-len(numbers) % 4)),
            *(weights.bias.tobytes(), weights.scales.tobytes(), scale),
        ]
    return param_text(lines), b"".join(parts)
