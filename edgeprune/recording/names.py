"""One name for each operation, whether it comes as a function, a method, an operator or an ATen overload."""

from functools import lru_cache
from typing import Any

import torch
from torch import fx

OURS = ("aten", "prims", "torchvision")  # namespaces whose names are those of torch's interface

# Operators and other spellings that mean the same as a torch function.
SAME = {
    "truediv": "div",
    "itruediv": "div",
    "rtruediv": "rdiv",
    "rpow": "pow",
    "iadd": "add",
    "isub": "sub",
    "imul": "mul",
    "radd": "add",
    "rmul": "mul",
    "idiv": "div",
    "true_divide": "div",
    "divide": "div",
    "multiply": "mul",
    "subtract": "sub",
    "negative": "neg",
    "absolute": "abs",
    "concat": "cat",
    "concatenate": "cat",
    "swapaxes": "transpose",
    "swapdims": "transpose",
    "moveaxis": "movedim",
    "view_as": "reshape_as",
    "rmatmul": "matmul",
    "invert": "bitwise_not",
    "silu_": "silu",
    "fn": "",
}


class NodeNames(fx.graph._Namespace):
    """Names of a graph's nodes as torch.fx gives them; most need no regular expressions to be numbered."""

    def create_name(self, candidate: str, obj: object | None) -> str:
        """Return ``candidate``, or where that is taken, with the next number behind it."""
        candidate = candidate.replace(".", "_")
        plain = obj is None and candidate[-1:].isalpha() and candidate.isascii() and candidate.isidentifier()
        if not plain or candidate in fx.graph._illegal_names:
            return super().create_name(candidate, obj)
        if candidate not in self._used_names:
            self._base_count.setdefault(candidate, 0)
            self._used_names.add(candidate)
            return candidate
        number = self._base_count.get(candidate, 0) + 1
        while f"{candidate}_{number}" in self._used_names:
            number += 1
        self._base_count[candidate] = number
        self._used_names.add(f"{candidate}_{number}")
        return f"{candidate}_{number}"


def name_of(function: Any) -> str:
    """Return the canonical name: 'add' for torch.add, x.add_, x + y, x += y and aten.add.Tensor.

    An operation of another library is 'namespace::name': a `split` of its own need not be torch's.
    """
    try:
        return _name_of(function)
    except TypeError:  # it cannot be hashed
        return _name_of.__wrapped__(function)


@lru_cache(maxsize=1 << 10)
def _name_of(function: Any) -> str:
    if isinstance(function, torch._ops.OpOverload):
        function = function.overloadpacket
    if isinstance(function, torch._ops.OpOverloadPacket):
        name = function.__name__
        namespace = function._qualified_op_name.partition("::")[0]
        if namespace not in OURS:
            return f"{namespace}::{name}"
    elif getattr(function, "__name__", "") in ("__get__", "__set__"):
        name = getattr(function.__self__, "__name__", "") + ("" if function.__name__ == "__get__" else "_set")
    else:
        name = getattr(function, "__name__", "")
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
    elif not name.startswith("_"):
        name = name.rstrip("_")
    return SAME.get(name, name)
