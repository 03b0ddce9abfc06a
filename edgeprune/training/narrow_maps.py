"""Convolutions of maps that are one pixel wide or high: on a CPU they are trained in fp32."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

_CONVS: frozenset[Callable[..., Any]] = frozenset(
    (F.conv1d, F.conv2d, F.conv3d, F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)
)


@contextmanager
def narrow_maps_in_fp32() -> Iterator[None]:
    """Let convolutions of maps that are one pixel wide or high compute in fp32 on a CPU, whatever autocast says.

    In bf16, torch 2.14's gradient of a strided one is uninitialised memory wherever a tap of the kernel sees padding
    alone. Outputs do not show it, as those taps multiply zeros; the weights grow without bounds or become NaN, and
    with them every norm by which filters are judged.
    """
    with _NarrowMaps():
        yield


class _NarrowMaps(TorchFunctionMode):
    """Turns autocast off for a convolution of a narrow map, be it a layer's or a bare call."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func not in _CONVS or not torch.is_autocast_enabled("cpu") or not _is_narrow(*args, **kwargs):
            return func(*args, **kwargs)
        with torch.autocast("cpu", enabled=False):
            return func(*map(_as_fp32, args), **{name: _as_fp32(value) for name, value in kwargs.items()})


def _as_fp32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _is_narrow(input: Tensor, weight: Tensor, *_: Any, **__: Any) -> bool:  # noqa: A002 (torch's names)
    """Return whether a convolution's taps see padding alone along some side of the map, on a CPU."""
    if input.device.type != "cpu":
        return False
    kernel = weight.shape[2:]
    return any(side == 1 and size > 1 for side, size in zip(input.shape[-len(kernel) :], kernel, strict=True))
