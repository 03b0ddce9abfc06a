"""Small networks with every kind of coupling, and batches for them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeprune.models import build

Batch = tuple[Tensor, Tensor]


class Shuffled(nn.Module):
    """ShuffleNet in small: split, one half worked on, concatenated and shuffled; then flattened."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.branch, self.inner = nn.Conv2d(8, 8, 1, bias=False), nn.BatchNorm2d(8)
        self.mix = nn.Conv2d(16, 12, 3, stride=2, padding=1, groups=2)
        self.head = nn.Linear(12 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu_(self.norm(self.stem(x)))
        left, right = x.chunk(2, dim=1)
        x = torch.cat([left, F.relu(self.inner(self.branch(right)))], dim=1)
        x = x.view(x.shape[0], 2, 8, 8, 8).transpose(1, 2).reshape(x.shape[0], 16, 8, 8)
        return self.head(torch.relu(self.mix(x)).flatten(1))


class Mobile(nn.Module):
    """MobileNet in small: expand, depthwise, squeeze-and-excite, project, residual."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.expand, self.norm1 = nn.Conv2d(6, 12, 1, bias=False), nn.BatchNorm2d(12)
        self.depthwise, self.norm2 = (
            nn.Conv2d(12, 12, 3, padding=1, groups=12, bias=False),
            nn.BatchNorm2d(12),
        )
        self.squeeze, self.excite = nn.Conv2d(12, 4, 1), nn.Conv2d(4, 12, 1)
        self.project, self.norm3 = nn.Conv2d(12, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.activation = nn.ReLU6(inplace=True)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = F.hardswish(self.norm(self.stem(x)))
        inner = self.activation(self.norm1(self.expand(x)))
        inner = self.activation(self.norm2(self.depthwise(inner)))
        scale = torch.sigmoid(self.excite(torch.relu(self.squeeze(inner.mean((2, 3), keepdim=True)))))
        x = x + self.norm3(self.project(inner * scale))
        return self.head(x.mean((2, 3)))


def resnet() -> nn.Module:
    """ResNet-20 at a quarter of its width: residual streams and zero-padded shortcuts."""
    return build("resnet20", num_classes=5, width=4)


NETWORKS: dict[str, Callable[[], nn.Module]] = {"resnet20": resnet, "shuffled": Shuffled, "mobile": Mobile}


def lively(model: nn.Module) -> nn.Module:
    """Random BatchNorm parameters and statistics, so that nothing is equal by accident."""
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
            nn.init.uniform_(layer.running_mean, -0.5, 0.5)
            nn.init.uniform_(layer.running_var, 0.5, 1.5)
    return model


@pytest.fixture(params=list(NETWORKS))
def network(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return lively(NETWORKS[request.param]())


@pytest.fixture
def batches() -> list[Batch]:
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(4, 3, 8, 8, generator=generator), torch.randint(5, (4,), generator=generator))
        for _ in range(2)
    ]
