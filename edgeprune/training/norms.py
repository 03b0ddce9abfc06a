"""BatchNorm over the whole batch when several processes share it."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.processes.distributed import world


@contextlib.contextmanager
def shared_statistics(model: nn.Module) -> Iterator[None]:
    """Let every BatchNorm of ``model`` normalise by the whole batch, not by this process's slice.

    torch's SyncBatchNorm needs a GPU; this works with any process group. It does nothing with one process.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    norms = norms if world().size > 1 else []
    for norm in norms:
        norm.forward = _Shared(norm)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


class _Shared:
    """BatchNorm's forward over all processes' slices. Source: Ioffe & Szegedy, 2015."""

    def __init__(self, norm: Any) -> None:
        self.norm = norm

    def __call__(self, x: Tensor) -> Tensor:
        norm = self.norm
        if not norm.training:
            return type(norm).forward(norm, x)
        axes, shape = [a for a in range(x.dim()) if a != 1], [1, -1] + [1] * (x.dim() - 2)
        wide = x.float()
        mean, square = _MeanOverRanks.apply(torch.stack([wide.mean(axes), wide.square().mean(axes)]))
        variance = (square - mean.square()).clamp(min=0)
        if norm.track_running_stats:
            self._remember(mean.detach(), variance.detach(), x.numel() // x.shape[1] * world().size)
        out = (wide - mean.view(shape)) * torch.rsqrt(variance.view(shape) + norm.eps)
        if norm.affine:
            out = out * norm.weight.view(shape) + norm.bias.view(shape)
        return out.to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        norm = self.norm
        norm.num_batches_tracked.add_(1)
        momentum = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        norm.running_mean.lerp_(mean, momentum)
        norm.running_var.lerp_(variance * count / max(1, count - 1), momentum)


class _MeanOverRanks(torch.autograd.Function):
    """Mean over processes; every process's loss depends on every process's slice, so gradients add up."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:  # noqa: ARG004
        import torch.distributed as dist

        total = value.clone()
        dist.all_reduce(total)
        return total / world().size

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        import torch.distributed as dist

        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total / world().size
