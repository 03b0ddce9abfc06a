"""Compile the networks of a stage: its first steps take a minute or two, all others less time."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from edgeprune.errors import TrainError, one_line

_CUDA_LOG = logging.getLogger("torch.utils.cpp_extension")
_COMPILERS = ("torch._dynamo", "torch._inductor")  # where the errors of torch.compile are defined


@contextmanager
def compiling(
    model: nn.Module, teacher: nn.Module | None, *, enabled: bool
) -> Iterator[tuple[nn.Module, nn.Module | None]]:
    """Yield networks that compute what those given do, compiled by torch.compile; it forgets them after the block.

    The networks share their weights with those given, which stay as they are.

    Args:
        model: in training.
        teacher: in eval mode; None without one.
        enabled: whether they are compiled; otherwise they are yielded as they are.

    Raises:
        TrainError: one cannot be compiled, or this machine has no compiler for it.
    """
    if not enabled:
        yield model, teacher
        return
    _CUDA_LOG.setLevel(logging.ERROR)  # it warns where CUDA_HOME is set and no GPU is there
    try:
        yield _compiled(model), None if teacher is None else _compiled(teacher)
    except Exception as error:
        if not type(error).__module__.startswith(_COMPILERS):
            raise
        what = str(error).split("\n\n")[0]  # advice to developers of torch follows
        raise TrainError(
            f"torch.compile cannot compile the network here ({one_line(what)[:200]}): leave `compile` out"
        ) from error
    finally:
        torch.compiler.reset()  # a class is compiled for a few of its networks alone, and a process may train many


def _compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model)  # type: ignore[return-value]
