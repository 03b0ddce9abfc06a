"""Leave Python's cycle collector out of work that makes many objects, nearly all of which stay."""

import functools
import gc
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def collecting_later(function: Callable[P, R]) -> Callable[P, R]:
    """``function`` with the collector off, and as it was before afterwards.

    A trace of a large network makes some 100,000 objects that live on. The collector starts by their
    number, looks at everything that torch has loaded too, and finds nothing: a third of the whole time.
    """

    @functools.wraps(function)
    def wrapped(*args: P.args, **named: P.kwargs) -> R:
        if not gc.isenabled():
            return function(*args, **named)
        gc.disable()
        try:
            return function(*args, **named)
        finally:
            gc.enable()

    return wrapped
