"""Resources by name: what a network consumes, limited by targets.

`names` lists them, `get` returns one, `register` adds one, as does an entry point of the group
``edgeprune.resources`` (a `Resource`, or a subclass of it).
"""

from edgeprune.errors import TargetError
from edgeprune.registry import ObjectRegistry
from edgeprune.resources.base import GrowingCost, Resource
from edgeprune.resources.counted import Flops, Memory, Params
from edgeprune.resources.energy import ENERGY, Energy
from edgeprune.resources.latency import LATENCY, Latency

__all__ = ["ENERGY", "LATENCY", "RESOURCES", "GrowingCost", "Resource", "get", "names", "register"]


def _check_name(resource: Resource) -> None:
    if "=" in resource.name:
        raise TargetError(f"a resource cannot be named {resource.name!r}: targets are written NAME=FRACTION")


RESOURCES = ObjectRegistry("target", "edgeprune.resources", TargetError, Resource, _check_name)
register, get, names = RESOURCES.add, RESOURCES.__getitem__, RESOURCES.names

for _resource in (Flops(), Params(), Memory(), Latency(), Energy()):
    register(_resource)
