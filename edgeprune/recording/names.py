"""One name for each operation, whether it comes as a function, a method, an operator or an ATen overload."""

from functools import lru_cache
from typing import Any

import torch

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
