"""Processes that train one model together: their identity, and the values on which they must agree.

Started by ``torchrun`` or ``accelerate launch``, every process runs the same program on its slice of each
batch. Gradients are averaged explicitly after the backward pass instead of wrapping the model: pruning replaces
layers and parameters during training, which wrappers do not follow. All processes must have access to the run folder.
"""

import os
import re
import sys
from functools import cache
from typing import TYPE_CHECKING

from edgeprune.errors import EdgePruneError, one_line

if TYPE_CHECKING:
    from torch import Tensor


class World:
    """This process among the ``size`` processes of a group; a single process has nothing to synchronize."""

    rank, size = 0, 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """Return this process's slice of ``count`` items, in the order of ranks; equal slices, the rest is dropped."""
        share = count // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def average(self, tensors: "list[Tensor]") -> None:
        """Replace each tensor by its mean over all processes."""

    def broadcast(self, tensor: "Tensor") -> "Tensor":
        """Return the main process's value of a tensor of the same shape."""
        return tensor

    def share(self, tensors: "list[Tensor]") -> None:
        """Replace each tensor by the main process's."""

    def wait(self) -> None:
        """Wait until every process has reached this call."""


class _Group(World):
    """The processes of torch's default group, whoever made it."""

    def __init__(self) -> None:
        import torch.distributed as dist

        self.rank, self.size = dist.get_rank(), dist.get_world_size()

    def average(self, tensors: "list[Tensor]") -> None:
        import torch
        import torch.distributed as dist

        flat = self._sendable(torch.cat([t.detach().reshape(-1).float() for t in tensors]))
        dist.all_reduce(flat)
        parts = (flat / self.size).split([t.numel() for t in tensors])
        with torch.no_grad():
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def broadcast(self, tensor: "Tensor") -> "Tensor":
        import torch.distributed as dist

        copy = self._sendable(tensor.detach().contiguous().clone())
        dist.broadcast(copy, 0)
        return copy.to(tensor.device)

    def share(self, tensors: "list[Tensor]") -> None:
        import torch

        with torch.no_grad():
            for tensor in tensors:
                tensor.copy_(self.broadcast(tensor))

    def wait(self) -> None:
        import torch.distributed as dist

        dist.barrier()

    def _sendable(self, tensor: "Tensor") -> "Tensor":
        """Return a tensor where the group can take it: NCCL sends from GPUs alone."""
        import torch.distributed as dist

        return tensor.cuda() if "nccl" in dist.get_backend() else tensor


def local_size() -> int:
    """Return how many processes a launcher started on this machine, as torchrun says in LOCAL_WORLD_SIZE."""
    text = os.environ.get("LOCAL_WORLD_SIZE", "1")
    return max(1, int(text)) if re.fullmatch("[0-9]{1,6}", text.strip()) else 1


def world() -> World:
    """Return this process among those that train together: of torch's default group, or started by a launcher.

    Raises:
        EdgePruneError: the environment's WORLD_SIZE is invalid, or the processes cannot connect.
    """
    torch = sys.modules.get("torch")
    if torch is not None and torch.distributed.is_available() and torch.distributed.is_initialized():
        return _Group()
    return _launched()


@cache
def _launched() -> World:
    """Return this process among those of a launcher, whose group is made here."""
    text = os.environ.get("WORLD_SIZE", "1")
    if not re.fullmatch("[0-9]{1,6}", text.strip()):
        raise EdgePruneError(
            f"the environment's WORLD_SIZE is {one_line(text)!r}, not a number of processes: unset it, or "
            "start with torchrun"
        )
    if int(text) <= 1:
        return World()
    try:
        import torch
        from accelerate import PartialState

        PartialState(cpu=not torch.cuda.is_available())  # reads the variables of torchrun; gloo or NCCL
        return _Group()
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise EdgePruneError(
            f"the environment's WORLD_SIZE is {text}, but the processes do not find each other "
            f"({one_line(error)}): start them with torchrun or accelerate launch, or unset it"
        ) from error
