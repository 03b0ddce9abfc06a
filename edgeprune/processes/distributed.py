"""Processes that train one model together: their identity, and the values on which they must agree.

Started by ``torchrun`` or ``accelerate launch``, every process runs the same program on its slice of each
batch. Gradients are averaged explicitly after the backward pass instead of wrapping the model: pruning replaces
layers and parameters during training, which wrappers do not follow. All processes must have access to the run folder.
"""

import os
import re
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from edgeprune.errors import EdgePruneError, one_line

if TYPE_CHECKING:
    from torch import Tensor

Batch = TypeVar("Batch", "Tensor", list[Any])


class World:
    """This process among the ``size`` processes of a group; a single process has nothing to synchronize."""

    rank, size = 0, 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def shard(self, batch: Batch) -> Batch:
        """Return this process's slice of a tensor or list, in the order of ranks; equal slices, the rest is dropped."""
        count = len(batch) // self.size
        if self.size == 1:
            return batch
        return batch[self.rank * count : (self.rank + 1) * count]

    def average(self, tensors: "list[Tensor]") -> None:
        """Replace each tensor by its mean over all processes."""

    def broadcast(self, tensor: "Tensor") -> "Tensor":
        """Return the main process's value of a tensor of the same shape."""
        return tensor

    def wait(self) -> None:
        """Wait until every process has reached this call."""


class _Group(World):
    """A group by accelerate, which reads the variables of torchrun and accelerate launch, and uses gloo or NCCL."""

    def __init__(self) -> None:
        import torch
        from accelerate import PartialState

        self._state = PartialState(cpu=not torch.cuda.is_available())
        self.rank, self.size = self._state.process_index, self._state.num_processes

    def average(self, tensors: "list[Tensor]") -> None:
        import torch
        import torch.distributed as dist

        flat = torch.cat([t.detach().reshape(-1).float() for t in tensors])
        dist.all_reduce(flat)
        parts = (flat / self.size).split([t.numel() for t in tensors])
        with torch.no_grad():
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def broadcast(self, tensor: "Tensor") -> "Tensor":
        import torch.distributed as dist

        tensor = tensor.contiguous().clone()
        dist.broadcast(tensor, 0)
        return tensor

    def wait(self) -> None:
        self._state.wait_for_everyone()


@cache
def world() -> World:
    """Return this process among those that were started together.

    Raises:
        EdgePruneError: the environment's WORLD_SIZE is invalid, or the processes cannot connect.
    """
    text = os.environ.get("WORLD_SIZE", "1")
    if not re.fullmatch("[0-9]{1,6}", text.strip()):
        raise EdgePruneError(
            f"the environment's WORLD_SIZE is {one_line(text)!r}, not a number of processes: unset it, or "
            "start with torchrun"
        )
    if int(text) <= 1:
        return World()
    try:
        return _Group()
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise EdgePruneError(
            f"the environment's WORLD_SIZE is {text}, but the processes do not find each other "
            f"({one_line(error)}): start them with torchrun or accelerate launch, or unset it"
        ) from error
