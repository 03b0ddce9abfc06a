"""Small networks as people write them, each for a kind: what stands in their Python must survive being cut.

`CASES[name]` holds a factory and what is expected of it.
"""

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

Inputs = tuple[Any, ...]


def images(side: int = 8, channels: int = 3) -> Callable[[int], Inputs]:
    """Give a function from a batch to images; a larger side makes the second size."""
    return lambda batch: (torch.randn(batch, channels, side, side, dtype=torch.float64),)


@dataclass(frozen=True)
class Case:
    """One network, and what to expect of it.

    Attributes:
        make: the factory.
        inputs: from a batch to inputs in double precision.
        larger: the same at another image size; None where the network takes one size only.
        rewritten: modules whose forward must be another; None where it depends on the plan.
        reasons: words that must stand among the reasons of what is protected.
        classes: how many decisions there are, at least.
        pickles: whether torch can save the original: scripted and parametrised modules it cannot.
        random: whether training draws numbers, so that two runs differ.
        left_alone: whether some plans cannot be carried out whole.
    """

    make: Callable[[], nn.Module]
    inputs: Callable[[int], Inputs]
    larger: Callable[[int], Inputs] | None
    rewritten: tuple[str, ...] | None
    reasons: tuple[str, ...]
    classes: int
    pickles: bool
    random: bool
    left_alone: bool


CASES: dict[str, Case] = {}
IMAGES, LARGER = images(), images(12)


def case(
    inputs: Callable[[int], Inputs] = IMAGES,
    larger: Callable[[int], Inputs] | None = LARGER,
    rewritten: tuple[str, ...] | None = (),
    reasons: tuple[str, ...] = (),
    classes: int = 8,
    *,
    pickles: bool = True,
    random: bool = False,
    left_alone: bool = False,
) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Register a network."""

    def register(kind: type[nn.Module]) -> type[nn.Module]:
        CASES[kind.__name__] = Case(
            kind, inputs, larger, rewritten, reasons, classes, pickles, random, left_alone
        )
        return kind

    return register


def conv(inputs: int, outputs: int, size: int = 3, **more: Any) -> nn.Conv2d:
    """A convolution that keeps the image's size."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **more)


class Body(nn.Module):
    """A stem of 8 channels, `body`, and a head that reads ``width`` of them."""

    width = 8

    def __init__(self) -> None:
        super().__init__()
        self.stem = conv(3, 8)
        self.build()
        self.head = nn.Linear(self.width, 4)

    def build(self) -> None:
        """Make the layers of the body."""

    def body(self, x: Tensor) -> Tensor:
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(self.stem(x).relu()).mean((2, 3)))


# --- hooks, gradients, contexts ------------------------------------------------------------------------


class Keep:
    """A forward hook that puts what a layer gives into a dict."""

    def __init__(self, place: dict[str, Tensor], name: str) -> None:
        self.place, self.name = place, name

    def __call__(self, module: nn.Module, args: Any, out: Tensor) -> None:
        self.place[self.name] = out


@case()
class HookedFeatures(nn.Module):
    """Features are taken by forward hooks and read in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(3, 8), nn.ReLU(), conv(8, 10), nn.ReLU())
        self.seen: dict[str, Tensor] = {}
        for at in (1, 3):
            self.body[at].register_forward_hook(Keep(self.seen, str(at)))
        self.low, self.high, self.out = conv(8, 6, 1), conv(10, 6, 1), conv(6, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        self.body(x)
        return self.out((self.low(self.seen["1"]) + self.high(self.seen["3"])).relu())


def double_input(module: nn.Module, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A hook that changes what a layer is given."""
    return (args[0] * 2,)


def clip_output(module: nn.Module, args: Any, out: Tensor) -> Tensor:
    """A hook that changes what a layer gives."""
    return out.clamp(-1, 1)


@case()
class ChangingHooks(Body):
    def build(self) -> None:
        self.a = conv(8, 8)
        self.a.register_forward_pre_hook(double_input)
        self.a.register_forward_hook(clip_output)

    def body(self, x: Tensor) -> Tensor:
        return self.a(x)


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


@case()
class StraightThrough(Body):
    """Its own backward: gradients reach the stem."""

    def build(self) -> None:
        self.a = conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.a(_Sign.apply(x - 0.2)).relu()


@case()
class NoGradient(Body):
    """A part under no_grad, one detached: parameters there get no gradient."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            target = self.b(x)
        return self.a(x).relu() + target + x.detach()


@case()
class Autocast(Body):
    """A part under autocast, which leaves double precision alone."""

    def build(self) -> None:
        self.a = conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=x.dtype is torch.float32):
            return self.a(x).relu()


class _Block(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.a, self.n, self.b = conv(width, width), nn.BatchNorm2d(width), conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.n(self.a(x)).relu())


@case()
class Checkpointed(Body):
    """Activations are computed again in the backward pass."""

    def build(self) -> None:
        self.one, self.two = _Block(), nn.Sequential(conv(8, 8), nn.ReLU(), conv(8, 8))

    def body(self, x: Tensor) -> Tensor:
        x = checkpoint(self.one, x, use_reentrant=False)
        return checkpoint_sequential(self.two, 2, x, use_reentrant=False)


@case()
class ReentrantCheckpoint(Body):
    def build(self) -> None:
        self.one = nn.Sequential(conv(8, 8), nn.ReLU(), conv(8, 8))

    def body(self, x: Tensor) -> Tensor:
        return checkpoint(self.one, x, use_reentrant=True)


# --- state and branches --------------------------------------------------------------------------------


@case()
class CachedGrid(nn.Module):
    """A detector's head: raw maps in training, decoded boxes on a cached grid else."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 6, 1)
        self.shape: Any = None
        self.grid: Any = None

    def forward(self, x: Tensor) -> Any:
        y = self.head(self.body(x).relu())
        if self.training:
            return [y]
        if self.shape != y.shape:
            self.grid, self.shape = torch.arange(y.shape[2] * y.shape[3], dtype=y.dtype), y.shape
        return (y.flatten(2) + self.grid).transpose(1, 2), [y]


@case()
class SizeDecides(nn.Module):
    """A U-Net that resizes only where shapes differ."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.mid = conv(3, 8), conv(8, 12)
        self.up, self.out = nn.ConvTranspose2d(12, 8, 2, 2), nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down(x).relu()
        b = self.up(self.mid(F.max_pool2d(a, 2)).relu())
        if a.shape != b.shape:
            b = F.interpolate(b, a.shape[2:])
        return self.out(torch.cat([a, b], 1))


@case(larger=images(13))
class CropsWhereSizesDiffer(nn.Module):
    """The same with a crop, of the skip that is larger."""

    def __init__(self) -> None:
        super().__init__()
        self.down, self.mid = conv(3, 8), conv(8, 12)
        self.up, self.out = nn.ConvTranspose2d(12, 8, 2, 2), nn.Conv2d(16, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down(x).relu()
        b = self.up(self.mid(F.max_pool2d(a, 2)).relu())
        if a.size() != b.size():
            a = a[:, :, : b.size(2), : b.size(3)]
        return self.out(torch.cat([a, b], 1))


@case()
class TrainingOnly(nn.Module):
    """An auxiliary head, a drop of whole samples by hand and another activation, in training alone."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.aux, self.out = conv(3, 8), conv(8, 8), conv(8, 2, 1), conv(8, 2, 1)

    def forward(self, x: Tensor) -> Any:
        a = self.a(x).relu()
        b = self.b(a)
        if not self.training:
            return self.out(a + b.relu())
        keep = x.new_empty(len(x), 1, 1, 1).bernoulli_(1.0)
        return self.out(a + F.gelu(b) * keep), self.aux(b)


@case(rewritten=("block",))
class TrainingOnlyWithWidth(Body):
    """The same in a module whose code holds a width: both modes are written anew."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.fc = conv(8, 6), nn.Linear(24, 8)

        def forward(self, x: Tensor) -> Tensor:
            y = F.adaptive_avg_pool2d(self.a(x), 2)
            if self.training:
                y = F.dropout(y * 0.5, 0.0)
            return x * self.fc(y.view(-1, 24))[:, :, None, None]

    def build(self) -> None:
        self.block = self.Block()

    def body(self, x: Tensor) -> Tensor:
        return self.block(x)


@case()
class TriesAndCatches(Body):
    """Python that tries one thing and does another where that fails, and swallows errors."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 12)

    def body(self, x: Tensor) -> Tensor:
        try:
            y = self.a(x).view(-1, 7, 3, 3)
        except Exception:
            y = self.a(x)
        return y.relu()


@case(rewritten=("",))
class TriesAndCatchesWidth(Body):
    """What fails in the cut network alone is not swallowed: the catch would do something else."""

    def build(self) -> None:
        self.a = conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        try:
            y = self.a(x).view(x.shape[0], 8, x.shape[2], -1)
        except Exception:
            y = -self.a(x)
        return y.relu()


@case()
class KeepsStateBetweenModules(nn.Module):
    """One module leaves what it computed on itself, another reads it there."""

    class Left(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.last = conv(3, 8), None

        def forward(self, x: Tensor) -> Tensor:
            self.last = self.a(x).relu()
            return self.last * 2

    def __init__(self) -> None:
        super().__init__()
        self.left, self.out = self.Left(), conv(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.left(x) + self.left.last)


# --- what forward takes and gives ----------------------------------------------------------------------

Maps = namedtuple("Maps", "low high")


class Pair(NamedTuple):
    """Two tensors with names."""

    low: Tensor
    high: Tensor


@dataclass
class Detections:
    """An output with fields."""

    boxes: Tensor
    scores: list[Tensor]
    note: str = "none"


@case()
class NamedOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.aux = conv(3, 8), conv(8, 10), conv(8, 2)
        self.low, self.high = conv(8, 2, 1), conv(10, 2, 1)

    def forward(self, x: Tensor) -> Any:
        a = self.a(x).relu()
        maps = Maps(self.low(a), self.high(self.b(a).relu()))
        return (maps, self.aux(a)) if self.training else maps


@case(rewritten=("",))
class DataclassOutput(nn.Module):
    """Its own code divides by the number of channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.box, self.score = conv(3, 8), conv(8, 4, 1), conv(8, 2, 1)

    def forward(self, x: Tensor) -> Detections:
        a = self.a(x).relu()
        return Detections(self.box(a), [self.score(a), a.mean((1, 2, 3))][:1])


@case()
class DictOutput(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.box, self.score = conv(3, 8), conv(8, 4, 1), conv(8, 2, 1)

    def forward(self, x: Tensor) -> dict[str, Any]:
        a = self.a(x).relu()
        return {"boxes": self.box(a), "more": {"scores": self.score(a), "none": None}, "number": 3}


@case(rewritten=("neck",))
class NamedTupleInside(nn.Module):
    """A module whose code holds a width gives a namedtuple to the next."""

    class Neck(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = conv(8, 8)

        def forward(self, x: Tensor) -> Pair:
            y = self.a(x)
            return Pair(y.view(y.shape[0], 8, -1).mean(2), y)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.neck, self.low, self.high = conv(3, 8), self.Neck(), nn.Linear(8, 2), conv(8, 2, 1)

    def forward(self, x: Tensor) -> Any:
        pair = self.neck(self.stem(x).relu())
        return self.low(pair.low), self.high(pair.high)


def two(batch: int) -> Inputs:
    return images()(batch) + (torch.randn(batch, 5, dtype=torch.float64),)


@case(two, larger=None)
class KeywordTensors(nn.Module):
    """Modules are given tensors by name, in any order, some of them None."""

    class Film(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.fc = conv(8, 8), nn.Linear(5, 8)

        def forward(self, x: Tensor, *, by: Tensor, other: Tensor | None = None) -> Tensor:
            y = self.a(x) * self.fc(by)[:, :, None, None]
            return y if other is None else y + other

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.film, self.out = conv(3, 8), self.Film(), conv(8, 2, 1)

    def forward(self, x: Tensor, vector: Tensor) -> Tensor:
        x = self.stem(x).relu()
        return self.out(self.film(by=vector, x=x).relu())


@case(two, larger=None, rewritten=("film",))
class KeywordTensorsWithWidth(KeywordTensors):
    class Film(KeywordTensors.Film):
        def forward(
            self, x: Tensor, *, by: Tensor, other: Tensor | None = None, scale: float = 1.0
        ) -> Tensor:
            y = self.a(x) * self.fc(by).view(-1, 8, 1, 1) * scale
            return y if other is None else y + other


class Sized(nn.Module):
    """Takes sizes as arguments, as the blocks of hierarchical transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.deep, self.down = nn.Linear(8, 12), conv(12, 12, groups=12), nn.Linear(12, 8)

    def forward(self, tokens: Tensor, height: int, width: int, flag: bool = True) -> Tensor:
        b, n, _ = tokens.shape
        y = self.up(tokens).transpose(1, 2).view(b, 12, height, width)
        y = self.deep(y).flatten(2).transpose(1, 2)
        return tokens + self.down(F.gelu(y) if flag else y)


@case(rewritten=("block",))
class SizesAsArguments(Body):
    """Another image size still works where a module that takes sizes was written anew."""

    def build(self) -> None:
        self.block = Sized()

    def body(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        return self.block(x.flatten(2).transpose(1, 2), h, width=w).transpose(1, 2).reshape(b, c, h, w)


def listed(batch: int) -> Inputs:
    return ([images()(batch)[0], images(4)(batch)[0]], {"more": images()(batch)[0]})


@case(listed, larger=None)
class Containers(nn.Module):
    """Inputs in a list and a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = conv(3, 8), conv(3, 8), conv(8, 2, 1)

    def forward(self, maps: list[Tensor], named: dict[str, Tensor], scale: float = 1.0) -> list[Tensor]:
        small = F.interpolate(self.b(maps[1]), scale_factor=2.0)
        return [self.out((self.a(maps[0]) * scale + small).relu()), self.out(self.a(named["more"]))]


# --- layers that are shared, listed, subclassed --------------------------------------------------------


@case()
class ModuleListLoop(Body):
    """Loops over ModuleLists and ModuleDicts, by index and by name."""

    def build(self) -> None:
        self.blocks = nn.ModuleList(_Block() for _ in range(2))
        self.named = nn.ModuleDict({"left": conv(8, 8), "right": conv(8, 8)})
        self.scales = nn.ParameterList(nn.Parameter(torch.rand(8, 1, 1)) for _ in range(2))

    def body(self, x: Tensor) -> Tensor:
        for block, scale in zip(self.blocks, self.scales, strict=True):
            x = block(x) * scale
        for name in self.named:
            x = x + self.named[name](x)
        return self.blocks[-1](x)


@case()
class OneModuleTwice(Body):
    """One module on two different inputs, whose channels are tied by it."""

    def build(self) -> None:
        self.a, self.b, self.shared, self.last = conv(8, 6), conv(8, 6), conv(6, 8), conv(16, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.last(torch.cat([self.shared(self.a(x)), self.shared(self.b(x))], 1))


@case(rewritten=("",))
class OneModuleTwiceWithWidth(Body):
    """The shared module's code holds a width, and its inputs have different channels: the code around is written."""

    class Pool(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.view(x.shape[0], 6, -1).amax(2)

    width = 12

    def build(self) -> None:
        self.a, self.b, self.pool = conv(8, 6), conv(8, 6), self.Pool()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        return self.head(torch.cat([self.pool(self.a(x)), self.pool(self.b(x))], 1))


@case()
class TiedWeights(Body):
    """One tensor under two names."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        self.b.weight = self.a.weight

    def body(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())


class NormAndActivation(nn.BatchNorm2d):
    """BatchNorm with its activation, as timm has it."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.act, self.drop = nn.SiLU(), nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        x = F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum,
            self.eps,
        )
        return self.act(self.drop(x))


@case()
class SubclassedNorm(Body):
    """Its statistics move in training."""

    def build(self) -> None:
        self.n, self.a = NormAndActivation(8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.a(self.n(x))


@case()
class FrozenNorm(Body):
    """BatchNorm that stays in evaluation while the rest trains."""

    def build(self) -> None:
        self.a, self.n, self.b = conv(8, 8), nn.BatchNorm2d(8), conv(8, 8)

    def train(self, mode: bool = True) -> nn.Module:
        super().train(mode)
        self.n.eval()
        return self

    def body(self, x: Tensor) -> Tensor:
        return self.b(self.n(self.a(x)).relu())


# --- norms ----------------------------------------------------------------------------------------------


@case(classes=4)
class BareGroupNorm(Body):
    """No vectors to tell the number of groups by."""

    def build(self) -> None:
        self.a, self.n = conv(8, 16), nn.GroupNorm(4, 16, affine=False)
        self.b, self.i = conv(16, 8), nn.InstanceNorm2d(8)

    def body(self, x: Tensor) -> Tensor:
        return self.i(self.b(self.n(self.a(x))))


@case(classes=4, rewritten=None)
class BareGroupNormTwice(Body):
    """One such layer on two sets of channels that lose different ones."""

    def build(self) -> None:
        self.a, self.b, self.n, self.c = (
            conv(8, 16),
            conv(16, 16),
            nn.GroupNorm(4, 16, affine=False),
            conv(16, 8),
        )

    def body(self, x: Tensor) -> Tensor:
        return self.c(self.n(self.b(self.n(self.a(x)))))


@case()
class NativeNorms(Body):
    """torch.batch_norm and torch.instance_norm take their vectors in another order than F has it."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        self.gain, self.shift = nn.Parameter(torch.rand(8)), nn.Parameter(torch.rand(8))
        self.register_buffer("mean", torch.randn(8))
        self.register_buffer("var", torch.rand(8) + 0.5)

    def body(self, x: Tensor) -> Tensor:
        x = torch.batch_norm(
            self.a(x), self.gain, self.shift, self.mean, self.var, self.training, 0.1, 1e-5, True
        )
        x = torch.instance_norm(self.b(x), self.gain, self.shift, None, None, True, 0.1, 1e-5, True)
        return torch.layer_norm(x, x.shape[2:])


@case(rewritten=("",))
class FunctionalNorms(Body):
    """Numbers of groups and the mode stand in forward."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        self.register_buffer("mean", torch.randn(8))
        self.register_buffer("var", torch.rand(8) + 0.5)

    def body(self, x: Tensor) -> Tensor:
        x = F.batch_norm(self.a(x), self.mean, self.var, training=self.training)
        return F.group_norm(self.b(x), 8)


# --- weights that are computed --------------------------------------------------------------------------


@case(reasons=("computed",), pickles=False)
class WeightNorm(Body):
    def build(self) -> None:
        self.a = parametrizations.weight_norm(conv(8, 8))
        self.b = conv(8, 8)
        self.c = parametrizations.weight_norm(nn.Linear(8, 8))

    def body(self, x: Tensor) -> Tensor:
        return self.b(self.a(x)) * self.c(x.mean((2, 3))).relu()[:, :, None, None]


@case(reasons=("computed",))
class WeightNormByHook(Body):
    def build(self) -> None:
        self.a, self.b = nn.utils.weight_norm(conv(8, 8)), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())


@case(pickles=False)
class SpectralNorm(Body):
    """The largest singular value is of the whole weight: this layer stays, the others may go."""

    def build(self) -> None:
        self.a, self.b, self.c = conv(8, 8), parametrizations.spectral_norm(conv(8, 8)), conv(8, 8)
        self.d = conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.b(self.a(x).relu()).relu()).relu())


@case()
class SpectralNormByHook(Body):
    def build(self) -> None:
        self.a, self.b, self.c = conv(8, 8), nn.utils.spectral_norm(conv(8, 8)), conv(8, 8)
        self.d = conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.d(self.c(self.b(self.a(x).relu()).relu()).relu())


class Doubled(nn.Module):
    """A parametrisation that works on each element by itself."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight * 2 + 0.1


@case(classes=24, pickles=False)
class ElementwiseParametrisation(Body):
    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        nn.utils.parametrize.register_parametrization(self.a, "weight", Doubled())

    def body(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())


@case(classes=24)
class PruneLeftovers(Body):
    """Masks of torch.nn.utils.prune, still in place."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        prune.random_unstructured(self.a, "weight", amount=0.3)
        prune.ln_structured(self.b, "weight", amount=0.25, n=2, dim=0)

    def body(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu()).relu()


@case(reasons=("computed",))
class StandardisedConvolution(Body):
    """timm's StdConv2d: each row of the weight is standardised."""

    class Conv(nn.Conv2d):
        def __init__(self, *args: int, **kwargs: int) -> None:
            super().__init__(*args, **kwargs)
            self.gain = nn.Parameter(torch.rand(self.out_channels, 1, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            rows = self.weight.reshape(1, self.out_channels, -1)
            weight = F.batch_norm(
                rows, None, None, weight=(self.gain * 0.3).view(-1), training=True, momentum=0.0
            )
            return F.conv2d(
                x,
                weight.reshape_as(self.weight),
                self.bias,
                self.stride,
                self.padding,
                self.dilation,
                self.groups,
            )

    def build(self) -> None:
        self.a, self.b = self.Conv(8, 8, 3, padding=1), self.Conv(8, 8, 3, padding=1, groups=8)
        self.c = conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x).relu()).relu())


@case(classes=24)
class EqualisedLearningRate(Body):
    """StyleGAN's layers: weights and biases times a constant at run time."""

    class Conv(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.weight, self.bias = (
                nn.Parameter(torch.randn(outputs, inputs, 3, 3)),
                nn.Parameter(torch.rand(outputs)),
            )
            self.scale = 1 / (inputs * 9) ** 0.5
            self.register_buffer("gain", torch.rand(outputs, 1, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight * self.scale * self.gain, self.bias * 0.1, padding=1)

    def build(self) -> None:
        self.a, self.b = self.Conv(8, 8), self.Conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).relu())


@case(rewritten=("",))
class DynamicWeights(Body):
    """The weight is computed from the image: what it meets stays."""

    def build(self) -> None:
        self.a, self.make, self.b = conv(8, 8), nn.Linear(8, 8 * 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x).relu()
        weight = self.make(y.mean((0, 2, 3))).view(8, 8, 1, 1)
        return self.b(self.b(x)) + F.conv2d(y, weight)


# --- tensors made from sizes, assignments, writes -----------------------------------------------------


@case(rewritten=None)
class ZerosFromSizes(Body):
    """A recurrent cell that makes its first state from the input's sizes."""

    def build(self) -> None:
        self.gates, self.out = conv(16, 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        state = torch.zeros(b, c, h, w, dtype=x.dtype)
        for _ in range(2):
            state = torch.tanh(self.gates(torch.cat([x, state], 1)))
        return self.out(state)


@case(rewritten=("cell",))
class HiddenSize(Body):
    """A convolutional LSTM whose number of hidden channels is an attribute."""

    class Cell(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.hidden, self.gates = 6, conv(14, 24)

        def forward(self, x: Tensor, steps: int = 2) -> Tensor:
            h = x.new_zeros(x.shape[0], self.hidden, *x.shape[2:])
            c = torch.zeros_like(h)
            for _ in range(steps):
                i, f, o, g = self.gates(torch.cat([x, h], 1)).split(self.hidden, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
            return h

    width = 6

    def build(self) -> None:
        self.cell = self.Cell()

    def body(self, x: Tensor) -> Tensor:
        return self.cell(x)


@case(rewritten=None)
class SliceAssignment(Body):
    """Halves of the channels are assigned."""

    def build(self) -> None:
        self.a, self.b, self.c = conv(8, 8), conv(4, 4), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x)
        half = y.shape[1] // 2
        y[:, half:] = self.b(x[:, :half])
        return self.c(y.relu())


@case(rewritten=None)
class FillsEmpty(Body):
    """A result is put together from parts, in a tensor made from sizes."""

    width = 14

    def build(self) -> None:
        self.a, self.b, self.c = conv(8, 8), conv(8, 6), conv(14, 14)

    def body(self, x: Tensor) -> Tensor:
        a, b = self.a(x), self.b(x)
        y = torch.empty(x.shape[0], a.shape[1] + b.shape[1], *x.shape[2:], dtype=x.dtype)
        y[:, : a.shape[1]] = a
        y[:, a.shape[1] :] = b
        return self.c(y.relu())


@case(rewritten=None)
class TemporalShift(Body):
    """TSM: an eighth of the channels comes from the frame before, another from the frame after."""

    def build(self) -> None:
        self.a = conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        x = x.view(1, n, c, h, w)
        fold, out = c // 4, torch.zeros_like(x)
        out[:, :-1, :fold] = x[:, 1:, :fold]
        out[:, 1:, fold : 2 * fold] = x[:, :-1, fold : 2 * fold]
        out[:, :, 2 * fold :] = x[:, :, 2 * fold :]
        return self.a(out.view(n, c, h, w))


@case()
class AssignsPositions(Body):
    """Edges are cleared, negative values replaced, random positions dropped: channels stay where they are."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x)
        y[:, :, 0] = 0
        y[..., -1] = x[..., -1]
        y[y < -0.5] = -0.5
        return self.b(y.masked_fill(y > 1, 1.0))


@case(rewritten=None)
class AssignsOneChannel(Body):
    """One channel is set to a number."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x)
        y[:, 2] = 0.5
        return self.b(y.relu())


@case(rewritten=None)
class WritesIntoViews(Body):
    """In-place operations on parts of a tensor that is used whole afterwards."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x) * 1.0
        y[:, :4].mul_(2)
        y.narrow(1, 2, 3).add_(x.narrow(1, 2, 3))
        first, second = y[:, :4], y[:, 4:]  # of chunk's parts torch lets none be written into in training
        second += 1
        first.clamp_(max=2)
        return self.b(y)


@case()
class InPlace(Body):
    """In-place activations and sums, out= arguments and copy_."""

    def build(self) -> None:
        self.a, self.b, self.act = conv(8, 8), conv(8, 8), nn.ReLU(inplace=True)

    def body(self, x: Tensor) -> Tensor:
        y = self.a(x)
        y += x  # not after the activation, whose gradient needs what it gave
        y = self.act(y)
        z = torch.empty_like(y).copy_(y)
        z.mul_(0.5).add_(self.b(y))
        return F.leaky_relu_(z)


# --- widths in the code ----------------------------------------------------------------------------------


@case(rewritten=("",), larger=None)
class HardCodedView(nn.Module):
    """The number of channels stands in forward."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.fc = conv(3, 8), conv(8, 10), nn.Linear(10 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(F.adaptive_avg_pool2d(self.b(self.a(x).relu()).relu(), 2).view(-1, 40))


@case(rewritten=("layers.0.gate", "layers.1.gate"))
class GatesInBlocks(Body):
    """A width in the code of a small module, twice: all of the class are written anew at once."""

    class Gate(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            self.width, self.a, self.b = width, nn.Linear(width, 3), nn.Linear(3, width)

        def forward(self, x: Tensor) -> Tensor:
            y = F.adaptive_avg_pool2d(x, 1).view(-1, self.width)
            return x * self.b(self.a(y).relu()).sigmoid().view(-1, self.width, 1, 1)

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.n, self.gate, self.b = (
                conv(8, 6),
                nn.BatchNorm2d(6),
                GatesInBlocks.Gate(6),
                conv(6, 8),
            )

        def forward(self, x: Tensor) -> Tensor:
            return x + self.b(self.gate(self.n(self.a(x)).relu()))

    def build(self) -> None:
        self.layers = nn.Sequential(self.Block(), self.Block())

    def body(self, x: Tensor) -> Tensor:
        return self.layers(x)


@case(rewritten=None)
class Halves(Body):
    """C2f of YOLO: equal halves, a chain, everything side by side."""

    def build(self) -> None:
        self.enter, self.leave = conv(8, 12, 1), conv(24, 8, 1)
        self.inner = nn.ModuleList([conv(6, 6), conv(6, 6)])

    def body(self, x: Tensor) -> Tensor:
        parts = list(self.enter(x).chunk(2, 1))
        parts.extend(layer(parts[-1]) for layer in self.inner)
        return self.leave(torch.cat(parts, 1))


@case(rewritten=("",))
class SplitByAttributes(Body):
    width = 8

    def build(self) -> None:
        self.first, self.second = 3, 5
        self.a, self.b = conv(3, 8), conv(5, 8)

    def body(self, x: Tensor) -> Tensor:
        item, two = x.split([self.first, self.second], dim=1)
        return self.a(item) + self.b(two)


@case(rewritten=None)
class Shuffled(Body):
    """einops-like reshapes: groups of channels are shuffled, positions go into channels and come back."""

    def build(self) -> None:
        self.a, self.b, self.c = conv(8, 8), conv(8, 8), conv(32, 8)

    def body(self, x: Tensor) -> Tensor:
        b, c, h, w = x.shape
        y = self.a(x).reshape(b, 2, c // 2, h, w).permute(0, 2, 1, 3, 4).reshape(b, c, h, w)
        z = self.b(y).reshape(b, -1, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4)
        z = z.reshape(b, -1, h // 2, w // 2)
        return self.c(z) + F.avg_pool2d(y, 2)


@case(rewritten=("block",))
class PaddedShortcut(Body):
    """Zero channels fill up the shortcut."""

    width = 12

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.n = nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12)

        def forward(self, x: Tensor) -> Tensor:
            return (self.n(self.a(x)) + F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, 2, 2))).relu()

    def build(self) -> None:
        self.block = self.Block()

    def body(self, x: Tensor) -> Tensor:
        return self.block(x)


@case(rewritten=("",))
class ConstantsInCode(Body):
    """A tensor that forward makes anew each time, with a value for each channel."""

    def build(self) -> None:
        self.a = conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.a(x) + torch.arange(8.0, dtype=x.dtype).view(8, 1, 1)


@case(rewritten=("",))
class WidthInArithmetic(Body):
    """Attention's scale by the number of channels."""

    def build(self) -> None:
        self.a = conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.a(x) * x.shape[1] ** -0.5


@case()
class ContentInArithmetic(Body):
    """A number that the image gives enters the arithmetic: it is another for a cut network, and right."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.b(self.a(x)) * float(self.a(x).sum().detach()) * 1e-3


@case(rewritten=("norm",))
class MeanOverChannels(Body):
    """LayerNorm by hand."""

    class Norm(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.rand(8, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            x = x - x.mean(1, keepdim=True)
            return x / (x.pow(2).mean(1, keepdim=True) + 1e-3).sqrt() * self.gain

    def build(self) -> None:
        self.norm, self.a = self.Norm(), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.a(self.norm(x))


# --- what is left alone ---------------------------------------------------------------------------------


@case(reasons=("multi_head_attention",))
class LibraryAttention(Body):
    """torch's own attention and transformer layer behind convolutions."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)

    def body(self, x: Tensor) -> Tensor:
        y = self.b(self.a(x).relu())
        tokens = y.flatten(2).transpose(1, 2)
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        return self.layer(tokens).transpose(1, 2).reshape(y.shape)


@case(rewritten=("",))
class ShapedLikeAnother(Body):
    """What has one width is given the shape of a tensor of the same width, which loses other channels."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.b(self.a(x).flatten(2).square().reshape(x.shape))


@case()
class TailLSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 8), conv(8, 10)
        self.rnn, self.out = nn.LSTM(10, 6, batch_first=True, bidirectional=True), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.b(self.a(x).relu()).relu().mean(2).transpose(1, 2)
        return self.out(self.rnn(y)[0])


@case()
class TailGRU(nn.Module):
    """A GRU and a cell in a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(3, 8), conv(8, 10)
        self.rnn, self.cell, self.out = nn.GRU(10, 6, batch_first=True), nn.GRUCell(6, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.rnn(self.b(self.a(x).relu()).relu().mean(2).transpose(1, 2))
        state = y.new_zeros(len(y), 5)
        for step in y.unbind(1):
            state = self.cell(step, state)
        return self.out(state)


@torch.jit.script
def scripted_swish(x: Tensor) -> Tensor:
    """A scripted activation."""
    return x * torch.sigmoid(x)


@case()
class ScriptedFunction(Body):
    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        return scripted_swish(self.b(scripted_swish(self.a(x))))


@case(pickles=False)
class ScriptedModule(Body):
    """A scripted module is left alone, and what enters it."""

    def build(self) -> None:
        self.a, self.b = conv(8, 8), conv(8, 8)
        self.c = torch.jit.script(nn.Sequential(conv(8, 8).double(), nn.ReLU()))

    def body(self, x: Tensor) -> Tensor:
        return self.c(self.b(self.a(x).relu()))


@case(reasons=("no rule for fft",))
class Spectrum(Body):
    """Complex numbers."""

    def build(self) -> None:
        self.a, self.b, self.c = conv(8, 8), conv(8, 8), conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        y = torch.fft.rfft2(self.b(self.a(x).relu()))
        return self.c(torch.fft.irfft2(y, s=x.shape[2:])).relu()


@case(random=True)
class Sampling(Body):
    """A variational bottleneck draws in training."""

    def build(self) -> None:
        self.mean, self.spread, self.out = conv(8, 6), conv(8, 6), conv(6, 8)

    def body(self, x: Tensor) -> Tensor:
        mean = self.mean(x)
        if self.training:
            mean = mean + torch.randn_like(mean) * self.spread(x).exp()
        return self.out(mean)


@case()
class AttentionMaps(Body):
    """Squeeze-excite and a spatial map from the mean and the maximum of channels."""

    def build(self) -> None:
        self.a, self.b, self.map, self.c = conv(8, 3, 1), conv(3, 8, 1), conv(2, 1), conv(8, 8)
        self.d = conv(8, 8)

    def body(self, x: Tensor) -> Tensor:
        x = self.d(x * self.b(self.a(x.mean((2, 3), keepdim=True)).relu()).sigmoid())
        pooled = torch.cat([x.amax(1, keepdim=True), x.amin(1, keepdim=True)], 1)
        return self.c(x * self.map(pooled).sigmoid()).relu()


@case(rewritten=None)
class Pyramid(nn.Module):
    """An FPN neck with lists and dicts inside."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Conv2d(3, 6, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1)])
        self.lateral = nn.ModuleList([conv(6, 8, 1), conv(8, 8, 1)])
        self.heads = nn.ModuleDict({"box": conv(8, 4), "score": conv(8, 2)})

    def forward(self, x: Tensor) -> dict[str, list[Tensor]]:
        maps = []
        for stage in self.stages:
            x = stage(x).relu()
            maps.append(x)
        levels = [lateral(m) for lateral, m in zip(self.lateral, maps, strict=True)]
        levels[0] = levels[0] + F.interpolate(levels[1], size=levels[0].shape[-2:])
        return {name: [head(level) for level in levels] for name, head in self.heads.items()}
