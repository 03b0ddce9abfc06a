"""Small hand-written models; together they use every operation the channel labels know, and some they don't.

`CASES[name]` holds a factory, the shapes of its example inputs, and what is expected: whether anything of it
can be pruned, and words that must stand among the reasons of what is protected.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth, stochastic_depth

IMAGE = (2, 3, 16, 16)


@dataclass(frozen=True)
class Case:
    """One model and what to expect of it."""

    make: Callable[[], nn.Module]
    shapes: tuple[tuple[int, ...], ...]
    prunable: bool
    reasons: tuple[str, ...]
    flops: bool
    trains: bool
    exports: bool


CASES: dict[str, Case] = {}


def case(
    *shapes: tuple[int, ...],
    prunable: bool = True,
    reasons: tuple[str, ...] = (),
    flops: bool = True,
    trains: bool = True,
    exports: bool = True,
) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Register a model class.

    ``flops=False`` where fvcore itself cannot count it, ``trains=False`` where PyTorch cannot train it,
    ``exports=False`` where PyTorch cannot export the original either.
    """

    def register(kind: type[nn.Module]) -> type[nn.Module]:
        CASES[kind.__name__] = Case(kind, shapes or (IMAGE,), prunable, reasons, flops, trains, exports)
        return kind

    return register


def cbr(inputs: int, outputs: int, size: int = 3, **more: int) -> nn.Sequential:
    """Convolution, BatchNorm, ReLU."""
    more.setdefault("padding", size // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, bias=False, **more), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Head(nn.Module):
    """Global pooling and a linear layer."""

    def __init__(self, width: int, classes: int = 5) -> None:
        super().__init__()
        self.fc = nn.Linear(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class Wrapped(nn.Module):
    """A stem of 12 channels, a body that subclasses give, and a head."""

    width, out = 12, 12

    def __init__(self) -> None:
        super().__init__()
        self.stem = cbr(3, self.width)
        self.build()
        self.head = Head(self.out)

    def build(self) -> None:
        """Make the body's layers."""

    def body(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x)))


# --- convolutions ------------------------------------------------------------------------------------


@case((2, 3, 20))
class Conv1d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.n, self.b = (
            nn.Conv1d(3, 8, 3, padding=1),
            nn.BatchNorm1d(8),
            nn.Conv1d(8, 6, 3, groups=2),
        )
        self.c, self.fc = nn.Conv1d(6, 10, 1), nn.Linear(10, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.avg_pool1d(F.relu(self.n(self.a(x))), 2)
        return self.fc(F.max_pool1d(self.c(self.b(x)), 2).mean(-1))


@case((1, 2, 6, 8, 8))
class Conv3d(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.n = nn.Conv3d(2, 8, 3, padding=1), nn.BatchNorm3d(8)
        self.d = nn.Conv3d(8, 8, 3, groups=8, padding=1)
        self.b, self.fc = nn.Conv3d(8, 6, 1), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool3d(torch.relu(self.n(self.a(x))), 2)
        return self.fc(nn.functional.adaptive_avg_pool3d(self.b(self.d(x)), 1).flatten(1))


@case()
class Transposed(nn.Module):
    """ConvTranspose2d: plain, grouped, depthwise."""

    def __init__(self) -> None:
        super().__init__()
        self.a = cbr(3, 8)
        self.plain = nn.ConvTranspose2d(8, 12, 2, stride=2)
        self.grouped = nn.ConvTranspose2d(12, 18, 2, stride=2, groups=3)
        self.deep = nn.ConvTranspose2d(18, 18, 3, groups=18, padding=1)
        self.last = nn.Conv2d(18, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.deep(self.grouped(self.plain(self.a(x)).relu())))


@case()
class DepthwiseMultiplier(Wrapped):
    out = 36

    def build(self) -> None:
        self.deep = nn.Conv2d(12, 36, 3, groups=12, padding=1)
        self.norm = nn.BatchNorm2d(36)

    def body(self, x: Tensor) -> Tensor:
        return self.norm(self.deep(x)).relu()


@case()
class DepthwiseTransposedMultiplier(Wrapped):
    out = 24

    def build(self) -> None:
        self.deep = nn.ConvTranspose2d(12, 24, 2, stride=2, groups=12)

    def body(self, x: Tensor) -> Tensor:
        return self.deep(x).relu()


@case()
class Grouped(Wrapped):
    out = 16

    def build(self) -> None:
        self.a, self.n = nn.Conv2d(12, 24, 3, groups=4, padding=1), nn.BatchNorm2d(24)
        self.b = nn.Conv2d(24, 16, 1, groups=2)

    def body(self, x: Tensor) -> Tensor:
        return self.b(self.n(self.a(x)).relu()).relu()


@case()
class FunctionalLayers(nn.Module):
    """F.conv2d, F.batch_norm, F.group_norm, F.prelu and F.linear with parameters of the module."""

    def __init__(self) -> None:
        super().__init__()
        self.w1, self.b1 = nn.Parameter(torch.randn(8, 3, 3, 3)), nn.Parameter(torch.randn(8))
        self.w2 = nn.Parameter(torch.randn(8, 1, 3, 3))
        self.w3 = nn.Parameter(torch.randn(12, 8, 1, 1))
        self.gain, self.shift = nn.Parameter(torch.rand(8) + 0.5), nn.Parameter(torch.randn(8))
        self.register_buffer("mean", torch.randn(8) * 0.1)
        self.register_buffer("var", torch.rand(8) + 0.5)
        self.ggain, self.gshift = nn.Parameter(torch.rand(12)), nn.Parameter(torch.rand(12))
        self.slope = nn.Parameter(torch.rand(12))
        self.w4, self.b4 = nn.Parameter(torch.randn(5, 12)), nn.Parameter(torch.randn(5))

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(x, weight=self.w1, bias=self.b1, padding=1)
        x = F.batch_norm(x, self.mean, self.var, self.gain, self.shift, self.training)
        x = F.conv2d(F.relu(x), self.w2, None, 1, 1, 1, x.shape[1])
        x = F.group_norm(F.conv2d(input=x, weight=self.w3), 4, self.ggain, self.gshift)
        return F.linear(F.prelu(x, self.slope).mean((2, 3)), self.w4, self.b4)


@case()
class OwnConvolution(nn.Module):
    """A subclass of Conv2d with a forward of its own."""

    class Same(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(
                F.pad(x, (1, 1, 1, 1)), self.weight, self.bias, self.stride, 0, self.dilation, self.groups
            )

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = self.Same(3, 8, 3), self.Same(8, 8, 3, groups=8), self.Same(8, 6, 3)
        self.head = Head(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.c(self.b(self.a(x)).relu()).relu())


@case(reasons=("computed",))
class StandardisedWeight(nn.Module):
    """The weight of a convolution is computed from a parameter: its inputs stay."""

    class Conv(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            w = self.weight
            w = (w - w.mean(dim=(1, 2, 3), keepdim=True)) / w.std(dim=(1, 2, 3), keepdim=True)
            return F.conv2d(x, w, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = cbr(3, 8), self.Conv(8, 8, 3), cbr(8, 6)
        self.head = Head(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.c(self.b(self.a(x)).relu()))


@case(reasons=("outside its layer",))
class WeightUsedTwice(nn.Module):
    """A weight that a convolution reads as it is, and that enters the arithmetic as well."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.w = cbr(3, 8), nn.Parameter(torch.randn(6, 8, 3, 3))
        self.b, self.head = cbr(6, 8), Head(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x)
        x = F.conv2d(x, self.w) + F.conv2d(x, self.w - self.w.mean((1, 2, 3), keepdim=True))
        return self.head(self.b(x.relu()))


@case()
class RowStandardised(nn.Module):
    """timm's StdConv2d and ScaledStdConv2d: plain, grouped and depthwise; rows may go where inputs stay."""

    class Conv(nn.Conv2d):
        def __init__(self, *args: int, **kwargs: int) -> None:
            super().__init__(*args, **kwargs)
            self.gain = nn.Parameter(torch.rand(self.out_channels, 1, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            rows = self.weight.reshape(1, self.out_channels, -1)
            w = F.batch_norm(rows, None, None, weight=(self.gain * 0.5).view(-1), training=True, momentum=0.0)
            pad = self.weight.shape[-1] // 2
            return F.conv2d(F.pad(x, [pad] * 4), w.reshape_as(self.weight), self.bias, groups=self.groups)

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = (
            self.Conv(3, 8, 3),
            self.Conv(8, 8, 3, groups=8),
            self.Conv(8, 8, 3, groups=2),
        )
        self.d, self.head = cbr(8, 6), Head(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.d(self.c(self.b(self.a(x)).relu()).relu()))


@case(reasons=("computed",))
class WeightNorm(nn.Module):
    """A parametrised layer: its weight is no parameter; its rows may go, what they read stays."""

    def __init__(self) -> None:
        super().__init__()
        self.a = cbr(3, 8)
        self.b = nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3))
        self.c, self.head = cbr(8, 6), Head(6)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.c(self.b(self.a(x))))


# --- linear layers and norms -------------------------------------------------------------------------


@case((2, 3, 8, 8))
class FlattenLinear(nn.Module):
    """VGG's head: a linear layer reads every position of every channel."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(cbr(3, 8), nn.MaxPool2d(2), cbr(8, 6), nn.AdaptiveAvgPool2d((2, 3)))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(36, 10), nn.ReLU(), nn.Dropout(), nn.Linear(10, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


@case((2, 3, 4, 4))
class FlattenChannelsLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.fc = cbr(3, 6), nn.Linear(6 * 16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.a(x).permute(0, 2, 3, 1)
        return self.fc(x.reshape(x.shape[0], -1))


@case()
class Norms(nn.Module):
    """GroupNorm and InstanceNorm, affine or not, one of them used twice on different channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(3, 12, 3), nn.Conv2d(12, 16, 3), nn.Conv2d(16, 12, 3)
        self.group, self.bare = nn.GroupNorm(4, 12), nn.GroupNorm(4, 16, affine=False)
        self.instance, self.plain = nn.InstanceNorm2d(16, affine=True), nn.InstanceNorm2d(12)
        self.free = nn.BatchNorm2d(12, affine=False)
        self.tracked = nn.InstanceNorm2d(16, affine=True, track_running_stats=True)
        self.d, self.head = nn.Conv2d(12, 16, 1), Head(16)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.group(self.a(x)))
        x = self.tracked(self.instance(F.relu(self.bare(self.b(x)))))
        x = self.free(self.plain(self.c(x)))
        return self.head(self.bare(self.d(x)))


@case(reasons=("GroupNorm takes one statistic",))
class OneGroup(Wrapped):
    def build(self) -> None:
        self.norm, self.conv = nn.GroupNorm(1, 12), cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        return self.conv(self.norm(x))


@case(reasons=("LayerNorm takes one statistic",))
class ConvNeXtBlock(Wrapped):
    """LayerNorm channels-last, a bottleneck of linear layers, layer scale, stochastic depth."""

    def build(self) -> None:
        self.deep, self.norm = nn.Conv2d(12, 12, 3, padding=1, groups=12), nn.LayerNorm(12)
        self.up, self.down = nn.Linear(12, 48), nn.Linear(48, 12)
        self.scale, self.drop = nn.Parameter(torch.rand(12, 1, 1)), StochasticDepth(0.2, "row")

    def body(self, x: Tensor) -> Tensor:
        y = self.norm(self.deep(x).permute(0, 2, 3, 1))
        y = self.down(F.gelu(self.up(y))).permute(0, 3, 1, 2)
        return x + self.drop(self.scale * y)


@case()
class ManualLayerNorm(Wrapped):
    """Channels-first LayerNorm by hand: mean over channels is a sum that reads them."""

    def build(self) -> None:
        self.gain, self.shift = nn.Parameter(torch.rand(12)), nn.Parameter(torch.rand(12))
        self.conv = cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        mean = x.mean(1, keepdim=True)
        var = (x - mean).pow(2).mean(1, keepdim=True)
        x = (x - mean) / torch.sqrt(var + 1e-2)
        return self.conv(self.gain[:, None, None] * x + self.shift[:, None, None])


@case()
class SpatialLayerNorm(Wrapped):
    """LayerNorm over positions passes channels."""

    def build(self) -> None:
        self.norm = nn.LayerNorm([16, 16])

    def body(self, x: Tensor) -> Tensor:
        return F.layer_norm(self.norm(x), x.shape[2:])


@case()
class Slopes(Wrapped):
    def build(self) -> None:
        self.one, self.many, self.conv = nn.PReLU(), nn.PReLU(12), cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        return self.many(self.conv(self.one(x - 0.5)))


# --- pointwise: parameters, buffers, attention --------------------------------------------------------


@case()
class ScaleAndBuffer(Wrapped):
    """Layer scale, a buffer, a constant tensor, a scalar parameter, and a position table."""

    def build(self) -> None:
        self.gamma = nn.Parameter(torch.rand(1, 12, 1, 1))
        self.register_buffer("offset", torch.randn(12, 1, 1))
        self.table, self.scalar = nn.Parameter(torch.randn(1, 12, 16, 16)), nn.Parameter(torch.rand(()))
        self.conv = cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        y = self.conv(x) * self.gamma + self.offset + self.table
        return y * self.scalar + torch.arange(12.0).view(12, 1, 1) + x


@case()
class Elementwise(Wrapped):
    def build(self) -> None:
        self.acts = nn.Sequential(
            nn.SiLU(),
            nn.GELU(),
            nn.Hardswish(),
            nn.ELU(),
            nn.LeakyReLU(),
            nn.Mish(),
            nn.Softplus(),
            nn.Identity(),
        )
        self.a, self.b = cbr(12, 12), cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        a, b = self.acts(self.a(x)), torch.sigmoid(self.b(x)).clamp(0.1, 0.9)
        y = torch.maximum(a, b) - a / (b + 1) * 0.5
        y = torch.where(y > 0, y, 0.1 * y).abs().sqrt() + torch.lerp(a, b, 0.3)
        return F.hardtanh(F.leaky_relu(y.tanh(), 0.2), -0.9, 0.9).pow(2)


@case()
class SizeArithmetic(Wrapped):
    """The channel count itself enters the numbers: it must stay what it was."""

    def build(self) -> None:
        self.conv = cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        x = x / x.shape[1] + x.sum(1, keepdim=True) / x.size(1)
        return self.conv(x) * x.shape[1] ** -0.5


@case()
class SqueezeExcite(Wrapped):
    """Channel attention, by 1x1 convolutions and by linear layers with a view."""

    def build(self) -> None:
        self.a, self.b = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)
        self.c, self.d = nn.Linear(12, 6), nn.Linear(6, 12)
        self.conv = cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        x = x * torch.sigmoid(self.b(F.relu(self.a(x.mean((2, 3), keepdim=True)))))
        y = self.conv(x)
        b, c, _, _ = y.size()
        s = F.adaptive_avg_pool2d(y, 1).view(b, c)
        return x + y * F.hardsigmoid(self.d(self.c(s).relu())).view(b, c, 1, 1).expand_as(y)


@case()
class EfficientAttention(Wrapped):
    """ECA: a 1-D convolution over the channel axis mixes channels with positions."""

    def build(self) -> None:
        self.mix, self.conv = nn.Conv1d(1, 1, 3, padding=1, bias=False), cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        y = self.mix(x.mean((2, 3)).unsqueeze(1)).squeeze(1)
        return self.conv(x * torch.sigmoid(y)[:, :, None, None])


@case(reasons=("over channels",))
class SpatialAttention(Wrapped):
    """CBAM's map: the maximum over channels needs them all, the map is broadcast over channels."""

    def build(self) -> None:
        self.map, self.conv = nn.Conv2d(2, 1, 3, padding=1), cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        y = torch.cat([x.mean(1, keepdim=True), x.max(1, keepdim=True)[0]], 1)
        return self.conv(x * torch.sigmoid(self.map(y)))


@case()
class MeanAttention(Wrapped):
    """A spatial map from the mean alone: that is a sum which reads the channels."""

    def build(self) -> None:
        self.map, self.conv = nn.Conv2d(1, 4, 3, padding=1), cbr(12, 12)
        self.one = nn.Conv2d(4, 1, 1)

    def body(self, x: Tensor) -> Tensor:
        y = self.map(torch.mean(x, dim=1, keepdim=True)).relu()
        return self.conv(x * torch.sigmoid(self.one(y)))


@case()
class GatedUnits(Wrapped):
    out = 8

    def build(self) -> None:
        self.a, self.b = nn.Conv2d(12, 24, 1), nn.Conv2d(12, 16, 1)
        self.glu = nn.GLU(1)

    def body(self, x: Tensor) -> Tensor:
        return F.glu(self.b(self.glu(self.a(x))), dim=-3)


@case(trains=False)
class InPlace(Wrapped):
    """In-place operations, and the old name of a tensor used after it was changed."""

    def build(self) -> None:
        self.a, self.b, self.act = cbr(12, 12), cbr(12, 12), nn.ReLU(inplace=True)

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x) - 0.5
        z = self.act(y)
        y.add_(x).mul_(0.5)
        y += self.b(y + z)
        F.relu(y, inplace=True)
        return y.clamp_(max=3)


@case(trains=False)
class WritesIntoView(Wrapped):
    """An in-place operation on a part of a tensor that is used whole afterwards."""

    def build(self) -> None:
        self.a, self.b = cbr(12, 12), cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x)
        y.narrow(1, 0, 4).mul_(2.0)
        return self.b(y)


# --- movers ------------------------------------------------------------------------------------------


@case()
class Concatenations(Wrapped):
    """A tensor with itself, with its own relu, with a constant, and of three branches."""

    out = 40

    def build(self) -> None:
        self.a, self.b, self.c = cbr(12, 6), cbr(24, 8), cbr(24, 12)
        self.d, self.e = cbr(18, 7), cbr(14, 13)

    def body(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(torch.cat([x, x], 1))
        c = self.c(torch.cat((x - 0.3, F.relu(x - 0.3)), dim=-3))
        d = self.d(torch.cat([c, a], axis=1))
        e = self.e(torch.cat([d, torch.zeros_like(d)], 1))
        ones = x.new_ones(x.size(0), 1, x.size(2), x.size(3))
        return torch.concat([a, b, c, e, ones], 1)


@case()
class Splits(Wrapped):
    """Uneven split, chunk, slices (plain, stepped, negative, with Ellipsis), index_select, unbind, narrow."""

    out = 25

    def build(self) -> None:
        self.register_buffer("order", torch.tensor([3, 1, 11, 5, 5]))
        self.a, self.b, self.c, self.d = cbr(3, 4), cbr(7, 4), cbr(2, 4), cbr(4, 3)
        self.e, self.f, self.g = cbr(5, 3), cbr(12, 12), cbr(6, 2)
        self.h = cbr(4, 5)

    def body(self, x: Tensor) -> Tensor:
        x = torch.cat(x.split([5, 7], 1), 1)
        a, b, c = torch.split(x, [3, 7, 2], dim=1)
        parts = self.f(x).chunk(3, 1)
        e = self.e(torch.index_select(x, 1, self.order)) + self.e(x[:, [0, 1, 2, 3, 4]])
        g = self.g(x[:, ::2]) + self.g(x[..., 3:9, :, :]) + self.g(x[:, -6:, :, :])
        h = self.h(x.narrow(1, 4, 4)) * x[:, 2:3].mean()
        return torch.cat([self.a(a), self.b(b), self.c(c), self.d(parts[0] + parts[2]), e, g, h], 1)


@case()
class SplitAdd(Wrapped):
    """Res2Net: parts of one tensor, each with its own convolution, in a chain."""

    def build(self) -> None:
        self.convs = nn.ModuleList(cbr(3, 3) for _ in range(3))

    def body(self, x: Tensor) -> Tensor:
        parts = x.split(3, 1)
        outs, last = [parts[0]], parts[0]
        for conv, part in zip(self.convs, parts[1:], strict=True):
            last = conv(last + part)
            outs.append(last)
        return torch.cat(outs, 1)


@case()
class CrossStage(Wrapped):
    """C2f of YOLOv8: chunk, a chain of bottlenecks, concat of all."""

    out = 10

    def build(self) -> None:
        self.enter, self.leave = cbr(12, 16, 1), cbr(32, 10, 1)
        self.inner = nn.ModuleList(nn.Sequential(cbr(8, 6), cbr(6, 8)) for _ in range(2))

    def body(self, x: Tensor) -> Tensor:
        y = list(self.enter(x).chunk(2, 1))
        y.extend(m(y[-1]) + y[-1] for m in self.inner)
        return self.leave(torch.cat(y, 1))


@case()
class Stacks(Wrapped):
    """stack to a new axis, then sum or mean over it."""

    def build(self) -> None:
        self.a, self.b = cbr(12, 12), cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        y = torch.stack([self.a(x), self.b(x)], dim=0).mean(0)
        return torch.stack((y, x), 1).sum(1)


@case()
class Interleave(Wrapped):
    """stack and flatten: channels of two branches take turns."""

    out = 24

    def build(self) -> None:
        self.a, self.b = cbr(12, 12), cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        return torch.stack([self.a(x), self.b(x)], dim=2).flatten(1, 2)


@case()
class Views(Wrapped):
    """view, reshape, permute, transpose, squeeze, unsqueeze, unflatten, with fixed and computed sizes."""

    def build(self) -> None:
        self.a, self.b, self.un = cbr(12, 12), cbr(12, 12), nn.Unflatten(1, (12, 4))

    def body(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        y = self.a(x).view(n, 12, -1).transpose(1, -1).permute(0, 2, 1)
        y = y.reshape(n, c, h, w).unsqueeze(0).squeeze(0)
        y = self.b(torch.swapaxes(y, 2, 3)).flatten(2).unflatten(2, (h, w)).movedim(-1, -2)
        z = x[:, :, ::2, ::2].reshape(n, 48, -1)
        return y + self.un(z).mean((2, 3))[:, :, None, None].contiguous().clone()


@case()
class Shuffles(Wrapped):
    """Channel shuffle by hand, by the function and by the module."""

    def build(self) -> None:
        self.a, self.b, self.c = (nn.Conv2d(12, 12, 3, groups=g, padding=1) for g in (3, 2, 1))
        self.shuffle = nn.ChannelShuffle(4)

    def body(self, x: Tensor) -> Tensor:
        n, c, h, w = x.size()
        x = self.a(x).view(n, 3, c // 3, h, w).transpose(1, 2).contiguous().view(n, -1, h, w)
        x = self.c(F.channel_shuffle(self.b(x), 2))
        return self.shuffle(x).relu()


@case()
class ShuffleAndFlip(Wrapped):
    """A shuffle whose chain of views also turns the image: no single gather of channels does that."""

    def build(self) -> None:
        self.a, self.b = cbr(12, 12), cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        n, c, h, w = x.size()
        x = self.a(x).view(n, 3, 4, h, w).permute(0, 2, 1, 4, 3).reshape(n, c, w, h)
        return self.b(x.flip(1).roll(2, 1))


@case()
class ShuffleUnit(nn.Module):
    """ShuffleNetV2's two units."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = cbr(3, 8)
        deep = lambda c, s: nn.Conv2d(c, c, 3, s, 1, groups=c, bias=False)  # noqa: E731
        self.left = nn.Sequential(deep(8, 2), nn.BatchNorm2d(8), cbr(8, 10, 1))
        self.right = nn.Sequential(cbr(8, 10, 1), deep(10, 2), nn.BatchNorm2d(10), cbr(10, 10, 1))
        self.unit = nn.Sequential(cbr(10, 10, 1), deep(10, 1), nn.BatchNorm2d(10), cbr(10, 10, 1))
        self.head = Head(20)

    @staticmethod
    def shuffle(x: Tensor, groups: int = 2) -> Tensor:
        n, c, h, w = x.size()
        return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.shuffle(torch.cat((self.left(x), self.right(x)), 1))
        a, b = x.chunk(2, dim=1)
        return self.head(self.shuffle(torch.cat((a, self.unit(b)), 1)))


@case()
class Pixels(Wrapped):
    """Pixel shuffle and unshuffle, functions and modules."""

    out = 4

    def build(self) -> None:
        self.un, self.a = nn.PixelUnshuffle(2), cbr(48, 16)
        self.up, self.b = nn.PixelShuffle(2), cbr(4, 16)

    def body(self, x: Tensor) -> Tensor:
        x = self.up(self.a(self.un(x)))
        return F.pixel_shuffle(F.pixel_unshuffle(F.pixel_shuffle(self.b(x), 2), 2), 2)


@case()
class Pads(Wrapped):
    """Channel pads (both signs, zero and constant, modules) and spatial pads (zero, reflect, replicate)."""

    out = 18

    def build(self) -> None:
        self.a, self.b, self.c = cbr(17, 12), cbr(9, 12), cbr(15, 12)
        self.edges = nn.Sequential(nn.ReflectionPad2d(1), nn.ReplicationPad2d((1, 0, 0, 1)), nn.ZeroPad2d(1))
        self.deep = nn.ConstantPad3d((0, 0, 1, 0, 2, 1), 0.7)

    def body(self, x: Tensor) -> Tensor:
        x = self.a(F.pad(x, (0, 0, 0, 0, 2, 3)))
        x = self.b(F.pad(x, [0, 0, 0, 0, -1, -2]))
        x = self.c(F.pad(F.pad(x, (1, 1, 1, 1), mode="circular"), (0, 0, 0, 0, 1, 2), "constant", 0.25))
        return F.pad(self.deep(self.edges(x)), (1, 1, 1, 1, 4, -1), value=0.0)


@case()
class PaddedShortcut(nn.Module):
    """The CIFAR ResNet's option A: stride and zero channels, twice."""

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.a = cbr(inputs, outputs, stride=stride)
            self.b, self.n = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs)
            self.more, self.stride = outputs - inputs, stride

        def forward(self, x: Tensor) -> Tensor:
            short = x[:, :, :: self.stride, :: self.stride]
            short = F.pad(short, (0, 0, 0, 0, self.more // 2, self.more - self.more // 2))
            return F.relu(self.n(self.b(self.a(x))) + short)

    def __init__(self) -> None:
        super().__init__()
        block = self.Block
        self.body = nn.Sequential(
            cbr(3, 8), block(8, 8, 1), block(8, 14, 2), block(14, 14, 1), block(14, 20, 2)
        )
        self.head = Head(20)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


# --- pooling, resizing, dropout ------------------------------------------------------------------------


@case()
class Pools(Wrapped):
    out = 24

    def build(self) -> None:
        self.pools = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 1, 1), nn.LPPool2d(2, 2))
        self.a, self.up = cbr(12, 12), nn.Upsample(scale_factor=2)
        self.smooth = nn.UpsamplingBilinear2d(scale_factor=2)

    def body(self, x: Tensor) -> Tensor:
        y = self.up(self.pools(self.a(x)))
        y = y + F.interpolate(F.max_pool2d(x, 2), size=x.shape[2:], mode="bilinear", align_corners=False)
        y = y + F.interpolate(F.avg_pool2d(self.smooth(y), 2), scale_factor=1.0)
        best = x.flatten(2).max(dim=2)[0] + x.amax((2, 3)) + torch.std(x, dim=(2, 3))
        spread = x.norm(p=2, dim=(2, 3)) + torch.sum(x, (2, 3))
        return torch.cat([y, (best + spread)[:, :, None, None].expand(-1, 12, 16, 16)], 1)


@case()
class Dropouts(Wrapped):
    """Dropout and stochastic depth, functions and modules: they must still be random when training."""

    def build(self) -> None:
        self.drop, self.drop2, self.path = nn.Dropout(0.2), nn.Dropout2d(0.2), StochasticDepth(0.3, "batch")
        self.a, self.b = cbr(12, 12), cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        y = F.dropout(self.drop(self.a(x)), 0.3, self.training)
        y = x + stochastic_depth(self.drop2(y), 0.3, "row", training=self.training)
        return y + self.path(F.dropout2d(self.b(y), p=0.1, training=self.training))


# --- whole shapes of networks --------------------------------------------------------------------------


@case()
class Residual(Wrapped):
    """Blocks whose inner channels may all go: with BatchNorm, bare, with bias, with squeeze-excite inside."""

    class Excite(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(width, 3, 1), nn.Conv2d(3, width, 1)

        def forward(self, x: Tensor) -> Tensor:
            return x * torch.sigmoid(self.b(F.relu(self.a(F.adaptive_avg_pool2d(x, 1)))))

    def build(self) -> None:
        self.normed = nn.Sequential(
            cbr(12, 8, 1), cbr(8, 8), nn.Conv2d(8, 12, 1, bias=False), nn.BatchNorm2d(12)
        )
        self.bare = nn.Sequential(nn.Conv2d(12, 7, 3, padding=1), nn.ReLU(), nn.Conv2d(7, 12, 1, bias=False))
        self.biased = nn.Sequential(nn.Conv2d(12, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 12, 1))
        self.excited = nn.Sequential(
            cbr(12, 9, 1), self.Excite(9), nn.Conv2d(9, 12, 1, bias=False), nn.BatchNorm2d(12)
        )
        self.outer = nn.Sequential(cbr(12, 5, 1), nn.Conv2d(5, 12, 1), nn.BatchNorm2d(12), self.Excite(12))
        self.path = StochasticDepth(0.1, "row")

    def body(self, x: Tensor) -> Tensor:
        x = F.relu(x + self.normed(x))
        x = x + self.bare(x)
        x += self.biased(x)
        x = self.path(self.excited(x)) + x
        return x + self.outer(x)


@case((1, 3, 16, 16))
class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = cbr(3, 6), cbr(6, 8), cbr(8, 10)
        self.up1, self.up2 = nn.ConvTranspose2d(10, 8, 2, 2), nn.ConvTranspose2d(8, 6, 2, 2)
        self.d, self.e, self.last = cbr(16, 8), cbr(12, 6), nn.Conv2d(6, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.a(x)
        b = self.b(F.max_pool2d(a, 2))
        c = self.c(F.max_pool2d(b, 2))
        x = self.d(torch.cat([self.up1(c), b], 1))
        return self.last(self.e(torch.cat([a, self.up2(x)], 1)))


@case()
class Inception(Wrapped):
    out = 20

    def build(self) -> None:
        self.a, self.b = cbr(12, 4, 1), nn.Sequential(cbr(12, 5, 1), cbr(5, 6))
        self.c, self.d = nn.Sequential(cbr(12, 3, 1), cbr(3, 4), cbr(4, 5)), cbr(12, 5, 1)

    def body(self, x: Tensor) -> Tensor:
        pooled = F.avg_pool2d(x, 3, stride=1, padding=1)
        return torch.cat([self.a(x), self.b(x), self.c(x), self.d(pooled)], 1)


@case()
class Dense(Wrapped):
    out = 24

    def build(self) -> None:
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(12 + 4 * i), nn.ReLU(), cbr(12 + 4 * i, 4)) for i in range(3)
        )

    def body(self, x: Tensor) -> Tensor:
        result = [x]
        for layer in self.layers:
            result.append(layer(torch.cat(result, 1)))
        return torch.cat(result, 1)


@case()
class UsedTwice(Wrapped):
    """One module at two places, one tensor under two names."""

    def build(self) -> None:
        self.a, self.b, self.shared = cbr(12, 8), cbr(12, 8), cbr(8, 6)
        self.c, self.d = nn.Conv2d(12, 10, 1, bias=False), nn.Conv2d(12, 10, 1, bias=False)
        self.d.weight = self.c.weight
        self.e = cbr(10, 12)

    def body(self, x: Tensor) -> Tensor:
        y = torch.cat([self.shared(self.a(x)), self.shared(self.b(x))], 1)
        return self.e(self.c(x)) + self.e(self.d(y))


@case((2, 4, 8, 8), reasons=("outside its layer",))
class TiedTranspose(nn.Module):
    """An autoencoder whose decoder is the encoder's weight, transposed."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.enc, self.mid, self.out = (
            cbr(4, 8),
            nn.Linear(8, 6),
            nn.Linear(8, 10),
            nn.Linear(10, 3),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).mean((2, 3))
        x = F.linear(self.enc(x).relu(), self.enc.weight.t())
        return self.out(self.mid(x).relu())


@case((2, 3, 16, 16), (2, 5))
class TwoInputs(nn.Module):
    """Two inputs; the second modulates the first (FiLM)."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.film, self.b, self.head = cbr(3, 8), nn.Linear(5, 16), cbr(8, 6), Head(6)

    def forward(self, image: Tensor, vector: Tensor, scale: float = 1.0) -> dict[str, Tensor]:
        gain, shift = self.film(vector).chunk(2, -1)
        y = self.a(image) * gain[:, :, None, None] * scale + shift[..., None, None]
        return {"logits": self.head(self.b(y)), "features": y}


@case((1, 3, 32, 32))
class Pyramid(nn.Module):
    """An FPN neck: lateral convolutions, top-down sums, several outputs in a dict, a list and a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([cbr(3, 6, stride=2), cbr(6, 8, stride=2), cbr(8, 12, stride=2)])
        self.lateral = nn.ModuleList(nn.Conv2d(c, 10, 1) for c in (6, 8, 12))
        self.smooth = nn.ModuleList(cbr(10, 9) for _ in range(3))
        self.box, self.score = nn.Conv2d(9, 4, 1), nn.Conv2d(9, 2, 1)

    def forward(self, x: Tensor) -> dict[str, object]:
        collected = []
        for stage in self.stages:
            x = stage(x)
            collected.append(x)
        levels = {str(i): conv(f) for i, (conv, f) in enumerate(zip(self.lateral, collected, strict=True))}
        for i in (1, 0):
            levels[str(i)] = levels[str(i)] + F.interpolate(
                levels[str(i + 1)], size=levels[str(i)].shape[-2:]
            )
        smooth = [conv(levels[str(i)]) for i, conv in enumerate(self.smooth)]
        return {
            "box": [self.box(s) for s in smooth],
            "score": tuple(self.score(s).flatten(2) for s in smooth),
        }


@case()
class SplitAttention(Wrapped):
    """ResNeSt: the softmax and the sum run over a radix axis beside the channels."""

    def build(self) -> None:
        self.conv, self.n = nn.Conv2d(12, 24, 3, padding=1, groups=2, bias=False), nn.BatchNorm2d(24)
        self.fc1, self.fc2 = nn.Conv2d(12, 8, 1), nn.Conv2d(8, 24, 1)

    def body(self, x: Tensor) -> Tensor:
        x = self.n(self.conv(x)).relu()
        n, rc, h, w = x.shape
        x = x.reshape(n, 2, rc // 2, h, w)
        gap = F.adaptive_avg_pool2d(x.sum(dim=1), 1)
        gate = F.softmax(self.fc2(self.fc1(gap).relu()).view(n, 1, 2, -1).transpose(1, 2), dim=1)
        return (x * gate.reshape(n, 2, rc // 2, 1, 1)).sum(dim=1)


@case((2, 3, 16, 16), reasons=("matrix product",))
class Attention(Wrapped):
    """A vision transformer's block: attention stays as it is, the MLP may shrink."""

    def build(self) -> None:
        self.norm, self.qkv, self.proj = nn.LayerNorm(12), nn.Linear(12, 36), nn.Linear(12, 12)
        self.up, self.down = nn.Linear(12, 24), nn.Linear(24, 12)

    def body(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        t = x.flatten(2).transpose(1, 2)
        q, k, v = self.qkv(self.norm(t)).reshape(n, h * w, 3, 3, c // 3).permute(2, 0, 3, 1, 4).unbind(0)
        a = ((q @ k.transpose(-2, -1)) * (c // 3) ** -0.5).softmax(-1)
        t = t + self.proj(torch.matmul(a, v).transpose(1, 2).reshape(n, h * w, c))
        t = t + self.down(F.gelu(self.up(t)))
        return t.transpose(1, 2).reshape(n, c, h, w)


@case(reasons=("no rule for multi_head_attention",), flops=False)
class LibraryAttention(Wrapped):
    def build(self) -> None:
        self.attention, self.conv = nn.MultiheadAttention(12, 3, batch_first=True), cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        t = x.flatten(2).transpose(1, 2)
        t = self.attention(t, t, t, need_weights=False)[0]
        return self.conv(t.transpose(1, 2).reshape(x.shape))


@case()
class ParameterProduct(Wrapped):
    """x @ W with a parameter is a linear layer."""

    out = 6

    def build(self) -> None:
        self.w, self.v = nn.Parameter(torch.randn(12, 9)), nn.Parameter(torch.randn(9, 6))

    def body(self, x: Tensor) -> Tensor:
        y = torch.matmul((x.permute(0, 2, 3, 1) @ self.w).relu(), self.v)
        return y.permute(0, 3, 1, 2)


@case(reasons=("no rule for fft", "no rule for sort"))
class Unknown(Wrapped):
    """Operations without a rule protect what reaches them, and name themselves."""

    def build(self) -> None:
        self.a, self.b, self.c = cbr(12, 8), cbr(8, 8), cbr(8, 12)

    def body(self, x: Tensor) -> Tensor:
        y = torch.sort(self.b(torch.fft.fft2(self.a(x)).real), dim=1)[0]
        return self.c(y)


@case(reasons=("no rule for einsum",), flops=False)
class Einsum(Wrapped):
    def build(self) -> None:
        self.a, self.b = cbr(12, 8), cbr(8, 12)

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x)
        return self.b(y * torch.einsum("bchw,bchw->bc", y, y).sigmoid()[:, :, None, None])


@case()
class PythonOnSizes(Wrapped):
    """Sizes steer Python: comparisons, loops, len(), assertions, unpacking."""

    def build(self) -> None:
        self.a, self.b = cbr(12, 12), cbr(12, 12)

    def body(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 12 and len(x.shape) == 4
        torch._assert(x.size(1) % 12 == 0, "twelve channels")
        y = self.a(x)
        for _ in range(x.size(2) // 8):
            y = self.b(y)
        *_, h, w = y.shape
        if h != w or bool(y.shape[0] > 99):
            y = y.transpose(2, 3)
        return y if y.dim() == 4 and y.is_floating_point() else x


@case(reasons=("reads the content",), trains=False, exports=False)
class ContentAsNumber(Wrapped):
    """Numbers taken from tensors enter the arithmetic, but steer nothing."""

    def build(self) -> None:
        self.a, self.b = cbr(12, 8), cbr(8, 12)

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x)
        y = y * y.mean().item() + max(y.shape) * 0.01
        return self.b(y) * torch.equal(y, y.relu())


@case((3, 16, 16), flops=False)
class Unbatched(nn.Module):
    """No batch axis: channels come first."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.fc = (
            nn.Conv2d(3, 8, 3),
            nn.Conv2d(8, 6, 3),
            nn.InstanceNorm2d(6),
            nn.Linear(6, 4),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.c(self.b(F.max_pool2d(self.a(x).relu(), 2))).mean((-1, -2)))


@case()
class FastNormalisedFusion(Wrapped):
    """BiFPN's weighted sum, with weights that pass through relu and a sum."""

    def build(self) -> None:
        self.a, self.b, self.w = cbr(12, 12), cbr(12, 12), nn.Parameter(torch.rand(2))

    def body(self, x: Tensor) -> Tensor:
        w = F.relu(self.w)
        w = w / (w.sum() + 1e-4)
        return self.a(x) * w[0] + self.b(x) * w[1]
