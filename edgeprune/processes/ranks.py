"""Several processes that train one model: who they are, and what they must agree on.

Started by ``torchrun`` or ``accelerate launch``, every process runs the same program on its slice of each
batch. Gradients are averaged by hand after the backward pass instead of wrapping the model: pruning swaps
layers and parameters in mid-training, which wrappers do not follow. All processes must see the run folder.
"""

import os
import re
from functools import cache
from typing import TYPE_CHECKING

from edgeprune.errors import EdgePruneError, one_line

if TYPE_CHECKING:
    from torch import Tensor


class Ranks:
    """One process of a group; on its own it does nothing to anything."""

    rank, world = 0, 1

    @property
    def main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def part(self, batch: "Tensor") -> "Tensor":
        """This process's slice of a batch, the first ones first; equal in size (what is over is left out)."""
        size = len(batch) // self.world
        return batch if self.world == 1 else batch[self.rank * size : (self.rank + 1) * size]

    def average(self, tensors: "list[Tensor]") -> None:
        """Replace each tensor by its mean over all processes."""

    def from_main(self, tensor: "Tensor") -> "Tensor":
        """The main process's value of a tensor of the same shape."""
        return tensor

    def wait(self) -> None:
        """Until every process is here."""


class _Group(Ranks):
    """Through accelerate, which reads what torchrun and accelerate launch set, and picks gloo or NCCL."""

    def __init__(self) -> None:
        import torch
        from accelerate import PartialState

        self._state = PartialState(cpu=not torch.cuda.is_available())
        self.rank, self.world = self._state.process_index, self._state.num_processes

    def average(self, tensors: "list[Tensor]") -> None:
        import torch
        import torch.distributed as dist

        flat = torch.cat([t.detach().reshape(-1).float() for t in tensors])
        dist.all_reduce(flat)
        parts = (flat / self.world).split([t.numel() for t in tensors])
        with torch.no_grad():
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view_as(tensor))

    def from_main(self, tensor: "Tensor") -> "Tensor":
        import torch.distributed as dist

        tensor = tensor.contiguous().clone()
        dist.broadcast(tensor, 0)
        return tensor

    def wait(self) -> None:
        self._state.wait_for_everyone()


@cache
def ranks() -> Ranks:
    """This process among those that were started together."""
    text = os.environ.get("WORLD_SIZE", "1")
    if not re.fullmatch("[0-9]{1,6}", text.strip()):
        raise EdgePruneError(
            f"the environment's WORLD_SIZE is {one_line(text)!r}, not a number of processes: unset it, or "
            "start with torchrun"
        )
    if int(text) <= 1:
        return Ranks()
    try:
        return _Group()
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise EdgePruneError(
            f"the environment's WORLD_SIZE is {text}, but the processes do not find each other "
            f"({one_line(error)}): start them with torchrun or accelerate launch, or unset it"
        ) from error
