"""Tensors of runs that were made when a pruned model was its traced graph, by the names that they have now."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# What removed blocks leave behind is trained; which channels a model picks follows from its plan.
_CONSTANT = re.compile(r"\w+_constant_\d+", re.ASCII)
_COMPUTED = re.compile(r"edgeprune_(index|zero)_\d+", re.ASCII)


def named_now(tensors: "Mapping[str, Tensor]", own: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Return ``tensors`` by the names of a model's state.

    Constants stood at the root, with underscores for the dots of their place; so did indices, which the model
    has itself.

    Args:
        tensors: of a file.
        own: the model's.
    """
    renamed = dict(tensors)
    for name in own:
        before = name.replace(".", "_")
        if name not in renamed and before not in own and before in renamed and _CONSTANT.fullmatch(before):
            renamed[name] = renamed.pop(before)
    for name in [name for name in renamed if _COMPUTED.fullmatch(name)]:
        del renamed[name]
    renamed.update(
        {name: value for name, value in own.items() if _COMPUTED.fullmatch(name.rpartition(".")[2])}
    )
    return renamed
