"""PruningLayer and ChannelGate."""

import copy

import pytest
import torch
from torch import nn

from edgeprune.learned.pruning_layer import ChannelGate, PruningLayer, is_prunable


def attached(conv: nn.Module) -> PruningLayer:
    """The same object, masked."""
    PruningLayer.attach(conv)
    assert isinstance(conv, PruningLayer)
    return conv


LAYERS = [  # each with the shape of its input, and the axis of its weight that input channels index
    (nn.Conv2d(4, 6, 3, padding=1), (4, 12, 12), 1),
    (nn.Conv2d(4, 6, 1, bias=False), (4, 12, 12), 1),
    (nn.Conv2d(4, 6, (3, 5), stride=(2, 1), dilation=2, padding="valid"), (4, 12, 12), 1),
    (nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"), (4, 12, 12), 1),
    (nn.Conv1d(4, 6, 5, stride=2, padding_mode="circular", padding=2), (4, 30), 1),
    (nn.Conv3d(4, 6, 3, padding=1), (4, 5, 6, 6), 1),
    (nn.ConvTranspose1d(4, 6, 3, stride=2), (4, 9), 0),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, output_padding=1), (4, 5, 6), 0),
    (nn.ConvTranspose3d(4, 6, 2, stride=2, bias=False), (4, 3, 4, 4), 0),
    (nn.Linear(4, 6), (4,), 1),
]


@pytest.mark.parametrize(("layer", "shape", "axis"), LAYERS, ids=str)
def test_it_is_the_layer_with_its_weight_times_the_mask(
    layer: nn.Module, shape: tuple[int, ...], axis: int
) -> None:
    x = torch.randn(2, *shape)
    mask = torch.tensor([1.0, 0.0, 0.5, 2.3])
    plain = copy.deepcopy(layer)
    masked = attached(layer)
    assert torch.equal(masked(x), plain(x))  # at ones
    masked.mask = mask
    unmasked = copy.deepcopy(plain)
    plain.weight.data *= mask.view([-1 if i == axis else 1 for i in range(plain.weight.dim())])
    assert torch.equal(masked(x), plain(x))
    over_channels = mask.view(-1, *[1] * (len(shape) - 1))
    assert torch.allclose(masked(x), unmasked(x * over_channels), atol=1e-5)
    masked.detach()


def test_a_transposed_convolution_takes_its_output_size() -> None:
    layer = nn.ConvTranspose2d(2, 3, 3, stride=2)
    x = torch.randn(1, 2, 4, 4)
    expected = layer(x, output_size=[10, 10])
    masked = attached(layer)
    assert torch.equal(masked(x, output_size=[10, 10]), expected) and expected.shape[-1] == 10


def test_an_error_in_forward_leaves_the_weight() -> None:
    layer = nn.Linear(4, 2)
    weight = layer.weight
    masked = attached(layer)
    with pytest.raises(RuntimeError):
        masked(torch.randn(2, 5))
    assert masked.weight is weight and [name for name, _ in masked.named_parameters()] == ["weight", "bias"]


def test_it_holds_the_original_parameters_under_the_same_names() -> None:
    conv = nn.Conv2d(4, 6, 3)
    weight, bias = conv.weight, conv.bias
    masked = attached(conv)
    assert masked.weight is weight and masked.bias is bias
    assert set(masked.state_dict()) == {"weight", "bias"}
    assert (masked.in_channels, masked.out_channels, masked.training) == (4, 6, True)


class Named(nn.Conv2d):
    """A class of somebody's own, which computes what its parent does."""


@pytest.mark.parametrize("kind", [nn.Conv2d, Named])
def test_detached_it_is_what_it_was(kind: type[nn.Conv2d]) -> None:
    conv = kind(4, 6, 3)
    hooked: list[int] = []
    conv.register_forward_hook(lambda *_: hooked.append(1))
    before = set(vars(conv))
    masked = attached(conv)
    assert isinstance(masked, kind)
    copied = copy.deepcopy(masked)
    assert type(copied) is type(masked)
    masked(torch.randn(1, 4, 5, 5))
    masked.detach()
    assert type(conv) is kind and hooked == [1]
    assert set(vars(conv)) == before and set(conv._buffers) == set()


def test_gradient_reaches_weight_and_mask() -> None:
    masked = attached(nn.Conv2d(2, 3, 3))
    mask = torch.tensor([1.0, 0.0], requires_grad=True)
    masked.mask = mask
    masked(torch.randn(1, 2, 5, 5)).sum().backward()
    assert mask.grad is not None and bool((mask.grad != 0).all())  # a channel that is off can come back
    assert masked.weight.grad is not None
    assert bool((masked.weight.grad[:, 0] != 0).all()) and bool((masked.weight.grad[:, 1] == 0).all())


def test_probe_takes_the_resized_input_without_gradient() -> None:
    masked = attached(nn.Conv2d(2, 3, 3))
    masked.probe = []
    x = torch.randn(5, 2, 32, 32, requires_grad=True)
    masked(x)
    assert [tuple(p.shape) for p in masked.probe] == [(5, 2, 16, 16)]
    assert not masked.probe[0].requires_grad


def test_gate_closes_channels_along_its_axis() -> None:
    gate = ChannelGate(3, axis=1, dims=4)
    gate.gate = torch.tensor([1.0, 0.0, 1.0])
    x = torch.ones(2, 3, 4, 4)
    assert gate(x).sum((0, 2, 3)).tolist() == [32, 0, 32]
    assert gate(x.bfloat16()).dtype == torch.bfloat16
    assert gate.state_dict() == {}


class Other(nn.Conv2d):
    """Computes something else."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * 2


@pytest.mark.parametrize(
    ("module", "prunable"),
    [
        (nn.Conv2d(4, 4, 3), True),
        (nn.Conv2d(4, 4, 3, groups=2), False),
        (nn.Conv2d(4, 4, 3, groups=4), False),
        (nn.ConvTranspose2d(4, 4, 3), True),
        (nn.ConvTranspose2d(4, 4, 3, groups=2), False),
        (nn.ConvTranspose1d(4, 4, 3), True),
        (nn.Conv1d(4, 4, 3), True),
        (nn.Conv3d(4, 4, 3), True),
        (nn.Linear(4, 4), True),
        (nn.Bilinear(4, 4, 4), False),
        (nn.MultiheadAttention(4, 1), False),
        (Other(4, 4, 3), False),
    ],
    ids=str,
)
def test_is_prunable(module: nn.Module, prunable: bool) -> None:
    assert is_prunable(module) is prunable
