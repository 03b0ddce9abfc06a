"""Count FLOPs of single ATen calls, which run inside opaque parts."""

import math
from typing import Any

import torch
from torch import Tensor

_NORMS = {  # place of the gain; FLOPs for each element without it and with it, as for the layers that are looked into
    "native_batch_norm": (1, 1, 2),
    "_native_batch_norm_legit": (1, 1, 2),
    "_native_batch_norm_legit_no_training": (1, 1, 2),
    "cudnn_batch_norm": (1, 1, 2),
    "native_group_norm": (1, 4, 5),
    "native_layer_norm": (2, 4, 5),
}
_SPATIAL = {"_adaptive_avg_pool2d": 1, "upsample_nearest2d": 1, "upsample_bilinear2d": 4}


def flops_of(func: Any, args: tuple[Any, ...], result: Any) -> int:
    """Count the multiply-adds of one ATen call as fvcore does; 0 for what it does not count.

    Args:
        func: an overload, as a dispatch mode is given it.
        args: its arguments.
        result: what it gave.
    """
    if not isinstance(func, torch._ops.OpOverload):
        return 0
    name = func.overloadpacket.__name__
    if name in ("convolution", "_convolution", "mkldnn_convolution", "cudnn_convolution"):
        return _convolution(args, result)
    if name in ("mm", "bmm"):
        return args[0].numel() * args[1].shape[-1]
    if name in ("addmm", "baddbmm"):
        return args[1].numel() * args[2].shape[-1]
    if name in _NORMS:
        place, plain, affine = _NORMS[name]
        return args[0].numel() * (plain if args[place] is None else affine)
    if name in _SPATIAL:
        return _SPATIAL[name] * (result if name.startswith("upsample") else args[0]).numel()
    return 0


def _convolution(args: tuple[Any, ...], result: Tensor) -> int:
    source, weight = args[0], args[1]
    transposed = len(args) > 6 and args[6] is True
    positions = math.prod((source if transposed else result).shape[2:])
    return int(result.shape[0] * positions * weight.numel())
