"""What torch.fx does not see, made visible while a trace runs: new tensors, gradients of their own, modes."""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.fx as fx
from torch.fx.proxy import Proxy

from edgeprune.errors import TraceError
from edgeprune.rewrite.proxies import user_line

CREATING = ("zeros", "ones", "full", "empty", "rand", "randn")


@contextmanager
def creating_calls(tracer: fx.Tracer, is_running: Callable[[], bool]) -> Iterator[None]:
    """Record `torch.zeros(n, ...)`, where n may be a traced size, as a call and not a constant, in the block.

    Args:
        tracer: records the call.
        is_running: tells whether the tracer itself computes a value, which is not recorded.
    """
    originals = {name: getattr(torch, name) for name in CREATING}

    def traced(function: Any) -> Any:
        @functools.wraps(function)
        def create(*args: Any, **kwargs: Any) -> Any:
            proxies: list[Proxy] = []
            fx.node.map_aggregate((args, kwargs), lambda v: proxies.append(v) if isinstance(v, Proxy) else v)
            sizes = args[0] if args and isinstance(args[0], (tuple, list)) else args
            if is_running() or not (proxies or len(sizes) > 1):
                return function(*args, **kwargs)
            return tracer.create_proxy("call_function", function, args, kwargs)

        return create

    for name, function in originals.items():
        setattr(torch, name, traced(function))
    try:
        yield
    finally:
        for name, function in originals.items():
            setattr(torch, name, function)


@contextmanager
def no_own_gradients() -> Iterator[None]:
    """Refuse functions that bring their own gradient: a trace would see through them."""
    original = vars(torch.autograd.Function)["apply"]  # the class method itself, not bound to Function

    def apply(kind: Any, *args: Any, **kwargs: Any) -> Any:
        if any(isinstance(value, Proxy) for value in (*args, *kwargs.values())):
            raise TraceError(
                f"cannot trace this model: {kind.__name__} has a gradient of its own at {user_line()}"
            )
        return original.__func__(kind, *args, **kwargs)

    torch.autograd.Function.apply = classmethod(apply)
    try:
        yield
    finally:
        torch.autograd.Function.apply = original


def calling_context() -> tuple[bool, ...]:
    """Return what decides how calls are carried out, besides their arguments."""
    return (torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda"))
