"""Small models of every shape the analyser must cope with."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.models import build


class Plain(nn.Module):
    """No shortcut; its last channels are read by the linear layer alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.linear = nn.Linear(12 * 4, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.adaptive_avg_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.linear(x.flatten(1))


class Concat(nn.Module):
    """``joined`` reads two groups, one of them twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.left = nn.Conv2d(6, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.joined = nn.Conv2d(6 + 4 + 4, 8, 1)
        self.last = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.stem(x))
        left = F.relu(self.norm(self.left(x)))
        out = F.relu(self.joined(torch.cat([x, left, left], 1)))
        return self.last(out).mean((2, 3))


class Depthwise(nn.Module):
    """Grouped convolutions between the ones that are judged."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.point = nn.Conv2d(8, 8, 1)
        self.pairs = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.linear = nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.point(self.depth(F.relu(self.stem(x)))))
        return self.linear(F.relu(self.pairs(x)).mean((2, 3)))


class Split(nn.Module):
    """Halves of a tensor, by its own size, one of which goes through a chain: as in YOLO's C2f."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.inner, self.joined = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(24, 8, 1)
        self.last = nn.Conv2d(8, 5, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = list(F.relu(self.norm(self.stem(x))).chunk(2, 1))
        parts.append(parts[-1] + F.relu(self.inner(parts[-1])))
        return self.last(F.relu(self.joined(torch.cat(parts, 1)))).mean((2, 3))


def resnet() -> nn.Module:
    """ResNet-20 with padding shortcuts, a quarter as wide."""
    return build("resnet20", num_classes=5, width=4)


MODELS: dict[str, Callable[[], nn.Module]] = {
    "resnet": resnet,
    "plain": Plain,
    "concat": Concat,
    "depthwise": Depthwise,
    "split": Split,
}


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random BatchNorm statistics and affine parameters, so that nothing is accidentally one or zero."""
    generator = torch.Generator().manual_seed(seed)
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor in (norm.running_mean, norm.weight.data, norm.bias.data):
                tensor.copy_(torch.randn(tensor.shape, generator=generator))
            norm.running_var.copy_(0.5 + torch.rand(norm.running_var.shape, generator=generator))
    return model


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> nn.Module:
    """Every kind of model in turn, in eval mode."""
    torch.manual_seed(0)
    return randomise(MODELS[request.param]()).eval()


@pytest.fixture
def small_resnet() -> nn.Module:
    """A ResNet-20 of width 4, in eval mode."""
    torch.manual_seed(0)
    return randomise(resnet()).eval()


@pytest.fixture
def plain() -> nn.Module:
    """Two convolutions and a linear layer."""
    torch.manual_seed(0)
    return randomise(Plain()).eval()


@pytest.fixture
def concat() -> nn.Module:
    """A consumer of several groups."""
    torch.manual_seed(0)
    return randomise(Concat()).eval()


@pytest.fixture
def split() -> nn.Module:
    """Equal halves."""
    torch.manual_seed(0)
    return randomise(Split()).eval()


@pytest.fixture
def images() -> Tensor:
    """Eight images of 16 x 16."""
    return torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(5))
