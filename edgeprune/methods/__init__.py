"""Pruning methods by name: criteria, schedule and training callback of each.

`names` lists them, `get` returns one, `register` adds one, as does an entry point of the group ``edgeprune.methods`` (a
`Method`, or a subclass of it). Every registered criterion is a method too.
"""

import sys
from importlib.metadata import entry_points

from edgeprune.errors import TrainError, known
from edgeprune.methods.auto import Auto
from edgeprune.methods.base import Method
from edgeprune.methods.criteria import BY_CRITERIA, OF_EDGEPRUNE, ByCriterion
from edgeprune.methods.given_plan import GivenPlan
from edgeprune.methods.learned import Learned
from edgeprune.methods.options import MethodOptions
from edgeprune.methods.schedules import SCHEDULES, Schedule
from edgeprune.methods.sensitive import BySensitivity
from edgeprune.registry import ObjectRegistry

__all__ = [
    "METHODS", "SCHEDULES", "ByCriterion", "Method", "MethodOptions", "Schedule",
    "chosen_method", "criterion_names", "get", "names", "register",
]  # fmt: skip

METHODS = ObjectRegistry("method", "edgeprune.methods", TrainError, Method)
register = METHODS.add
_PLAN = GivenPlan()

for _method in (Learned(), *BY_CRITERIA, BySensitivity(), Auto()):
    register(_method)


def names() -> tuple[str, ...]:
    """Return the names of all methods, including registered criteria."""
    return (*METHODS.names(), *_other_criteria())


def criterion_names() -> tuple[str, ...]:
    """Return the names of all criteria, with those of a user and of other packages.

    As for `names`, torch is imported only where there may be others than edgeprune's.
    """
    return (*OF_EDGEPRUNE, *_other_criteria())


def _other_criteria() -> tuple[str, ...]:
    """Return the names of criteria that are not among the methods: a user's own, and those of other packages.

    Criteria need torch, which takes seconds to import: it is done only where there may be such ones.
    """
    if "edgeprune.importance" not in sys.modules and not entry_points(group="edgeprune.criteria"):
        return ()
    from edgeprune.importance import CRITERIA

    own = METHODS.names()
    return tuple(name for name in CRITERIA if name not in own)


def get(name: str) -> Method:
    """Return the method of that name; raises TrainError for an unknown one."""
    if name in METHODS:
        return METHODS[name]
    if name not in _other_criteria():
        raise TrainError(known("method", name, list(names())))
    from edgeprune.importance import CRITERIA

    first_line = ((CRITERIA[name].__doc__ or "").strip().splitlines() or [""])[0]
    return ByCriterion(name, first_line)


def chosen_method(options: MethodOptions) -> Method:
    """Return the method that options select; raises TrainError for an unknown one."""
    return _PLAN if options.plan is not None else get(options.method)
