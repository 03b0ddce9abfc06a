from collections.abc import Callable

import pytest
import torch
from graph.checks import sweep_one
from torch import fx, nn

from edgeprune.errors import ModelError
from edgeprune.models import build
from edgeprune.models.mobilenet import mobilenetv1, mobilenetv1_cifar, mobilenetv2_cifar


def parameters(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters())


def multiply_adds(model: nn.Module, side: int) -> int:
    """Of convolutions and linear layers for one image, as the papers count them."""
    total = 0

    def count(layer: nn.Module, inputs: tuple, output: torch.Tensor) -> None:
        nonlocal total
        total += layer.weight.numel() * output[0, 0].numel()

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(count)
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, side, side))
    return total


@pytest.mark.parametrize(
    ("width", "millions", "madds"),
    [(1.0, 4.2, 569), (0.75, 2.6, 325), (0.5, 1.3, 149), (0.25, 0.5, 41)],  # Howard et al. 2017, table 6
)
def test_version_1_has_the_published_sizes(width: float, millions: float, madds: float) -> None:
    model = mobilenetv1(num_classes=1000, width=width)
    assert round(parameters(model) / 1e6, 1) == millions
    assert round(multiply_adds(model, 224) / 1e6) == pytest.approx(madds, abs=0.5)


def test_version_1_ends_at_the_papers_map() -> None:
    assert mobilenetv1(num_classes=2, width=0.25).features(torch.zeros(1, 3, 224, 224)).shape[2:] == (7, 7)


def test_version_1_for_cifar_is_the_same_but_for_the_stem() -> None:
    large, small = mobilenetv1(num_classes=10, width=0.25), mobilenetv1_cifar(num_classes=10, width=0.25)
    assert parameters(large) == parameters(small)
    assert small.features(torch.zeros(1, 3, 32, 32)).shape[2:] == (2, 2)
    strides = [[m.stride[0] for m in net.modules() if isinstance(m, nn.Conv2d)] for net in (large, small)]
    assert strides[0][1:] == strides[1][1:] and (strides[0][0], strides[1][0]) == (2, 1)


def test_version_2_for_cifar_is_torchvisions_but_for_two_strides() -> None:
    from torchvision.models import mobilenet_v2

    large, small = mobilenet_v2(num_classes=10), mobilenetv2_cifar(num_classes=10)
    assert [(n, p.shape) for n, p in large.named_parameters()] == [
        (n, p.shape) for n, p in small.named_parameters()
    ]
    strides = [[m.stride[0] for m in net.modules() if isinstance(m, nn.Conv2d)] for net in (large, small)]
    changed = [index for index, pair in enumerate(zip(*strides, strict=True)) if pair[0] != pair[1]]
    assert len(changed) == 2 and changed[0] == 0
    assert {strides[1][index] for index in changed} == {1}
    assert small.features(torch.zeros(1, 3, 32, 32)).shape[2:] == (4, 4)


def test_version_2_scales_and_takes_grey_images() -> None:
    model = mobilenetv2_cifar(num_classes=3, in_channels=1, width=0.35).eval()
    assert model(torch.zeros(2, 1, 16, 16)).shape == (2, 3)
    assert (
        model.features[0][0].out_channels == 16
    )  # 32 * 0.35 = 11.2, to the nearest multiple of 8 above 90 %
    deviation = (2 / (16 * 9)) ** 0.5  # He et al. 2015, by the outputs
    assert model.features[0][0].weight.std().item() == pytest.approx(deviation, rel=0.25)


@pytest.mark.parametrize("name", ["mobilenetv1", "mobilenetv1_cifar", "mobilenetv2_cifar"])
def test_built_by_name_and_traced(name: str) -> None:
    model = build(name, num_classes=7, width=0.25).eval()
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(fx.symbolic_trace(model)(images), model(images))


@pytest.mark.parametrize("factory", [mobilenetv1, mobilenetv1_cifar, mobilenetv2_cifar])
def test_masked_and_compacted_agree(factory: Callable[..., nn.Module]) -> None:
    torch.manual_seed(0)
    model = factory(num_classes=10, width=0.25)
    result = sweep_one(factory.__name__, model, (torch.randn(2, 3, 32, 32),), 0.6)
    assert result.protected_share < 0.05 and result.notes == ()


def test_a_depthwise_convolution_follows_the_one_before_it() -> None:
    """Thirteen separable blocks and the stem: fourteen sets of channels, one for each width."""
    model = mobilenetv1_cifar(num_classes=10, width=0.25)
    result = sweep_one("v1", model, (torch.randn(2, 3, 32, 32),), 0.6)
    assert result.classes == 8 + sum([16, 32, 32, 64, 64, *[128] * 6, 256, 256])


@pytest.mark.parametrize("factory", [mobilenetv1, mobilenetv1_cifar, mobilenetv2_cifar])
def test_an_argument_it_does_not_take(factory: Callable[..., nn.Module]) -> None:
    with pytest.raises(ModelError, match=rf"{factory.__name__} takes .*width, not depth"):
        factory(num_classes=10, depth=3)
    with pytest.raises(ModelError, match="a factor above 0, not -1"):
        factory(num_classes=10, width=-1)
