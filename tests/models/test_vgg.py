import pytest
import torch
from graph.checks import sweep_one
from torch import fx, nn

from edgeprune.errors import ModelError
from edgeprune.graph.classes import build_graph
from edgeprune.models import build
from edgeprune.models.vgg import vgg16_cifar

WIDTHS = [64, 64, 128, 128, 256, 256, 256, *[512] * 6]  # configuration D
SIDES = [32, 32, 16, 16, 8, 8, 8, 4, 4, 4, 2, 2, 2]


def test_size_is_the_published_one() -> None:
    model = vgg16_cifar(num_classes=10)
    assert [m.out_channels for m in model.modules() if isinstance(m, nn.Conv2d)] == WIDTHS
    pairs = list(zip([3, *WIDTHS], WIDTHS, strict=False))
    kernels = sum(9 * a * b for a, b in pairs)
    expected = kernels + 2 * sum(WIDTHS) + 512 * 512 + 2 * 512 + 512 * 10 + 10
    assert sum(weight.numel() for weight in model.parameters()) == expected
    assert round(expected / 1e6, 1) == 15.0  # Li et al. 2017, table 1: 1.5e7 parameters, 3.13e8 FLOPs
    flops = sum(9 * a * b * side**2 for (a, b), side in zip(pairs, SIDES, strict=True))
    assert round((flops + 512 * 512 + 512 * 10) / 1e8, 2) in (3.13, 3.14)


def test_it_gives_logits_and_can_be_traced() -> None:
    model = build("vgg16_cifar", num_classes=7, in_channels=1, width=0.125).eval()
    for side in (32, 48):
        images = torch.randn(2, 1, side, side)
        assert model(images).shape == (2, 7)
    assert torch.equal(fx.symbolic_trace(model)(images), model(images))


def test_masked_and_compacted_agree() -> None:
    torch.manual_seed(0)
    model = vgg16_cifar(num_classes=10, width=0.25)
    result = sweep_one("vgg16_cifar", model, (torch.randn(2, 3, 32, 32),), 0.6)
    assert result.classes == sum(WIDTHS) // 4 + 512 // 4  # nothing is coupled: each output channel by itself
    assert result.notes == ()


def test_what_is_protected_is_the_logits_alone() -> None:
    graph = build_graph(vgg16_cifar(num_classes=10, width=0.125), torch.zeros(1, 3, 32, 32))
    assert [p.reason for p in graph.protected] == ["output of the network"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"depth": 3}, "vgg16_cifar takes num_classes, in_channels and width, not depth"),
        ({"width": 0}, "width is a factor above 0, not 0"),
        ({"width": "wide"}, "width is a factor above 0, not 'wide'"),
    ],
)
def test_an_argument_it_does_not_take(args: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        vgg16_cifar(num_classes=10, **args)
