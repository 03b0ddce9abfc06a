"""Resources by name: what a network takes, of which a target says how much may remain.

`names` lists them, `get` gives one, `register` adds one, as does an entry point of the group ``edgeprune.resources`` (a
`Resource`, or a subclass of it).
"""

from edgeprune.errors import TargetError, known
from edgeprune.registry import Registry
from edgeprune.resources.base import GrowingCost, Resource
from edgeprune.resources.counted import Flops, Memory, Params
from edgeprune.resources.latency import LATENCY, Latency

__all__ = ["LATENCY", "RESOURCES", "GrowingCost", "Resource", "get", "names", "register"]

RESOURCES: Registry[Resource | type[Resource]] = Registry("target", "edgeprune.resources", TargetError)


def register(resource: Resource | type[Resource], *, replace: bool = False) -> Resource:
    """Add a resource under its own name, and return it.

    Args:
        resource: an object, or a class that is made without arguments.
        replace: whether it may take the place of another.

    Raises:
        TargetError: it is not a `Resource`, has no name, or the name is taken.
    """
    made = _made(resource)
    if "=" in made.name:
        raise TargetError(f"a resource cannot be named {made.name!r}: targets are written NAME=FRACTION")
    RESOURCES.register(made.name, made, replace=replace)
    return made


def _made(resource: object) -> Resource:
    made = resource() if isinstance(resource, type) and issubclass(resource, Resource) else resource
    if not isinstance(made, Resource):
        raise TargetError(f"{made!r} is not a resource: derive it from edgeprune.resources.Resource")
    return made


for _resource in (Flops(), Params(), Memory(), Latency()):
    register(_resource)


def names() -> tuple[str, ...]:
    """Return the names of all resources."""
    return RESOURCES.names()


def get(name: str) -> Resource:
    """Return the resource of that name; raises TargetError for an unknown one."""
    if name not in RESOURCES:
        raise TargetError(known("target", name, list(names())))
    return _made(RESOURCES[name])
