"""Networks nobody wrote: random operations on random earlier tensors, pruned at random."""

import os
import random
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph.classes import build_graph
from edgeprune.graph.plan import Plan
from edgeprune.rewrite.compaction import compact
from graph.checks import TOLERANCE, disagreement, fvcore_flops, parameters, random_keep, randomise

COUNT = int(os.environ.get("EDGEPRUNE_NETWORKS", "16"))


class RandomNet(nn.Module):
    """``steps`` random operations; every tensor that nothing else uses is read by the last layer.

    The forward draws the same operations every time, from ``seed``.
    """

    def __init__(self, seed: int, steps: int = 10) -> None:
        super().__init__()
        self.seed, self.steps, self.made = seed, steps, nn.ModuleDict()
        self.scales = nn.ParameterDict()
        self(torch.zeros(1, 3, 8, 8))  # makes the layers

    def layer(self, key: str, make: Callable[[], nn.Module]) -> nn.Module:
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def scale(self, key: str, width: int) -> Tensor:
        if key not in self.scales:
            self.scales[key] = nn.Parameter(torch.rand(width, 1, 1))
        return self.scales[key]

    def forward(self, x: Tensor) -> Tensor:
        rng = random.Random(self.seed)
        tensors = [self.layer("stem", lambda: nn.Conv2d(3, 8, 3, padding=1))(x)]
        used: set[int] = set()
        for step in range(self.steps):
            place = rng.choice([len(tensors) - 1, rng.randrange(len(tensors))])
            used.add(place)
            tensors.append(self.step(f"s{step}", rng, tensors[place], tensors))
        loose = [t for i, t in enumerate(tensors) if i not in used]
        last = torch.cat([t.mean((2, 3)) for t in loose], 1)
        return self.layer("last", lambda: nn.Linear(last.shape[1], 4))(last)

    def step(self, key: str, rng: random.Random, x: Tensor, tensors: list[Tensor]) -> Tensor:
        width = x.shape[1]
        others = [t for t in tensors if t.shape[1:] == x.shape[1:]]
        makers = [name for name in dir(self) if name.startswith("op_")]
        return getattr(self, rng.choice(makers))(key, rng, x, width, rng.choice(others))

    def op_conv(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        groups = rng.choice([g for g in (1, 1, 2, 4, width) if width % g == 0])
        out = groups * rng.randint(1, max(1, 12 // groups))
        return self.layer(key, lambda: nn.Conv2d(width, out, 3, padding=1, groups=groups))(x)

    def op_norm(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        kinds = [nn.BatchNorm2d, lambda w: nn.GroupNorm(w // 2 if w % 2 == 0 and w > 2 else w, w), nn.PReLU]
        kind = rng.choice(kinds)
        return self.layer(key, lambda: kind(width))(x)

    def op_transposed(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        groups = 2 if width % 2 == 0 else 1
        return self.layer(key, lambda: nn.ConvTranspose2d(width, groups * 3, 1, groups=groups))(x)

    def op_linear(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        out = rng.randint(2, 10)
        return self.layer(key, lambda: nn.Linear(width, out))(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def op_combine(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        return rng.choice([torch.add, torch.sub, torch.mul, torch.maximum])(x, other)

    def op_cat(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        return torch.cat([x, other] if width < 20 else [x], 1)

    def op_scale(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        return x * self.scale(key, width) + 0.1

    def op_gate(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        gate = self.layer(key, lambda: nn.Conv2d(width, width, 1))(x.mean((2, 3), keepdim=True))
        return x * torch.sigmoid(gate)

    def op_slice(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        start, step = rng.randrange(width), rng.choice([1, 1, 2])
        return x[:, start::step]

    def op_split(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        parts = x.split(max(1, width // 3), 1)
        return torch.cat([parts[-1], *parts[:-1]], 1)

    def op_pick(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        return x[:, [rng.randrange(width) for _ in range(rng.randint(1, 8))]]

    def op_pad(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, rng.randint(0, 2), rng.randint(0, 2)), value=rng.choice([0.0, 0.0, 0.3]))

    def op_shuffle(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        n, c, h, w = x.shape
        groups = 2 if c % 2 == 0 else 1
        return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)

    def op_turn(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        return rng.choice([lambda: x.flip(1), lambda: x.roll(2, 1), lambda: x.transpose(2, 3)])()

    def op_halves(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        return F.glu(x, 1) if width % 2 == 0 and width > 2 else x

    def op_pixels(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        return F.pixel_unshuffle(F.pixel_shuffle(x, 2), 2) if width % 4 == 0 else x

    def op_average(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        return x - x.mean(1, keepdim=True)

    def op_stack(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        return torch.stack([x, other], 1).sum(1)

    def op_bounded(self, key: str, rng: random.Random, x: Tensor, width: int, other: Tensor) -> Tensor:
        return torch.tanh(x)


@pytest.mark.parametrize("seed", range(COUNT))
def test_a_random_network(seed: int) -> None:
    torch.manual_seed(seed)
    model, inputs = randomise(RandomNet(seed), seed), (torch.randn(2, 3, 8, 8),)
    graph = build_graph(model, inputs)
    for share, full_share in ((0.7, 0.0), (0.4, 0.3)):
        keep = random_keep(graph, share, seed, full_share)
        done = compact(graph, Plan.of(graph, keep))
        assert disagreement(graph, done, inputs) <= TOLERANCE
        assert parameters(done.model) == graph.params(done.plan.keep)
        assert fvcore_flops(done.model, inputs) == graph.flops(done.plan.keep)
