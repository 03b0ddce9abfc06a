"""Small networks whose weights are computed: pruned where that is exact, else left alone, with what to do about it."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from rewrite.networks import Body, case, conv


class ScaledStandardisedConv(nn.Conv2d):
    """timm's ScaledStdConv2d: rows of the weight are standardised and have a gain."""

    def __init__(self, inputs: int, outputs: int, groups: int = 1) -> None:
        super().__init__(inputs, outputs, 3, padding=1, groups=groups)
        self.gain = nn.Parameter(torch.rand(outputs, 1, 1, 1) + 0.5)
        self.scale = self.weight[0].numel() ** -0.5

    def forward(self, x: Tensor) -> Tensor:
        rows = self.weight.reshape(1, self.out_channels, -1)
        gains = (self.gain * self.scale).view(-1)
        weight = F.batch_norm(rows, None, None, weight=gains, training=True, momentum=0.0, eps=1e-6)
        weight = weight.reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias, self.stride, self.padding, self.dilation, self.groups)


@case(classes=16, reasons=("put a plain layer with the computed weight in its place",))
class NormFreeBlock(Body):
    """nf_resnet: gated residual blocks of such convolutions, with a learned gain of the branch."""

    def build(self) -> None:
        self.a, self.b, self.c = conv(8, 8, 1), ScaledStandardisedConv(8, 8), ScaledStandardisedConv(8, 8, 8)
        self.d, self.skip_gain = conv(8, 8, 1), nn.Parameter(torch.tensor(0.3))

    def body(self, x: Tensor) -> Tensor:
        y = self.c(self.b(F.silu(self.a(x)) * 1.79).relu())
        return x * 0.9 + self.d(y) * self.skip_gain


@case(reasons=("weight_norm: take it off (nn.utils.parametrize.remove_parametrizations)",), pickles=False)
class WeightNormTransposed(Body):
    """A transposed convolution's rows are its inputs; norms over another axis and over everything."""

    def build(self) -> None:
        self.a = parametrizations.weight_norm(nn.ConvTranspose2d(8, 8, 1))
        self.b = parametrizations.weight_norm(conv(8, 8), dim=1)
        self.c, self.d, self.e = nn.utils.weight_norm(conv(8, 8), dim=None), conv(8, 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.e(self.c(self.b(self.a(self.d(x)).relu()).relu()))


@case(reasons=("weight_norm: take it off (nn.utils.remove_weight_norm)",))
class WeightNormDepthwise(Body):
    def build(self) -> None:
        self.a, self.b = nn.utils.weight_norm(conv(8, 8, groups=8)), nn.utils.weight_norm(conv(8, 8))

    def body(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu()).relu()


@case(reasons=("computed by orthogonal",), pickles=False)
class Orthogonal(Body):
    def build(self) -> None:
        self.a, self.b = conv(8, 8), parametrizations.orthogonal(nn.Linear(8, 8))
        self.c = conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        y = self.c(self.a(x).relu())
        return y * self.b(y.mean((2, 3)))[:, :, None, None].sigmoid()


class Symmetric(nn.Module):
    """Mirrors the kernel."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight + weight.flip(-1)


@case(reasons=("computed by Symmetric: take it off",), pickles=False)
class OwnParametrisation(Body):
    """A parametrisation of the user's own: rows may go, what they read stays."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        nn.utils.parametrize.register_parametrization(self.b, "weight", Symmetric())

    def body(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu()).relu()


@case(classes=16)
class PruneLeftoversEverywhere(Body):
    """Masks on masks, on biases, on depthwise and linear layers."""

    def build(self) -> None:
        self.a, self.n, self.b, self.c = conv(8, 8), nn.BatchNorm2d(8), conv(8, 8, groups=8), nn.Linear(8, 8)
        for layer in (self.a, self.b, self.c):
            prune.random_unstructured(layer, "weight", amount=0.3)
            prune.l1_unstructured(layer, "weight", amount=0.2)
            prune.random_unstructured(layer, "bias", amount=2)
        prune.random_unstructured(self.n, "weight", amount=2)

    def body(self, x: Tensor) -> Tensor:
        y = self.b(self.n(self.a(x)).relu())
        return y * self.c(y.mean((2, 3)))[:, :, None, None]


@case(reasons=("computed from the network's input",))
class ConditionalConvolution(Body):
    """CondConv: each image mixes its own kernel from experts, all in one grouped convolution."""

    def build(self) -> None:
        self.a, self.routing, self.b = conv(8, 8), nn.Linear(8, 3), conv(8, 8)
        self.experts = nn.Parameter(torch.randn(3, 8 * 8 * 9) * 0.1)

    def body(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = self.a(x).relu()
        weight = (self.routing(y.mean((2, 3))).sigmoid() @ self.experts).view(b * 8, 8, 3, 3)
        return self.b(F.conv2d(y.reshape(1, b * 8, h, w), weight, padding=1, groups=b).view(b, 8, h, w))


@case(reasons=("computed from the network's input",))
class DynamicDepthwise(Body):
    """A kernel for each channel, from the image (involution and its like)."""

    def build(self) -> None:
        self.a, self.make, self.b = conv(8, 8), conv(8, 8 * 9, 1), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = self.b(self.a(x).relu())
        kernels = self.make(y.mean((2, 3), keepdim=True)).view(b * 8, 1, 3, 3)
        return F.conv2d(y.reshape(1, b * 8, h, w), kernels, padding=1, groups=b * 8).view(b, 8, h, w)


@case(reasons=("fft",))
class GlobalFilter(Body):
    """GFNet: a learned complex filter in the frequency domain, kept as pairs of real numbers."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        self.filter = nn.Parameter(torch.randn(8, 1, 1, 2))

    def body(self, x: Tensor) -> Tensor:
        y = torch.fft.rfft2(self.a(x)) * torch.view_as_complex(self.filter)
        return self.b(torch.fft.irfft2(y, s=x.shape[2:]).relu())


@case()
class ComplexWeights(Body):
    """Convolutions of complex numbers, and what makes them real again."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8, dtype=torch.complex128), conv(8, 8, dtype=torch.complex128)
        self.c = conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x.to(torch.complex128))).abs())


@case()
class SharedWithLearnedTensor(Body):
    """A layer's weight takes part in a product of its own; another's bias is added to a map."""

    def build(self) -> None:
        self.a, self.b, self.c = conv(8, 8, 1), conv(8, 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        y = self.b(self.a(x).relu()) + self.b.bias.view(-1, 1, 1)
        return self.c(y * self.a.weight.square().sum())


@case(rewritten=None, reasons=())
class FixedKernel(Body):
    """A blur of one kernel for all channels, repeated for as many as there are."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        self.register_buffer("kernel", torch.rand(1, 1, 3, 3))

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x).relu()
        kernel = self.kernel.repeat(y.shape[1], 1, 1, 1)
        y = F.conv2d(y, kernel, padding=1, groups=y.shape[1])
        return self.b(F.conv2d(y, self.kernel.expand(y.shape[1], 1, 3, 3), groups=y.size(1)))


@case(classes=24)
class OwnWeights(Body):
    """Convolutions and linear layers with parameters of the module's own, in a dict, a list and by name."""

    def build(self) -> None:
        self.weights = nn.ParameterDict({"first": nn.Parameter(torch.randn(8, 8, 3, 3) * 0.1)})
        self.listed = nn.ParameterList([nn.Parameter(torch.randn(8, 8) * 0.3), nn.Parameter(torch.rand(8))])
        self.kernel_2 = nn.Parameter(torch.randn(8, 8, 1, 1))

    def body(self, x: Tensor) -> Tensor:
        y = F.conv2d(x, self.weights["first"], padding=1).relu()
        y = F.conv2d(y, getattr(self, "kernel_2"), bias=self.listed[1])  # noqa: B009
        return F.linear(y.movedim(1, -1), self.listed[0]).movedim(-1, 1)


class Lora(nn.Module):
    """A frozen layer and a learned update of low rank."""

    def __init__(self, layer: nn.Conv2d) -> None:
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Conv2d(layer.in_channels, 2, 1, bias=False)
        self.up = nn.Conv2d(2, layer.out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Any:
        return self.layer(x) + self.up(self.down(x)) * 0.5


@case(classes=24)
class LowRankUpdates(Body):
    def build(self) -> None:
        self.a, self.b = Lora(conv(8, 8)), Lora(conv(8, 8))

    def body(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())
