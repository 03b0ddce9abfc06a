"""Run checkpointed parts (torch.utils.checkpoint) once, as if they were not checkpointed."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils import checkpoint


@contextmanager
def nothing_recomputed() -> Iterator[None]:
    """Let checkpointed parts of a network run once, like all others.

    Computed again for their gradients, they would be neither recorded nor tapped.
    """
    instead = {
        "CheckpointFunction": _Direct,
        "_checkpoint_without_reentrant_generator": _nothing_around,
        "_checkpoint_without_reentrant_generator_impl": _nothing_around,
    }
    before = {name: getattr(checkpoint, name) for name in instead if hasattr(checkpoint, name)}
    for name in before:
        setattr(checkpoint, name, instead[name])
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(checkpoint, name, function)


class _Direct:
    """Takes the place of torch's autograd function of a checkpoint."""

    @staticmethod
    def apply(function: Callable[..., Any], _: bool, *args: Any) -> Any:
        """Carry out the checkpointed part."""
        return function(*args)


def _nothing_around(*_: Any, **__: Any) -> Iterator[None]:
    """Replace what torch does before and after a checkpointed part."""
    yield
