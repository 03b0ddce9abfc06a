"""Tell whether a network's code reads its mode: if it does not, training and evaluation record the same calls."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import CodeType
from typing import Any

import torch
from torch import nn


class ModeReads:
    """Which code has read the training flag of a module; ``differs`` once one has that we do not know."""

    def __init__(self) -> None:
        self.differs = False

    def note(self, code: CodeType) -> None:
        """Note code that reads the flag."""
        self.differs = self.differs or (code not in _OF_TORCH and code not in _known_readers())


class _Flag:
    """Stands for `nn.Module.training` while it is watched: the modules' own flags, and who reads them."""

    def __init__(self, reads: ModeReads) -> None:
        self._reads = reads

    def __get__(self, module: Any, owner: type | None = None) -> Any:
        if module is None:
            raise AttributeError("training")
        self._reads.note(sys._getframe(1).f_code)
        try:
            return vars(module)["training"]
        except KeyError:
            raise AttributeError(f"{type(module).__name__!r} object has no attribute 'training'") from None

    def __set__(self, module: Any, value: Any) -> None:
        vars(module)["training"] = value

    def __delete__(self, module: Any) -> None:
        del vars(module)["training"]


@contextmanager
def mode_reads(parts: Iterable[nn.Module]) -> Iterator[ModeReads]:
    """Note who reads a training flag in the block, where a network of these modules runs.

    Modules that do something of their own when their mode changes count as readers, and so do scripted ones, whose
    flag is in C++.
    """
    reads = ModeReads()
    before = vars(nn.Module).get("training")
    if before is not None or any(map(_has_own_mode, set(map(type, parts)))):
        reads.differs = True
        yield reads
        return
    nn.Module.training = _Flag(reads)  # type: ignore[assignment]
    try:
        yield reads
    finally:
        del nn.Module.training


def _has_own_mode(kind: type[nn.Module]) -> bool:
    if issubclass(kind, torch.jit.ScriptModule) or kind.train is not nn.Module.train:
        return True
    return kind.eval is not nn.Module.eval or hasattr(kind, "training")


def _known_readers() -> frozenset[CodeType]:
    """Return forwards that pass the flag to one call or scale entire samples: channels pass alike in both modes."""
    ops = sys.modules.get(
        "torchvision.ops.stochastic_depth"
    )  # a network without torchvision's ops does not load them
    return _OF_TORCH if ops is None else _OF_TORCH | {ops.StochasticDepth.forward.__code__}


_OF_TORCH = frozenset(
    method.__code__
    for method in (
        nn.modules.batchnorm._BatchNorm.forward,
        nn.modules.instancenorm._InstanceNorm._apply_instance_norm,
        nn.Dropout.forward,
        nn.Dropout1d.forward,
        nn.Dropout2d.forward,
        nn.Dropout3d.forward,
        nn.AlphaDropout.forward,
        nn.FeatureAlphaDropout.forward,
        nn.RReLU.forward,
        nn.LSTM.forward,
        nn.GRU.forward,
        nn.RNN.forward,
    )
)
