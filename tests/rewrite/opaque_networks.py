"""Networks with a part that is to be kept whole, or cannot be watched, each for a kind.

`CASES[name]` holds a factory and what is expected of it.
"""

import ctypes
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode

Inputs = tuple[Any, ...]
Choice = tuple["str | type[nn.Module]", ...]


def images(batch: int, side: int = 8) -> Inputs:
    """Give images in double precision."""
    return (torch.randn(batch, 3, side, side, dtype=torch.float64),)


@dataclass(frozen=True)
class Case:
    """One network, and what to expect of it.

    Attributes:
        make: the factory.
        opaque: what is to be kept whole.
        parts: the modules that are kept whole then.
        classes: how many decisions there are.
        reason: words that say why the part is kept whole.
        counted: whether its FLOPs can be counted.
        inputs: from a batch to inputs.
        larger: whether it takes another size.
        rewritten: modules whose forward must be another.
        pickles: whether torch can save the original.
    """

    make: Callable[[], nn.Module]
    opaque: Choice
    parts: tuple[str, ...]
    classes: int
    reason: str = "it was asked for"
    counted: bool = True
    inputs: Callable[[int], Inputs] = images
    larger: bool = True
    rewritten: tuple[str, ...] = ()
    pickles: bool = True


CASES: dict[str, Case] = {}


def case(
    *opaque: "str | type[nn.Module]", parts: tuple[str, ...], classes: int, **more: Any
) -> Callable[[type[nn.Module]], type[nn.Module]]:
    """Register a network."""

    def register(kind: type[nn.Module]) -> type[nn.Module]:
        CASES[kind.__name__] = Case(kind, opaque, parts, classes, **more)
        return kind

    return register


def conv(inputs: int, outputs: int, size: int = 3, **more: Any) -> nn.Conv2d:
    """A convolution that keeps the image's size."""
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **more)


class Net(nn.Module):
    """`stem` (8 channels that may go), `pre` (8 that enter the part), `part`, `post` (6 that may go), `out`."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pre = conv(3, 8), conv(8, 8)
        self.norm = nn.BatchNorm2d(8)
        self.build()
        self.post, self.out = conv(8, 6), conv(6, 4, 1)

    def build(self) -> None:
        """Make the part."""
        self.part: nn.Module = nn.Identity()

    def before(self, x: Tensor) -> Tensor:
        return self.norm(self.pre(self.stem(x).relu())).relu()

    def after(self, x: Tensor) -> Tensor:
        return self.out(self.post(x).relu())

    def forward(self, x: Tensor) -> Any:
        return self.after(self.part(self.before(x)))


class Block(nn.Module):
    """A residual block whose inner channels could go."""

    def __init__(self, width: int = 8, inner: int = 5) -> None:
        super().__init__()
        self.a, self.n, self.b = conv(width, inner), nn.BatchNorm2d(inner), conv(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.b(self.n(self.a(x)).relu())


# --- where a part stands ---------------------------------------------------------------------------------


@case("part", parts=("part",), classes=14)
class InTheMiddle(Net):
    def build(self) -> None:
        self.part = Block()


@case(Block, parts=("part",), classes=14)
class ByClass(InTheMiddle):
    pass


@case("Block", parts=("part",), classes=14)
class ByNameOfClass(InTheMiddle):
    pass


@case("pre", parts=("pre",), classes=6 + 5)
class OneLayer(InTheMiddle):
    """One of torch's layers: what it reads and what it makes stays."""


@case(nn.BatchNorm2d, parts=("norm", "part.n"), classes=14)
class AllOfAKind(InTheMiddle):
    """Every BatchNorm."""


@case("parts", parts=("parts",), classes=14)
class ListOfModules(Net):
    """A ModuleList does not run by itself: each of its modules is kept whole."""

    def build(self) -> None:
        self.parts = nn.ModuleList([Block(), Block()])

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        for part in self.parts:
            x = part(x)
        return self.after(x)


class Head(nn.Module):
    """A detection head: maps in training, boxes that a threshold selects else, in a dict with a list in it."""

    def __init__(self, boxes: int = 4) -> None:
        super().__init__()
        self.box, self.score = conv(8, boxes, 1), conv(8, 3, 1)

    def forward(self, maps: list[Tensor]) -> Any:
        raw = [(self.box(m), self.score(m)) for m in maps]
        if self.training:
            return {"raw": raw}
        scores = torch.cat([s.flatten(2) for _, s in raw], 2).amax(1)
        boxes = torch.cat([b.flatten(2) for b, _ in raw], 2)
        kept = [s.topk(5).indices for s in scores]
        result = [{"boxes": b[:, k], "scores": s[k]} for b, s, k in zip(boxes, scores, kept, strict=True)]
        return {"raw": raw, "found": result, "image": 1}


@case("head", parts=("head",), classes=8 + 8)
class HeadAtTheEnd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.mid = conv(3, 8), conv(8, 8)
        self.low, self.high, self.head = conv(8, 8), nn.Conv2d(8, 8, 3, 2, 1), Head()

    def forward(self, x: Tensor) -> Any:
        x = self.mid(self.stem(x).relu()).relu()
        return self.head([self.low(x), self.high(x).relu()])


@dataclass
class Detections:
    """What a head gives."""

    boxes: Tensor
    more: dict[str, list[Tensor]] = field(default_factory=dict)


@case("part", parts=("part",), classes=14)
class GivesADataclass(Net):
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = conv(8, 8)

        def forward(self, x: Tensor) -> Detections:
            y = self.a(x)
            return Detections(y, {"levels": [y.relu(), y.sigmoid()]})

    def build(self) -> None:
        self.part = self.Part()

    def forward(self, x: Tensor) -> Tensor:
        options = self.part(self.before(x))
        return self.after(options.boxes + options.more["levels"][0] * options.more["levels"][1])


@case("part", parts=("part",), classes=14)
class UsedTwice(Net):
    """A module that is shared: under two names, on two tensors."""

    def build(self) -> None:
        self.part = Block()
        self.again = self.part
        self.between = conv(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.after(self.again(self.between(self.part(self.before(x)))))


@case("again", parts=("part",), classes=14)
class NamedByItsOtherName(UsedTwice):
    pass


@case("part", parts=("part",), classes=14)
class TwoInputs(Net):
    """Two tensors enter, one of them by name, and a number."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = conv(8, 8), conv(5, 8, 1)

        def forward(self, x: Tensor, scale: float, *, by: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
            return self.a(x) * scale, self.b(by["other"])

    def build(self) -> None:
        self.part, self.other = self.Part(), conv(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        a, b = self.part(x, 0.5, by={"other": self.other(x).relu()})
        return self.after(a + b)


@case("part", "part.inner", parts=("part",), classes=14)
class Nested(Net):
    """A part in a part."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.a = Block(), conv(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.a(self.inner(x))

    def build(self) -> None:
        self.part = self.Part()


@case("part.inner", parts=("part.inner",), classes=14 + 8)
class InsideABlock(Nested):
    """Its parent goes on being looked into: what enters and leaves the part stays."""


@case("part.inner", parts=("part.inner",), classes=6 + 8 + 5, rewritten=("part",))
class ParentIsRewritten(Net):
    """The module around holds a width: it gets another forward, which calls the part as before."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.inner, self.fc = conv(8, 5), Head(8), conv(5, 8, 1)

        def forward(self, x: Tensor) -> Tensor:
            y = self.a(x).view(x.shape[0], 5, x.shape[2], -1)
            options = self.inner([self.maps(x)])
            return self.fc(y) + options["raw"][0][0]

        def maps(self, x: Tensor) -> Tensor:
            return x.sigmoid()

    def build(self) -> None:
        self.part = self.Part()


@case("part", parts=("part",), classes=14)
class PartsOfItUsedElsewhere(Net):
    """Other code calls a layer of the part, and reads a weight of it: both stay."""

    def build(self) -> None:
        self.part = Block()

    def forward(self, x: Tensor) -> Tensor:
        x = self.part(self.before(x))
        y = self.part.b(self.part.a(x).relu())
        return self.after(F.conv2d(y, self.part.a.weight, padding=1).repeat(1, 2, 1, 1)[:, :8] + x)


@case("part", parts=("part",), classes=14)
class HookedPart(Net):
    """Hooks of a part belong to it."""

    def build(self) -> None:
        self.part = Block()
        self.part.register_forward_pre_hook(lambda module, args: (args[0] * 2,))


# --- what a part does ------------------------------------------------------------------------------------


@case("part", parts=("part",), classes=14)
class BranchesOnContent(Net):
    """Its Python depends on what is in the tensors, and so do its sizes inside."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = conv(8, 8), conv(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            rows = []
            for item in x:
                layer = self.a if float(item.mean()) > 0.4 else self.b
                rows.append(layer(item[None]))
            return torch.cat(rows)

    def build(self) -> None:
        self.part = self.Part()


@case("part", parts=("part",), classes=8 + 6)
class SizesByContent(nn.Module):
    """How many rows leave it is decided by what is in the tensors; layers that may be cut read them."""

    class Part(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            rows = x.flatten(2).transpose(1, 2).reshape(-1, x.shape[1])
            return rows[rows[:, 0] > rows[:, 1]]

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pre, self.part = conv(3, 8), conv(8, 8), self.Part()
        self.fc, self.out = nn.Linear(8, 6), nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        rows = self.part(self.pre(self.stem(x).relu()))
        return torch.cat([self.out(self.fc(rows).relu()), rows[:, :2]], 1).amax(0)


class _Sign(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.sign()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


@case("part", parts=("part",), classes=14)
class OwnGradient(Net):
    """An autograd function, and another library in between."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = conv(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            window = torch.from_numpy(np.hanning(x.detach().numpy().shape[-1]))
            return self.a(_Sign.apply(x - 0.2) + x) * window

    def build(self) -> None:
        self.part = self.Part()


@case("part", parts=("part",), classes=14)
class WritesIntoItsInput(Net):
    """What it is given is another tensor afterwards, under all its names."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = conv(8, 8)

        def forward(self, x: Tensor) -> None:
            with torch.no_grad():
                x.mul_(2).add_(self.a(x).mean())

    def build(self) -> None:
        self.part = self.Part()

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x) * 1
        flat = x.flatten(2)
        self.part(x)
        return self.after(x + flat.amax(2)[:, :, None, None])


@case("part", parts=("part",), classes=14)
class ReadsByAnotherWay(Net):
    """It reads a tensor that a hook has kept, and leaves one on itself for others."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.seen, self.left = conv(8, 8), {}, None

        def forward(self) -> None:
            self.left = self.a(self.seen["x"])

    def build(self) -> None:
        self.part = self.Part()

    def forward(self, x: Tensor) -> Tensor:
        self.part.seen["x"] = self.before(x)
        self.part()
        return self.after(self.part.left)


@case("part", parts=("part",), classes=14)
class KeepsState(Net):
    """It counts, draws numbers in training and moves buffers of its own."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n, self.runs = nn.BatchNorm2d(8), 0
            self.register_buffer("last", torch.zeros(8, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            self.runs += 1
            if self.training:
                self.last.copy_(x.detach().mean((0, 2, 3)))
            return F.dropout(self.n(x), 0.3, self.training) + self.last[:, None, None]

    def build(self) -> None:
        self.part = self.Part()


# --- parts that cannot be watched -------------------------------------------------------------------------


@case(parts=("part",), classes=14, reason="it is TorchScript", pickles=False)
class Scripted(Net):
    def build(self) -> None:
        self.part = torch.jit.script(Block().double().eval())


class RefusesModes(nn.Module):
    """Fails where somebody watches what torch does."""

    def __init__(self) -> None:
        super().__init__()
        self.a = conv(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        if _get_current_function_mode_stack() or _get_current_dispatch_mode() is not None:
            raise RuntimeError("modes are not supported")
        return self.a(x)


WATCHED = "it cannot be watched (RuntimeError: modes are not supported)"


@case(parts=("part.refusing",), classes=14 + 5 + 8, reason=WATCHED, counted=False)
class FailsUnderModes(Net):
    """The smallest module that fails is kept whole; those around it are not."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.refusing, self.a, self.b = RefusesModes(), conv(8, 5), conv(5, 8)

        def forward(self, x: Tensor) -> Tensor:
            return self.b(self.a(self.refusing(x)).relu())

    def build(self) -> None:
        self.part = self.Part()


@case("part", parts=("part",), classes=14, counted=False)
class ChosenAndFailsUnderModes(FailsUnderModes):
    """What was asked for stays what was asked for."""


@case(parts=("part",), classes=14, reason="TrainsUnderModes", counted=False)
class FailsInTrainingAlone(Net):
    """What cannot be watched in one mode is kept whole in both."""

    class TrainsUnderModes(RuntimeError):
        """Raised in training."""

    class Part(Block):
        def forward(self, x: Tensor) -> Tensor:
            if self.training and _get_current_function_mode_stack():
                raise FailsInTrainingAlone.TrainsUnderModes("not while somebody watches")
            return super().forward(x)

    def build(self) -> None:
        self.part = self.Part()


class Logarithmic(Tensor):
    """A tensor class with a dispatch of its own: it holds logarithms."""

    logs: Tensor

    @staticmethod
    def __new__(cls, logs: Tensor) -> "Logarithmic":
        new = Tensor._make_wrapper_subclass(cls, logs.shape, dtype=logs.dtype)
        new.logs = logs
        return new

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.mul.Tensor:
            return cls(args[0].logs + args[1].logs)
        raise NotImplementedError(f"no {func} of logarithms")


@case(parts=("part",), classes=14, reason="tensors of Logarithmic, which cannot be followed")
class ForeignTensors(Net):
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = conv(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            y = Logarithmic((self.a(x).abs() + 1).log()) * Logarithmic((x.abs() + 1).log())
            return y.logs.exp()

    def build(self) -> None:
        self.part = self.Part()


@case(parts=("part",), classes=14, reason="tensors of layout sparse_coo")
class SparseTensors(Net):
    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mix = nn.Parameter(torch.randn(8, 8) * (torch.rand(8, 8) > 0.5))

        def forward(self, x: Tensor) -> Tensor:
            flat = x.transpose(0, 1).reshape(8, -1)
            mixed = torch.sparse.mm(self.mix.to_sparse(), flat)
            return mixed.view(8, x.shape[0], *x.shape[2:]).transpose(0, 1)

    def build(self) -> None:
        self.part = self.Part()


@case(parts=("part",), classes=14, reason="reads memory")
class ReadsMemory(Net):
    """Code that torch does not see is given an address."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = conv(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x).detach().contiguous()
            new = torch.empty_like(x)
            ctypes.memmove(new.data_ptr(), x.data_ptr(), x.numel() * 8)
            view = np.ctypeslib.as_array(
                ctypes.cast(new.data_ptr(), ctypes.POINTER(ctypes.c_double)), (x.numel(),)
            )
            view.reshape(x.shape)[:] = view.reshape(x.shape)[:, ::-1].copy()
            return new

    def build(self) -> None:
        self.part = self.Part()


def elsewhere(x: Tensor) -> Tensor:
    """Compute something in another thread, where no mode of this one is."""
    results: list[Tensor] = []
    thread = threading.Thread(target=lambda: results.append(x.detach().flip(1) * 2))
    thread.start()
    thread.join()
    return results[0]


@case(parts=("part",), classes=14, reason="made where it cannot be seen")
class ComputesUnseen(Net):
    """What comes out has no history: C++ or another thread made it, from what went in."""

    class Part(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = conv(8, 8)

        def forward(self, x: Tensor) -> Tensor:
            return elsewhere(self.a(x))

    def build(self) -> None:
        self.part = self.Part()


@case(parts=(), classes=5 + 6)
class ComputesUnseenAtTheTop(Net):
    """The network's own code does so: no module can be kept whole, but all stays that it may have read."""

    def build(self) -> None:
        self.part = Block()

    def forward(self, x: Tensor) -> Tensor:
        x = self.before(x)
        return self.after(self.part(x) + elsewhere(x.detach()).amax(1, keepdim=True))
