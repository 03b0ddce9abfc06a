"""Networks whose own code cuts a tensor into equal pieces, and the sizes of the parts that are tied by it."""

import torch
from torch import Tensor, nn


class CutApart(nn.Module):
    """``enter`` makes the channels that are cut apart; ``tied`` has the sizes of the parts, group by group."""

    tied: tuple[tuple[int, ...], ...] = ()

    def __init__(self, width: int = 16, out: int = 16) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.enter, self.norm = nn.Conv2d(8, width, 1), nn.BatchNorm2d(width)
        self.leave = nn.Conv2d(out, 8, 1)
        self.head = nn.Conv2d(8, 5, 1)
        self.build()

    def build(self) -> None:
        """Make further layers."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.enter(self.stem(x).relu())).relu()
        return self.head(self.leave(self.body(y)).relu())

    def body(self, y: Tensor) -> Tensor:
        raise NotImplementedError


class Halves(CutApart):
    """C2f of YOLO: a chain on the second half, everything side by side."""

    tied = ((8,), (8,))

    def __init__(self) -> None:
        super().__init__(16, 32)

    def build(self) -> None:
        self.inner = nn.ModuleList(nn.Conv2d(8, 8, 3, padding=1) for _ in range(2))

    def body(self, y: Tensor) -> Tensor:
        parts = list(y.chunk(2, 1))
        for layer in self.inner:
            parts.append(parts[-1] + layer(parts[-1]).relu())
        return torch.cat(parts, 1)


class OneReader(CutApart):
    """Both halves lie in the same layers, so that they are one group."""

    tied = ((8, 8),)

    def body(self, y: Tensor) -> Tensor:
        first, second = torch.chunk(input=y, chunks=2, dim=-3)
        return torch.cat([second.tanh(), first], 1)


class Thirds(CutApart):
    """split by a length that follows the tensor's own size."""

    tied = ((5,), (5,), (5,))

    def __init__(self) -> None:
        super().__init__(15, 15)

    def build(self) -> None:
        self.layers = nn.ModuleList(nn.Conv2d(5, 5, 1) for _ in range(3))

    def body(self, y: Tensor) -> Tensor:
        parts = y.split(y.shape[1] // 3, dim=1)
        return torch.cat([layer(part).relu() for layer, part in zip(self.layers, parts, strict=True)], 1)


class Nested(CutApart):
    """A half of a half keeps half as many channels as the other half."""

    tied = ((4,), (4,), (8,))

    def build(self) -> None:
        self.a, self.b, self.c = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1), nn.Conv2d(8, 8, 1)

    def body(self, y: Tensor) -> Tensor:
        left, right = y.chunk(2, 1)
        first, second = left.tensor_split(2, dim=1)
        return torch.cat([self.a(first), self.b(second), self.c(right)], 1)


class Slices(CutApart):
    """Halves by slices; the size is that of another tensor with the same channels."""

    tied = ((8,), (8,))

    def build(self) -> None:
        self.a, self.b = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)

    def body(self, y: Tensor) -> Tensor:
        half = y.size(1) // 2
        y = y.sigmoid()
        return torch.cat([self.a(y[:, :half]), self.b(y[..., half:, :, :])], 1)


class Narrowed(CutApart):
    """The first half alone is looked at again."""

    tied = ((8, 8),)

    def __init__(self) -> None:
        super().__init__(16, 24)

    def body(self, y: Tensor) -> Tensor:
        _, channels, _, _ = y.shape
        return torch.cat([y, y.narrow(1, 0, channels // 2).tanh()], 1)


class Across(CutApart):
    """Halves of two layers side by side: a quarter of the first layer's channels is in the second half."""

    tied = ((4,), (8,), (12,))

    def build(self) -> None:
        self.other, self.a, self.b = nn.Conv2d(8, 8, 1), nn.Conv2d(12, 8, 1), nn.Conv2d(12, 8, 1)
        self.between = nn.Conv2d(16, 8, 1)

    def body(self, y: Tensor) -> Tensor:
        first, second = torch.cat([y, self.other(self.between(y))], 1).chunk(2, 1)
        return torch.cat([self.a(first), self.b(second)], 1)


class Gate(CutApart):
    """Halves that are multiplied go together place by place: nothing else need tie them."""

    def __init__(self) -> None:
        super().__init__(16, 8)

    def body(self, y: Tensor) -> Tensor:
        a, b = y.chunk(2, 1)
        return a * b.sigmoid()


class Number(CutApart):
    """The length is a number in the code: equal counts would not make that right."""

    def body(self, y: Tensor) -> Tensor:
        first, second = y.split(8, 1)
        return torch.cat([second.tanh(), first], 1)


class Uneven(CutApart):
    """chunk(3) of 16 channels gives 6, 6 and 4."""

    def body(self, y: Tensor) -> Tensor:
        first, second, third = y.chunk(3, 1)
        return torch.cat([third, second.tanh(), first], 1)


class FewerPieces(CutApart):
    """chunk(6) of 8 channels gives 4 pieces; it would give 6 of 6."""

    def __init__(self) -> None:
        super().__init__(8, 8)

    def body(self, y: Tensor) -> Tensor:
        return torch.cat([part.tanh() for part in reversed(y.chunk(6, 1))], 1)


class KeptHalf(CutApart):
    """One half cannot lose channels: the other is free."""

    def body(self, y: Tensor) -> Tensor:
        first, second = y.chunk(2, 1)
        return torch.cat([torch.cumsum(first, 1), second], 1)


class Shuffle(CutApart):
    """What shuffles channels counts them in its own code, which is rewritten whatever the halves keep."""

    def build(self) -> None:
        self.other, self.a, self.b = nn.Conv2d(8, 16, 1), nn.Conv2d(16, 8, 1), nn.Conv2d(16, 8, 1)
        self.wide = nn.Conv2d(16, 8, 1)

    def body(self, y: Tensor) -> Tensor:
        y = torch.cat([y, self.other(self.wide(y))], 1)
        n, c, h, w = y.shape
        y = y.view(n, 2, c // 2, h, w).transpose(1, 2).flatten(1, 2)
        first, second = y.chunk(2, 1)
        return torch.cat([self.a(first), self.b(second)], 1)


TIED = [Halves, OneReader, Thirds, Nested, Slices, Narrowed, Across]
FREE = [Gate, Number, Uneven, FewerPieces, KeptHalf, Shuffle]
