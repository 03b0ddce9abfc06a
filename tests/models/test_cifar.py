import pytest
import torch
from torch import nn

from edgeprune.errors import ModelError
from edgeprune.models.cifar import Block, cifar_resnet


@pytest.mark.parametrize("depth", [8, 14, 20, 32, 110])
def test_size_follows_the_paper(depth: int) -> None:
    blocks = (depth - 2) // 6
    model = cifar_resnet(depth, num_classes=10)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 1 + 6 * blocks
    kernels = 27 * 16 + 9 * (2 * blocks * 16**2 + 16 * 32 + (2 * blocks - 1) * 32**2)
    kernels += 9 * (32 * 64 + (2 * blocks - 1) * 64**2)
    norms = 2 * (16 + 2 * blocks * (16 + 32 + 64))
    assert sum(weight.numel() for weight in model.parameters()) == kernels + norms + 64 * 10 + 10


def test_state_dict_names() -> None:
    names = set(cifar_resnet(20, num_classes=10).state_dict())
    roots = {name.rsplit(".", 1)[0] for name in names}
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)]
    inner = {f"{block}.{part}" for block in blocks for part in ("conv1", "bn1", "conv2", "bn2")}
    assert roots == {"conv1", "bn1", "linear"} | inner


def test_shortcut_takes_every_second_pixel_between_zero_channels() -> None:
    x = torch.randn(1, 4, 6, 6)
    padded = Block(4, 8, 2).shortcut(x)
    assert padded.shape == (1, 8, 3, 3)
    assert torch.equal(padded[:, 2:6], x[:, :, ::2, ::2])
    assert padded[:, :2].abs().max() == padded[:, 6:].abs().max() == 0


def test_a_block_is_the_identity_of_positive_input_when_its_inside_is_silent() -> None:
    block = Block(4, 4, 1).eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.rand(1, 4, 6, 6)
    assert torch.equal(block(x), x)


def test_width_and_channels() -> None:
    model = cifar_resnet(20, num_classes=3, in_channels=1, width=4)
    assert model(torch.randn(2, 1, 32, 32)).shape == (2, 3)
    assert model.linear.in_features == 16


def test_an_argument_it_does_not_take() -> None:
    with pytest.raises(ModelError, match="resnet20 takes num_classes, in_channels and width: .*'depth'"):
        cifar_resnet(20, num_classes=10, depth=3)
