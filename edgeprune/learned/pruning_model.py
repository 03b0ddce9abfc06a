"""The small network that scores the channels of a feature map: which of them to keep.

Source: G. Calleris, Structured Pruning for Efficient Convolutional Networks, Politecnico di Torino, 2023.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 16  # every map is resized to SIDE x SIDE, so that the size of a layer's maps does not matter
BLOCKS = 4  # each halves the map: 16 -> 1


def resize(x: Tensor, side: int = SIDE) -> Tensor:
    """Resize (N, C, H, W) to (N, C, side, side), by average pooling or bilinear interpolation."""
    if x.shape[-2:] == (side, side):
        return x
    if x.shape[-2] % side == 0 and x.shape[-1] % side == 0:
        return F.avg_pool2d(x, (x.shape[-2] // side, x.shape[-1] // side))
    return F.interpolate(x, (side, side), mode="bilinear", align_corners=False)


def own_side(shape: Sequence[int]) -> int:
    """Return the power of two, from 2 to 16, that holds a map (..., H, W); 2, so that BatchNorm works for one image."""
    return max(2, min(SIDE, 1 << (max(shape[-2:]) - 1).bit_length()))


def multiply_adds(channels: int, side: int = SIDE) -> int:
    """Return the multiply-adds of the convolutions of a pruning-model for one map of ``side`` pixels a side."""
    pixels = [max(1, side >> max(0, block - _unpooled(side))) ** 2 for block in range(BLOCKS)]
    return channels * (2 * 9 * side**2 + 4 * 9 * sum(pixels))


def _unpooled(side: int) -> int:
    """Return the number of blocks, from the first on, that do not halve the map, so that one pixel is left."""
    return BLOCKS - (side.bit_length() - 1)


class PruningModel(nn.Module):
    """Feature map (N, C, H, W) -> y (N, C), for one layer.

    A depthwise convolution C -> 2C; four blocks of [convolution 2C -> 2C in C groups, BatchNorm, ReLU,
    max-pool 2]; a linear layer 2C -> C. Replace it with any module of the same shape: it costs nothing
    in the final model.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.depthwise = nn.Conv2d(channels, wide, 3, padding=1, groups=channels)
        blocks: list[nn.Module] = []
        for _ in range(BLOCKS):
            blocks += [
                nn.Conv2d(wide, wide, 3, padding=1, groups=channels, bias=False),
                nn.BatchNorm2d(wide),
                nn.ReLU(),
                nn.MaxPool2d(2),
            ]
        self.blocks = nn.Sequential(*blocks)
        self.linear = nn.Linear(wide, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (N, C) of the channels of (N, C, H, W)."""
        return self.linear(self.blocks(self.depthwise(resize(x))).flatten(1))


class PruningModelBank(nn.Module):
    """``copies`` pruning-models of the same width, run as one: the same arithmetic in a few large operations.

    A convolution in groups of two channels is slow as such on every backend. Eight groups at a time are
    written as one group of sixteen channels with a block-diagonal weight: eight times the
    multiplications, and several times faster.

    Args:
        copies: number of pruning-models.
        channels: of each.
        side: of their maps, a power of two; below 16 the first blocks do not halve the map.
    """

    def __init__(self, copies: int, channels: int, side: int = SIDE) -> None:
        super().__init__()
        self.copies, self.channels, self.side = copies, channels, side
        models = [PruningModel(channels) for _ in range(copies)]
        wide = 2 * channels * copies
        self.stem_weight, self.stem_bias = _empty(wide, 1, 3, 3), _empty(wide)
        self.conv_weights = nn.ParameterList(_empty(wide, 2, 3, 3) for _ in range(BLOCKS))
        self.norms = nn.ModuleList(nn.BatchNorm2d(wide) for _ in range(BLOCKS))
        self.linear_weight = _empty(copies, channels, 2 * channels)
        self.linear_bias = _empty(copies, channels)
        self.load(models)

    def load(self, models: list[PruningModel]) -> None:
        """Copy the parameters of single pruning-models."""
        with torch.no_grad():
            self.stem_weight.copy_(torch.cat([m.depthwise.weight for m in models]))
            self.stem_bias.copy_(torch.cat([m.depthwise.bias for m in models]))  # type: ignore[misc]
            for block, weight in enumerate(self.conv_weights):
                weight.copy_(torch.cat([m.blocks[4 * block].weight for m in models]))  # type: ignore[misc]
            self.linear_weight.copy_(torch.stack([m.linear.weight for m in models]))
            self.linear_bias.copy_(torch.stack([m.linear.bias for m in models]))

    def forward(self, x: Tensor) -> Tensor:
        """Return y (copies, N, C) from the maps of all copies side by side (N, copies * C, side, side)."""
        x = _packed_conv(x.contiguous(memory_format=torch.channels_last), self.stem_weight, self.stem_bias)
        for block, (weight, norm) in enumerate(zip(self.conv_weights, self.norms, strict=True)):
            x = F.relu(norm(_packed_conv(x, weight)))
            x = x if block < _unpooled(self.side) else F.max_pool2d(x, 2)
        y = x.flatten(1).view(-1, self.copies, 2 * self.channels).transpose(0, 1)
        return torch.baddbmm(self.linear_bias[:, None], y, self.linear_weight.transpose(1, 2))


def _empty(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape))


def _packed_conv(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Convolve with two outputs a group, eight groups at a time. weight: (2G, inputs a group, 3, 3)."""
    wide, inputs = weight.shape[:2]
    pack = next(p for p in (16, 8, 4, 2) if wide % p == 0)
    place = (torch.arange(wide, device=x.device) // 2 % (pack // 2))[:, None] * inputs
    index = (place + torch.arange(inputs, device=x.device))[:, :, None, None].expand_as(weight)
    dense = weight.new_zeros(wide, pack * inputs // 2, *weight.shape[2:]).scatter(1, index, weight)
    return F.conv2d(x, dense, bias, padding=1, groups=wide // pack)
