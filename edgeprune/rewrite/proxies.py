"""Proxies of torch.fx that know their value on the example: a size may steer Python, a tensor's content may not."""

import inspect
import operator
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.fx as fx
from torch.fx.proxy import Attribute, Proxy

from edgeprune.errors import TraceError
from edgeprune.graph.ops import assign
from edgeprune.recording.record import VALUE


def holds_no_tensor(value: Any) -> bool:
    """Tell whether a value, or what is in it, is no tensor: only such values may steer the trace."""
    if isinstance(value, (tuple, list)):
        return all(holds_no_tensor(item) for item in value)
    return not isinstance(value, torch.Tensor)


def user_line() -> str:
    """Return 'file:line: code' of the innermost frame that is neither torch's nor ours."""
    own = str(inspect.getfile(fx)).rsplit("torch", 1)[0] + "torch"
    here = __file__.rsplit("edgeprune", 1)[0] + "edgeprune/rewrite"
    for frame in reversed(traceback.extract_stack()):
        name = frame.filename
        if not (name.startswith((own + "/", here)) or name.startswith("<")):
            return f"{name}:{frame.lineno}: {frame.line}"
    return "an unknown line"


class ValueProxy(Proxy):
    """A proxy that answers len(), int() and comparisons from its example value when that is no tensor."""

    def __getattr__(self, name: str) -> Any:
        return _Attribute(self, name)

    def _plain(self, what: str) -> Any:
        value = self.node.meta.get(VALUE)
        if holds_no_tensor(value) and self.node not in self.tracer.content:  # type: ignore[attr-defined]
            return value
        raise TraceError(
            f"cannot trace this model: {what} of a tensor's content steers Python at {user_line()}; "
            "rewrite it with torch.where, or keep that part out of the traced forward"
        )

    def __len__(self) -> int:
        value = self.node.meta.get(VALUE)
        return len(value) if value is not None else self._plain("len()")

    def __setitem__(self, index: Any, value: Any) -> None:
        self.tracer.create_proxy("call_function", assign, (self, index, value), {})

    def __int__(self) -> int:
        return int(self._plain("int()"))

    def __float__(self) -> float:
        return float(self._plain("float()"))

    def __index__(self) -> int:
        return int(self._plain("an index"))


def _in_place(name: str) -> Callable[[Proxy, Any], Any]:
    """`y += z` as a call that writes into y, which torch.fx takes for `y = y + z`; for sizes it is that."""
    writing, plain = getattr(operator, f"i{name.rstrip('_')}"), getattr(operator, name)

    def method(self: Proxy, other: Any) -> Any:
        if not isinstance(self.node.meta.get(VALUE), torch.Tensor):
            return plain(self, other)
        return self.tracer.create_proxy("call_function", writing, (self, other), {})

    return method


for _name in ("add", "sub", "mul", "truediv", "floordiv", "pow", "mod", "and", "or", "xor"):
    setattr(ValueProxy, f"__i{_name}__", _in_place(_name if _name not in ("and", "or") else f"{_name}_"))


class _Attribute(ValueProxy, Attribute):
    """`x.shape`, `x.T`: as torch.fx has it, with the example value known."""

    def __init__(self, root: Proxy, attr: str) -> None:
        Attribute.__init__(self, root, attr)

    @property
    def node(self) -> fx.Node:  # type: ignore[override]
        return Attribute.node.fget(self)  # type: ignore[attr-defined]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.tracer.create_proxy("call_method", self.attr, (self.root, *args), kwargs)
