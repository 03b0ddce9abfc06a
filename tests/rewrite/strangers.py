"""More small networks as strangers write them: hooks, state, branches, inputs, containers, types."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from rewrite.networks import Body, Inputs, case, conv, images

# --- hooks ---------------------------------------------------------------------------------------------


def scale_keyword(module: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """A hook that changes a keyword argument."""
    return args, {**kwargs, "scale": kwargs["scale"] * 2}


def add_first_input(module: nn.Module, args: Any, kwargs: Any, out: Tensor) -> Tensor:
    """A hook that makes a residual block of any layer."""
    return out + args[0] * kwargs["scale"]


@case()
class KeywordHooks(Body):
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = conv(8, 8)

        def forward(self, x: Tensor, *, scale: float = 1.0) -> Tensor:
            return self.a(x) * scale

    def build(self) -> None:
        self.a, self.b = self.Scaled(), self.Scaled()
        self.a.register_forward_pre_hook(scale_keyword, with_kwargs=True)
        self.b.register_forward_hook(add_first_input, with_kwargs=True)

    def body(self, x: Tensor) -> Tensor:
        return self.b(self.a(x, scale=0.5).relu(), scale=0.3)


def halve(gradient: Tensor) -> Tensor:
    """A hook on a tensor's gradient."""
    return gradient / 2


def leave(module: nn.Module, incoming: Any, outgoing: Any) -> None:
    """A backward hook that only looks."""


@case()
class GradientHooks(Body):
    """Hooks on modules' and tensors' gradients: torch puts autograd functions around such modules."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        self.a.register_full_backward_hook(leave)

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x).relu()
        if y.requires_grad:
            y.register_hook(halve)
        return self.b(y)


# --- state and branches --------------------------------------------------------------------------------


@case()
class RunningMeans(Body):
    """A buffer with a value for each channel that follows the data in training, and a counter."""

    def build(self) -> None:
        self.a, self.b, self.steps = conv(8, 8), conv(8, 8), 0
        self.register_buffer("means", torch.rand(8))

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x)
        if self.training:
            self.steps += 1
            with torch.no_grad():
                self.means.mul_(0.9).add_(y.mean((0, 2, 3)), alpha=0.1)
        return self.b(y - self.means.view(1, -1, 1, 1))


@case()
class ReplacedBuffer(Body):
    """The same with a new tensor each time, and one written with out=."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        self.register_buffer("means", torch.rand(8))
        self.register_buffer("largest", torch.rand(8))

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x)
        if self.training:
            self.means = 0.9 * self.means + 0.1 * y.detach().mean((0, 2, 3))
            torch.amax(y.detach(), (0, 2, 3), out=self.largest)
        return self.b(y - (self.means + self.largest)[:, None, None])


@case()
class ContentDecides(Body):
    """The image steers Python: the path taken is cut, by a sum; the mean of other channels is another number."""

    def build(self) -> None:
        self.a, self.b, self.c = conv(8, 8), conv(8, 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x).relu()
        return self.b(y) if y.sum().item() > -1 else self.c(y)


@case(rewritten=("",))
class WidthDecides(Body):
    """A width steers Python: the cut network goes the original's way."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x)
        if y.shape[1] == 8:
            y = y.relu()
        return self.b(y)


@case(larger=images(7))
class SizeLoop(Body):
    """As many steps as the image needs."""

    def build(self) -> None:
        self.a, self.down = conv(8, 8), nn.Conv2d(8, 8, 3, 2, 1)

    def body(self, x: Tensor) -> Tensor:
        while x.shape[-1] > 2:
            x = self.down(self.a(x).relu()).relu()
        return x


@case(random=True)
class DropPathByHand(Body):
    """timm's drop_path as a function, in a list of blocks."""

    def build(self) -> None:
        self.blocks = nn.ModuleList(conv(8, 8) for _ in range(2))

    def drop(self, x: Tensor, share: float = 0.3) -> Tensor:
        if not self.training:
            return x
        mask = x.new_empty((x.shape[0],) + (1,) * (x.ndim - 1)).bernoulli_(1 - share)
        return x * mask.div_(1 - share)

    def body(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = x + self.drop(block(x).relu())
        return x


# --- inputs and outputs ----------------------------------------------------------------------------------


@dataclass
class Batch:
    """What a loader gives."""

    pictures: Tensor
    vector: Tensor
    names: tuple[str, ...] = ("a", "b")


def batch(count: int) -> Inputs:
    return (Batch(images()(count)[0], torch.randn(count, 5, dtype=torch.float64)),)


@case(batch, larger=None)
class DataclassInput(Body):
    def build(self) -> None:
        self.a, self.by = conv(8, 8), nn.Linear(5, 8)

    def forward(self, batch: Batch) -> dict[str, Any]:  # type: ignore[override]
        y = self.a(self.stem(batch.pictures).relu()) * self.by(batch.vector)[:, :, None, None]
        return {"out": {"scores": [self.head(y.mean((2, 3)))]}, "names": batch.names}


def labelled(count: int) -> Inputs:
    return images()(count)[0], torch.arange(count) % 3


@case(labelled, larger=None, rewritten=("",))
class ClassConditional(Body):
    """Whole numbers as a second input: an embedding gives each channel a gain."""

    def build(self) -> None:
        self.a, self.table, self.b = conv(8, 8), nn.Embedding(3, 8), conv(8, 8)

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        y = self.a(self.stem(x).relu())
        if label is not None:
            y = y * self.table(label)[:, :, None, None]
        return self.head(self.b(y).mean((2, 3)))


# --- containers, names, calls --------------------------------------------------------------------------


def twice(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function that gets a layer."""
    return layer(layer(x))


@case(pickles=False)
class LambdaMembers(Body):
    """Lambdas, partials and bound methods as members, modules found by name and by index, slices of containers."""

    def build(self) -> None:
        self.act = lambda x: F.leaky_relu(x, 0.2)
        self.pool = functools.partial(F.avg_pool2d, kernel_size=2)
        self.conv0, self.conv1 = conv(8, 8), conv(8, 8)
        self.run = self.inner
        self.blocks = nn.ModuleList([conv(8, 8), conv(8, 8)])
        self.chain = nn.Sequential(conv(8, 8), nn.ReLU(), conv(8, 8), nn.Tanh())

    def inner(self, x: Tensor) -> Tensor:
        return twice(self.conv1, x)

    def body(self, x: Tensor) -> Tensor:
        for index in range(2):
            x = self.act(getattr(self, f"conv{index}")(x))
        for index in (1, 0, 1):
            x = self.blocks[index % 2](x)
        return self.chain[2:](self.chain[:2](self.pool(self.run(x))))


@case()
class OtherForward(Body):
    """forward is another method of the instance, chosen when it is made; a call operator of its own."""

    class Either(nn.Module):
        def __init__(self, deploy: bool) -> None:
            super().__init__()
            self.a, self.b = conv(8, 8), conv(8, 8)
            if deploy:
                self.forward = self.deployed  # type: ignore[method-assign]

        def deployed(self, x: Tensor) -> Tensor:
            return self.b(self.a(x).relu())

        def forward(self, x: Tensor) -> Tensor:
            raise NotImplementedError

        def __call__(self, x: Tensor) -> Any:
            return super().__call__(x) + x

    def build(self) -> None:
        self.block = self.Either(deploy=True)

    def body(self, x: Tensor) -> Tensor:
        return self.block(x)


@case(pickles=False)
class TracedPart(Body):
    """A part that torch.jit.trace made."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        part = nn.Sequential(conv(8, 8), nn.ReLU()).double()
        self.part = torch.jit.trace(part, torch.rand(2, 8, 8, 8, dtype=torch.float64))

    def body(self, x: Tensor) -> Tensor:
        return self.part(self.b(self.a(x).relu()))


# --- gradients ----------------------------------------------------------------------------------------------


class _Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor) -> Tensor:
        ctx.save_for_backward(x, gain)
        return x * x.sigmoid() * gain

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, gain = ctx.saved_tensors
        s = x.sigmoid()
        own = gradient * gain * s * (1 + x * (1 - s))
        return own, (gradient * x * s).sum((0, 2, 3), keepdim=True)


@case()
class OwnGradients(Body):
    """A memory-saving activation with a learned gain for each channel, under a checkpoint."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        self.gain = nn.Parameter(torch.rand(1, 8, 1, 1))

    def part(self, x: Tensor) -> Tensor:
        return _Swish.apply(self.a(x), self.gain)

    def body(self, x: Tensor) -> Tensor:
        return self.b(checkpoint(self.part, x, use_reentrant=False))


# --- channels by place ----------------------------------------------------------------------------------


@case(rewritten=None)
class ChannelTables(Body):
    """A table of positions, a gain for each channel, and a fixed order of channels."""

    def build(self) -> None:
        self.a, self.b, self.c = conv(8, 8), conv(8, 8), conv(8, 8)
        self.position = nn.Parameter(torch.randn(1, 8, 4, 4))
        self.register_buffer("order", torch.tensor([3, 1, 0, 2, 7, 6, 4, 5]))
        self.register_buffer("gains", torch.rand(8))

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x) + F.interpolate(self.position, size=x.shape[2:], mode="bilinear")
        y = self.b(y[:, self.order].relu())
        return self.c((y.permute(0, 2, 3, 1) * self.gains).permute(0, 3, 1, 2))


@case(rewritten=None)
class PickedChannels(Body):
    """Channels are read by lists, index_select and unbind."""

    width = 6

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(9, 6)

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x).relu()
        parts = [y[:, [0, 3, 5]], y.index_select(1, torch.tensor([1, 2])), torch.stack(y.unbind(1)[4:], 1)]
        return self.b(torch.cat(parts, 1))


@case(rewritten=None)
class Windows(Body):
    """Swin-like: windows by view and permute, a linear layer, and back."""

    def build(self) -> None:
        self.a, self.b, self.c = nn.Linear(8, 12), nn.Linear(12, 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = x.permute(0, 2, 3, 1).contiguous().view(b, h // 4, 4, w // 4, 4, c)
        y = y.permute(0, 1, 3, 2, 4, 5).contiguous().view(-1, 16, c)
        y = self.b(F.gelu(self.a(y)))
        y = y.view(b, h // 4, w // 4, 4, 4, -1).permute(0, 1, 3, 2, 4, 5).reshape(b, h, w, -1)
        return x + self.c(y.permute(0, 3, 1, 2))


@case(rewritten=None)
class SelectiveKernel(Body):
    """Branches are stacked and weighed by a softmax over branches, for each channel."""

    def build(self) -> None:
        self.branches = nn.ModuleList([conv(8, 8), conv(8, 8, 5)])
        self.squeeze, self.excite, self.out = nn.Linear(8, 4), nn.Linear(4, 16), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        stack = torch.stack([branch(x) for branch in self.branches], 1)
        weights = self.excite(self.squeeze(stack.sum(1).mean((2, 3))).relu())
        weights = weights.view(len(x), 2, -1).softmax(1)[..., None, None]
        return self.out((stack * weights).sum(1))


@case(rewritten=None)
class AttentionByHand(Body):
    """Heads by reshape, products by einsum and @: what meets in a product of activations stays."""

    def build(self) -> None:
        self.a, self.qkv, self.out = conv(8, 8), conv(8, 24, 1), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        b, _, h, w = x.shape
        q, k, v = self.qkv(self.a(x).relu()).reshape(b, 3, 2, 4, h * w).unbind(1)
        weights = torch.einsum("bhcn,bhcm->bhnm", q, k).mul(0.5).softmax(-1)
        return self.out((v @ weights.transpose(-2, -1)).reshape(b, 8, h, w))


@case(classes=24)
class SelectedByContent(Body):
    """The best positions by score, as many as the image has: sizes follow from what is in it."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        self.score, self.box = conv(8, 1, 1), conv(8, 4, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y = self.b(self.a(self.stem(x).relu()).relu())
        scores, boxes = self.score(y).flatten(), self.box(y).movedim(1, -1).reshape(-1, 4)
        keep = torch.nonzero(scores > scores.mean()).squeeze(1)
        best = boxes[keep]
        return scores[keep], best[best[:, 0] > -9] * 2


@case(classes=24)
class ManyOperations(Body):
    """where, masks, pixel shuffles, differences of neighbours, sums of lists."""

    def build(self) -> None:
        self.a, self.b, self.up, self.c = conv(8, 8), conv(8, 8), conv(8, 32), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        y = torch.where(a > b, a, b * 0.5).clamp(min=-1)
        y = sum([y, a.masked_fill(b < 0, 0.0), torch.maximum(a, b)])
        y = F.avg_pool2d(F.pixel_shuffle(self.up(y), 2), 2)
        return self.c(y - y.roll(1, 2) + y.flip(3) * torch.rsqrt(y.square().mean((2, 3), keepdim=True) + 1))
