"""The small network that scores the channels of a feature map: which of them to keep.

Source: G. Calleris, Structured Pruning for Efficient Convolutional Networks, Politecnico di Torino, 2023.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIDE = 16  # every map is resized to SIDE x SIDE, so that the size of a layer's maps does not matter
BLOCKS = 4  # each halves the map: 16 -> 1


def resize(x: Tensor) -> Tensor:
    """Resize (N, C, H, W) to (N, C, 16, 16), by average pooling or bilinear interpolation."""
    if x.shape[-2:] == (SIDE, SIDE):
        return x
    if x.shape[-2] % SIDE == 0 and x.shape[-1] % SIDE == 0:
        return F.avg_pool2d(x, (x.shape[-2] // SIDE, x.shape[-1] // SIDE))
    return F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False)


class PruningModel(nn.Module):
    """Feature map (N, C, H, W) -> y (N, C), for one convolution.

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
    """

    def __init__(self, copies: int, channels: int) -> None:
        super().__init__()
        self.copies, self.channels = copies, channels
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
        """Return y (copies, N, C) from the maps of all copies side by side (N, copies * C, 16, 16)."""
        x = _packed_conv(x.contiguous(memory_format=torch.channels_last), self.stem_weight, self.stem_bias)
        for weight, norm in zip(self.conv_weights, self.norms, strict=True):
            x = F.max_pool2d(F.relu(norm(_packed_conv(x, weight))), 2)
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
