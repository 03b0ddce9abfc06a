"""Gradients of convolutions of one-pixel maps under autocast on a CPU."""

import pytest
import torch
from torch import nn

from edgeprune.training.narrow_maps import narrow_maps_in_fp32

JUNK = (
    64 * 9,
    1024,
    4096,
    64 * 64 * 9,
    64 * 64 * 25,
)  # elements; freed memory that a gradient could be made of


def gradient(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    junk = [torch.full((size,), 7e20) for size in JUNK]
    del junk
    conv.weight.grad = None
    with torch.autocast("cpu", torch.bfloat16):
        output = conv(x)
    output.float().square().sum().backward()
    assert conv.weight.grad is not None
    return conv.weight.grad


@pytest.mark.parametrize("groups", [1, 64])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 1), (1, 4), (3, 3)])
def test_gradients_are_those_of_fp32(height: int, width: int, groups: int) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(64, 64, 3, stride=2, padding=1, groups=groups)
    x = torch.randn(16, 64, height, width).to(memory_format=torch.channels_last)
    conv(x).square().sum().backward()
    assert conv.weight.grad is not None
    exact = conv.weight.grad.clone()
    with narrow_maps_in_fp32():
        for _ in range(20):
            assert torch.allclose(gradient(conv, x), exact, rtol=0.05, atol=0.05 * float(exact.abs().max()))


def test_autocast_is_on_again_after_a_narrow_map_and_after_an_error() -> None:
    narrow, wide = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
    with narrow_maps_in_fp32(), torch.autocast("cpu", torch.bfloat16):
        assert narrow(torch.randn(2, 4, 1, 1)).dtype == torch.float32
        assert wide(torch.randn(2, 4, 8, 8)).dtype == torch.bfloat16
        bare = torch.nn.functional.conv2d(torch.randn(2, 4, 1, 1), weight=narrow.weight, padding=1)
        assert bare.dtype == torch.float32
        with pytest.raises(RuntimeError):
            narrow(torch.randn(2, 3, 1, 1))
        assert wide(torch.randn(2, 4, 8, 8)).dtype == torch.bfloat16
