"""The learned method in a loop of the user's own, on networks whose layers are not 2-D convolutions."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import edgeprune
from edgeprune.learned.pruning_layer import PruningLayer


class Audio(nn.Module):
    """1-D convolutions on a wave form."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv1d(1, 12, 9, stride=2, padding=4), nn.BatchNorm1d(12)
        self.inside, self.inner = nn.Conv1d(12, 16, 5, padding=2), nn.BatchNorm1d(16)
        self.back = nn.Conv1d(16, 12, 3, padding=1)
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 1, L) -> (N, 3)."""
        x = self.norm(self.stem(x)).relu()
        x = (x + self.back(self.inner(self.inside(x)).relu())).relu()
        return self.head(x.mean(2))


class Video(nn.Module):
    """3-D convolutions, and a linear layer behind a flatten, which alone reads the last channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv3d(3, 8, 3, padding=1), nn.BatchNorm3d(8)
        self.inside = nn.Conv3d(8, 12, 3, stride=2, padding=1)
        self.head = nn.Linear(12 * 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, D, H, W) -> (N, 3)."""
        x = self.inside(self.norm(self.stem(x)).relu()).relu()
        return self.head(F.adaptive_avg_pool3d(x, 2).flatten(1))


class Upwards(nn.Module):
    """A U-Net of one level: a transposed convolution, and a concatenation with what came before."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.down, self.below = nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16)
        self.up, self.above = nn.ConvTranspose2d(16, 8, 2, stride=2), nn.BatchNorm2d(8)
        self.join, self.out = nn.Conv2d(16, 10, 3, padding=1), nn.ConvTranspose2d(10, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3, H, W)."""
        x = self.norm(self.stem(x)).relu()
        up = self.above(self.up(self.below(self.down(x)).relu())).relu()
        return self.out(self.join(torch.cat([x, up], 1)).relu())


class Perceptron(nn.Module):
    """Linear layers alone."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(10, 24), nn.BatchNorm1d(24)
        self.second, self.third = nn.Linear(24, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 10) -> (N, 3)."""
        return self.third(self.second(self.norm(self.first(x)).relu()).relu())


class Block(nn.Module):
    """ConvNeXt's: depthwise, LayerNorm, two linear layers with channels last."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.wide, self.narrow = nn.Linear(width, 3 * width), nn.Linear(3 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + self.narrow(F.gelu(self.wide(y))).permute(0, 3, 1, 2)


class ConvNext(nn.Module):
    """A stem, two blocks, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.blocks = nn.Conv2d(3, 8, 2, stride=2), nn.Sequential(Block(8), Block(8))
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) -> (N, 3)."""
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


class Tokens(nn.Module):
    """Linear layers on a sequence (N, T, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.wide = nn.Linear(10, 12), nn.Linear(12, 30)
        self.narrow, self.head = nn.Linear(30, 12), nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        """(N, T, 10) -> (N, 3)."""
        x = self.embed(x)
        x = x + self.narrow(F.gelu(self.wide(x)))
        return self.head(x.mean(1))


KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], set[str]]] = {
    "audio": (Audio, (1, 96), {"inside", "back"}),
    "video": (Video, (3, 4, 8, 8), {"inside", "head"}),
    "upwards": (Upwards, (3, 12, 12), {"down", "up", "join", "out"}),
    "perceptron": (Perceptron, (10,), {"second", "third"}),
    "convnext": (ConvNext, (3, 8, 8), {"blocks.0.narrow", "blocks.1.narrow"}),
    "tokens": (Tokens, (7, 10), {"wide", "narrow"}),
}


def prepared(kind: str) -> tuple[nn.Module, torch.optim.Optimizer, edgeprune.Pruner]:
    torch.manual_seed(0)
    make, shape, _ = KINDS[kind]
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    pruner = edgeprune.Pruner(
        model, torch.randn(2, *shape), target="flops=0.6", steps=10, optimizer=optimizer, floor=1
    )
    return model, optimizer, pruner


def loop(kind: str, state: tuple[nn.Module, torch.optim.Optimizer, edgeprune.Pruner], steps: range) -> None:
    model, optimizer, pruner = state
    model.train()
    for number in steps:
        torch.manual_seed(number)
        y = torch.arange(8) % 3
        x = torch.randn(8, *KINDS[kind][1]) + y.view(-1, *[1] * len(KINDS[kind][1]))
        out = model(x)
        loss = F.cross_entropy(out.mean((2, 3)) if out.dim() == 4 else out, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        pruner.step(loss)


@pytest.mark.parametrize("kind", KINDS)
def test_masks_are_on_the_layers_that_read_prunable_channels(kind: str) -> None:
    model, _, _ = prepared(kind)
    masked = {name for name, layer in model.named_modules() if isinstance(layer, PruningLayer)}
    assert masked == KINDS[kind][2]


@pytest.mark.parametrize("kind", KINDS)
def test_the_learned_method_reaches_its_target_and_cuts_what_it_masked(kind: str) -> None:
    model, optimizer, pruner = state = prepared(kind)
    before = copy.deepcopy(model.state_dict())
    loop(kind, state, range(9))
    phase: Any = pruner._removals.phase
    x = torch.randn(3, *KINDS[kind][1])
    plan = phase.analyser.freeze(pruner.budget)  # again at the end, to the same plan
    masked = model.eval()(x).detach()
    pruner._networks.remember()
    small = pruner.finish()
    assert small is model and not any(isinstance(layer, PruningLayer) for layer in small.modules())
    assert 0.3 < pruner.report.fraction_got <= 0.6
    # The weights' scale is restored before BatchNorm, whose epsilon then weighs a little more.
    assert torch.allclose(small.eval()(x), masked, rtol=1e-4, atol=1e-4)
    assert not plan.keep.all()
    assert any(before[name].shape != value.shape for name, value in small.state_dict().items())
    loop_after = torch.optim.SGD(small.parameters(), lr=0.01)
    small.train()(x).square().mean().backward()
    loop_after.step()
    assert len(optimizer.param_groups[0]["params"]) == len([*small.parameters()])


@pytest.mark.parametrize("stop", [4, 12])
@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_loop_ends_bit_identical(kind: str, stop: int) -> None:
    through = prepared(kind)
    loop(kind, through, range(14))
    model, optimizer, pruner = first = prepared(kind)
    loop(kind, first, range(stop))
    states = copy.deepcopy((pruner.state_dict(), model.state_dict(), optimizer.state_dict()))
    model, optimizer, pruner = second = prepared(kind)
    pruner.load_state_dict(states[0])
    model.load_state_dict(states[1])
    optimizer.load_state_dict(states[2])
    loop(kind, second, range(stop, 14))
    ended, expected = pruner.finish().state_dict(), through[2].finish().state_dict()
    assert [*ended] == [*expected]
    assert all(torch.equal(value, expected[name]) for name, value in ended.items())
