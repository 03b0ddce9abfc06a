"""Convolutions of maps that are one pixel wide or high: on a CPU they are trained in fp32."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


@contextmanager
def narrow_maps_in_fp32(model: nn.Module) -> Iterator[None]:
    """Let convolutions of maps that are one pixel wide or high compute in fp32 on a CPU, whatever autocast says.

    In bf16, torch 2.14's gradient of a strided one is uninitialised memory wherever a tap of the kernel sees padding
    alone. Outputs do not show it, as those taps multiply zeros; the weights grow without bounds or become NaN, and
    with them every norm by which filters are judged.

    Args:
        model: any; its convolutions have hooks inside the block.
    """
    hooks = _Hooks()
    with ExitStack() as handles:
        for module in model.modules():
            if isinstance(module, _ConvNd) and any(size > 1 for size in module.kernel_size):
                handles.callback(module.register_forward_pre_hook(hooks.before).remove)
                handles.callback(module.register_forward_hook(hooks.after, always_call=True).remove)
        yield


class _Hooks:
    """Turn autocast off before a convolution of a narrow map, and on again after it."""

    def __init__(self) -> None:
        self.entered: list[torch.autocast | None] = []

    def before(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Make the input fp32, and turn autocast off, if the map is narrow."""
        if not _is_narrow(module, args):
            self.entered.append(None)
            return None
        plain = torch.autocast("cpu", enabled=False)
        plain.__enter__()
        self.entered.append(plain)
        return (args[0].float(), *args[1:])

    def after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:  # noqa: ARG002
        """Turn autocast on again."""
        plain = self.entered.pop() if self.entered else None
        if plain is not None:
            plain.__exit__(None, None, None)


def _is_narrow(module: Any, args: tuple[Any, ...]) -> bool:
    """Return whether a convolution's taps see padding alone along some side of the map, in autocast on a CPU."""
    x = args[0] if args else None
    if not isinstance(x, Tensor) or x.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
        return False
    sides = x.shape[-len(module.kernel_size) :]
    return any(side == 1 and size > 1 for side, size in zip(sides, module.kernel_size, strict=True))
