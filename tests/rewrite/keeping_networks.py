"""Small networks that keep on themselves what they computed: tables to look up, or what another part reads.

Each has a width in its code besides, so that a forward must be written anew.
"""

from typing import Any

import torch
from torch import Tensor, nn

from rewrite.networks import Body, case, conv


class BiasTable(nn.Module):
    """Biases by place, as in timm's levit and efficientvit: in evaluation they are picked once for each device."""

    def __init__(self) -> None:
        super().__init__()
        self.biases = nn.Parameter(torch.randn(2, 5))
        self.register_buffer("places", torch.arange(64).view(8, 8) % 5, persistent=False)
        self.table: dict[str, Tensor] = {}
        self.a, self.b = conv(4, 6), conv(4, 6)

    def picked(self, device: torch.device) -> Tensor:
        if self.training:
            return self.biases[:, self.places]
        if str(device) not in self.table:
            self.table[str(device)] = self.biases[:, self.places]
        return self.table[str(device)]

    def train(self, mode: bool = True) -> "BiasTable":
        super().train(mode)
        self.table.clear()
        return self

    def forward(self, x: Tensor) -> Tensor:
        biases = self.picked(x.device)
        return torch.cat([self.a(x[:, :4]) + biases[0], self.b(x[:, 4:8]) * biases[1].sigmoid()], 1)


@case(larger=None, rewritten=None)
class LookedUpBiases(Body):
    """A table of biases in a module whose forward is written anew."""

    width = 12

    def build(self) -> None:
        self.part = BiasTable()

    def body(self, x: Tensor) -> Tensor:
        return self.part(x).relu()


@case(rewritten=None)
class GridOfTheImage(Body):
    """Coordinates are computed when the image's size is another than the last one's."""

    def build(self) -> None:
        self.a, self.b = conv(5, 6), conv(5, 2)
        self.grid: Tensor | None = None

    def body(self, x: Tensor) -> Tensor:
        if self.grid is None or self.grid.shape[-2:] != x.shape[-2:]:
            rows = torch.arange(x.shape[2], dtype=x.dtype) / x.shape[2]
            self.grid = rows.view(1, 1, -1, 1).expand(1, 1, -1, x.shape[3])
        grid = self.grid.expand(x.shape[0], -1, -1, -1)
        y, z = x[:, :4], x[:, 4:8]
        return torch.cat([self.a(torch.cat([y, grid], 1)), self.b(torch.cat([z, grid], 1))], 1).relu()


class Keeps(nn.Module):
    """Keeps what it was given for the part that follows."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = conv(4, 6), conv(4, 6)
        self.last: Any = None

    def forward(self, x: Tensor) -> Tensor:
        self.last = x.mean((2, 3), keepdim=True)
        return self.a(x[:, :4]) + self.b(x[:, 4:8])


@case(rewritten=None, left_alone=True)
class ReadByAnother(Body):
    """What a part keeps is read after it: its own forward may not lose that."""

    def build(self) -> None:
        self.part, self.c = Keeps(), conv(6, 8)

    def body(self, x: Tensor) -> Tensor:
        y = self.c(self.part(x).relu())
        return y * self.part.last.sigmoid()
