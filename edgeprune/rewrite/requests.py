"""What is to be rewritten of a cut network, and why it may not be possible."""

from collections.abc import Collection
from dataclasses import dataclass

from torch import nn

from edgeprune.graph.classes import Bools, Graph
from edgeprune.graph.liveness import Liveness
from edgeprune.graph.ordering import Orders


class NotRewritable(Exception):
    """A module whose forward cannot be written anew; the one around it may be."""


@dataclass
class Request:
    """What is to be rewritten, of one attempt at a keep-plan.

    Attributes:
        graph: of the original.
        model: the cut copy.
        keep: which classes stay.
        orders: in which order channels are written.
        liveness_by_flow: what becomes of each call, for each of the graph's flows.
        bypass: emptied branches are left out of sums.
        needed: all modules that get another forward.
        dissolved: modules that could not: their code goes into the forward around.
    """

    graph: Graph
    model: nn.Module
    keep: Bools
    orders: Orders
    liveness_by_flow: list[Liveness]
    bypass: bool
    needed: Collection[str]
    dissolved: Collection[str]
