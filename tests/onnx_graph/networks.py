"""Small networks of each kind as ONNX files, and the masked file that a cut one must agree with."""

import warnings
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

INPUT = (2, 3, 8, 8)


def conv(inputs: int, outputs: int, kernel: int = 3, **options: Any) -> nn.Sequential:
    """Return a convolution with BatchNorm, which an exporter folds, and ReLU."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, **options)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU())


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b, self.head = conv(3, 8), conv(8, 6), nn.Conv2d(6, 8, 1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        x = F.relu(x + self.b(self.a(x)))
        return self.head(x.mean((2, 3)))


class Dense(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.head = conv(3, 6), conv(6, 5), conv(11, 7), nn.Linear(18, 4)

    def forward(self, x: Tensor) -> Any:
        a = self.a(x)
        ab = torch.cat([a, self.b(a)], 1)
        return self.head(torch.cat([ab, self.c(ab)], 1).amax((2, 3)))


class Inverted(nn.Module):
    """Depthwise, with squeeze and excitation."""

    def __init__(self) -> None:
        super().__init__()
        self.expand, self.depth, self.project = conv(3, 12, 1), conv(12, 12, groups=12), nn.Conv2d(12, 6, 1)
        self.squeeze, self.excite, self.head = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Any:
        x = F.hardswish(self.depth(self.expand(x)))
        gate = F.hardsigmoid(self.excite(F.relu(self.squeeze(F.adaptive_avg_pool2d(x, 1)))))
        return self.head(self.project(x * gate).mean((2, 3)))


class Grouped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = conv(3, 12), conv(12, 12, groups=3), nn.Conv2d(12, 4, 1)

    def forward(self, x: Tensor) -> Any:
        return self.c(self.b(self.a(x))).flatten(1)


class Shuffle(nn.Module):
    """Halves that are split, joined and shuffled, as ShuffleNet's."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.branch, self.last, self.head = conv(3, 12), conv(6, 6), conv(12, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Any:
        left, right = self.stem(x).chunk(2, 1)
        x = torch.cat([left, self.branch(right)], 1)
        count, channels, height, width = x.shape
        x = x.view(count, 2, channels // 2, height, width).transpose(1, 2).reshape(count, -1, height, width)
        return self.head(self.last(x).mean((2, 3)))


class Upsampled(nn.Module):
    """A transposed convolution, nearest and bilinear upsampling, PReLU, and a crop of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.up = conv(3, 6), conv(6, 8, stride=2), nn.ConvTranspose2d(8, 6, 2, 2)
        self.slope, self.c, self.d = nn.PReLU(6), conv(12, 8), nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Any:
        a = self.a(x)
        b = self.b(a)
        c = self.c(torch.cat([self.slope(self.up(b)), a], 1))
        wide = F.interpolate(b, scale_factor=2, mode="nearest") + F.interpolate(
            b, scale_factor=2, mode="bilinear"
        )
        return self.d(torch.cat([c, wide], 1))[:, :, 1:-1, 1:-1]


class Padded(nn.Module):
    """A shortcut that is padded by zero channels, as CIFAR's ResNets have it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b, self.head = (
            conv(3, 6),
            conv(6, 12, stride=2),
            conv(12, 12),
            nn.Linear(12, 4),
        )

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        x = F.relu(F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 3, 3)) + self.a(x))
        return self.head((x + self.b(x)).mean((2, 3)))


class Flat(nn.Module):
    """Positions laid beside channels before a linear layer; an input that is normalised by constants."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = conv(3, 5), conv(5, 6, stride=2), nn.Linear(96, 10), nn.Linear(10, 3)
        self.register_buffer("mean", torch.rand(1, 3, 1, 1))
        self.scale = nn.Parameter(torch.rand(1, 5, 1, 1))

    def forward(self, x: Tensor) -> Any:
        x = self.b(self.a((x - self.mean) / 0.3) * self.scale)
        return self.d(F.gelu(self.c(x.flatten(1)))).softmax(-1)


class Several(nn.Module):
    """Two inputs, two outputs, one of them an inner map."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = conv(3, 6), conv(1, 6), conv(6, 5), nn.Conv2d(5, 2, 1)

    def forward(self, x: Tensor, y: Tensor) -> Any:
        joined = self.a(x) + self.b(y)
        inner = self.d(self.c(joined))
        return inner.sigmoid(), inner.mean((2, 3))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.lstm, self.head = (
            conv(3, 6),
            conv(6, 5),
            nn.LSTM(5, 4, batch_first=True),
            nn.Linear(4, 3),
        )

    def forward(self, x: Tensor) -> Any:
        x = self.b(self.a(x)).mean(2).transpose(1, 2)
        return self.head(self.lstm(x)[0][:, -1])


class Chunks(nn.Module):
    """Unequal parts of one tensor that go on by themselves, and a gather of channels by their numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d = conv(3, 10), conv(4, 4), conv(14, 6), nn.Conv2d(6, 3, 1)
        self.order = [3, 0, 5, 1, 2, 4]

    def forward(self, x: Tensor) -> Any:
        first, second = self.a(x).split([4, 6], 1)
        x = self.c(torch.cat([first, second, self.b(first)], 1))
        return self.d(x[:, self.order])


class OwnNorm(nn.Module):
    """A norm over channels in single steps, as exporters write LayerNorm before opset 17."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide, self.head = conv(3, 8), conv(8, 12), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x)
        centred = x - x.mean(1, keepdim=True)
        x = centred / (centred.square().mean(1, keepdim=True) + 1e-3).sqrt()
        return self.head(self.wide(x).mean((2, 3)))


class Attention(nn.Module):
    """Heads whose width, and a factor, are computed from the channels of another tensor, which may be cut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.qkv, self.project = conv(3, 8), nn.Linear(8, 24), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x).flatten(2).transpose(1, 2)
        count, positions, channels = x.shape
        q, k, v = self.qkv(x).reshape(count, positions, 3, 2, channels // 2).permute(2, 0, 3, 1, 4).unbind()
        factor = 5 * (channels // 2) ** -0.5
        x = ((factor * q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).reshape(count, positions, 8)
        return self.project(x).mean(1)


class Table(nn.Module):
    """Layers that read a table of the file and no input, as the position bias of Swin's second version."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.first, self.second, self.head = (
            conv(3, 6),
            nn.Linear(2, 16),
            nn.Linear(16, 6),
            nn.Linear(6, 3),
        )
        self.register_buffer("table", torch.rand(8, 2))

    def forward(self, x: Tensor) -> Any:
        x = self.stem(x).mean(3).transpose(1, 2)
        return self.head((x + self.second(self.first(self.table).relu())).mean(1))


def example(kind: type[nn.Module]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(1)
    shapes = [INPUT, (2, 1, 8, 8)] if kind is Several else [INPUT]
    return tuple(torch.randn(shape, generator=generator) for shape in shapes)


def exported(
    kind: type[nn.Module], path: Path, opset: int = 13, half: bool = False, **options: Any
) -> tuple[Tensor, ...]:
    """Write a network with random weights and statistics; return its example."""
    torch.manual_seed(0)
    network = kind().eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
    inputs = example(kind)
    if half:
        network, inputs = network.half(), tuple(x.half() for x in inputs)
    names = [f"in{number}" for number in range(len(inputs))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network, inputs, str(path), input_names=names, opset_version=opset, dynamo=False, **options
        )
    return inputs


def outputs_of(model: onnx.ModelProto | Path, inputs: tuple[Tensor, ...]) -> list[NDArray[Any]]:
    """Return what ONNX Runtime gives."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    content = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_inputs()]
    return session.run(None, {name: x.numpy() for name, x in zip(names, inputs, strict=True)})
