"""Rename tensors of runs from versions in which a pruned model was its traced graph."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# The constants of removed blocks are trained; the indices of selected channels follow from the plan.
_CONSTANT = re.compile(r"\w+_constant_\d+", re.ASCII)
_COMPUTED = re.compile(r"edgeprune_(index|zero)_\d+", re.ASCII)


def named_now(tensors: "Mapping[str, Tensor]", own: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """Return ``tensors`` by the names of a model's state.

    Earlier, constants were attributes of the root module, with underscores for the dots of their path; so were
    indices, for which the model's own are used.

    Args:
        tensors: of a file.
        own: state of the model.
    """
    renamed = dict(tensors)
    for name in own:
        earlier = name.replace(".", "_")
        if name not in renamed and earlier not in own and earlier in renamed and _CONSTANT.fullmatch(earlier):
            renamed[name] = renamed.pop(earlier)
    for name in [name for name in renamed if _COMPUTED.fullmatch(name)]:
        del renamed[name]
    renamed.update(
        {name: value for name, value in own.items() if _COMPUTED.fullmatch(name.rpartition(".")[2])}
    )
    return renamed
