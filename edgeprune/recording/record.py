"""The record of one run: each call that the user's forward made, as a graph."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch.fx as fx
from torch import Tensor, nn

from edgeprune.recording.opaque import Opaque

VALUE = "value"  # node.meta: what the call gave, without its memory; real numbers where they do not depend on the input
CALL = "call"  # node.meta: `CallSite` of a recorded call
WRITES = "writes"  # node.meta: nodes whose memory an in-place call changed while they are still in use
SIZED = "sized"  # node.meta: the network's code asked for the size of what the call gave


class CallSite(NamedTuple):
    """Where a call happened: the ``number``-th call made directly by module ``path``, at ``line`` of the user's code.

    ``in_layer`` says that the module has no modules inside: it is a layer. ``in_library`` says that its forward
    is torch's own.
    """

    path: str
    number: int
    op: str
    in_layer: bool = False
    in_library: bool = False
    line: str = ""

    @property
    def key(self) -> tuple[str, int]:
        """Identify the call in a later run of the same network."""
        return self.path, self.number


@dataclass
class Visit:
    """One run of a module: nodes of its arguments and of its result, in the structure they came in.

    ``own_arguments`` says that its forward was given what it was called with: no hook put something else there.
    """

    path: str
    args: Any
    result: Any = None
    kwargs: Any = None
    own_arguments: bool = True
    tensors: list[Tensor] = field(default_factory=list, repr=False)  # among the arguments, while it runs
    first: int = 0  # number of nodes before it, and up to its end
    last: int = 0


@dataclass
class Record:
    """The calls of one forward pass of ``model``.

    ``graph`` has a placeholder for each tensor among the inputs, a get_attr node for each parameter, buffer or
    constant that was used, and a call_function node for each call. ``training`` is the mode it ran in;
    ``visits`` lists the runs of modules, in order; ``parts`` are the modules that were not looked into.
    ``reads_mode`` says that some code asked for the mode, so that the other one may do something else;
    ``content_free`` that none asked for what is in a tensor: what it does follows from shapes alone; ``size_free``
    that none asked for a size, nor was given as many tensors as a size says: it makes the same calls at any size.
    """

    model: nn.Module
    graph: fx.Graph
    training: bool
    constants: dict[str, Tensor]
    visits: list[Visit]
    parts: Mapping[str, Opaque] = field(default_factory=dict)
    reads_mode: bool = True
    content_free: bool = False
    size_free: bool = False

    def named_modules(self, **options: Any) -> Iterator[tuple[str, nn.Module]]:
        """Return the user's own modules, by name."""
        return self.model.named_modules(**options)

    def named_parameters(self, **options: Any) -> Iterator[tuple[str, nn.Parameter]]:
        """Return the user's own parameters, by name."""
        return self.model.named_parameters(**options)

    def named_buffers(self, **options: Any) -> Iterator[tuple[str, Tensor]]:
        """Return the user's own buffers, by name."""
        return self.model.named_buffers(**options)

    @property
    def signature(self) -> list[tuple[Any, ...]]:
        """What was called where and what it gave: equal for two runs that did the same."""
        return [_signature(node) for node in self.graph.nodes if node.op == "call_function"]


def _signature(node: fx.Node) -> tuple[Any, ...]:
    site = node.meta.get(CALL)
    value = node.meta[VALUE]
    # The batch may differ between the runs that are compared.
    shape = tuple(value.shape[1:]) if isinstance(value, Tensor) else None
    sources = tuple(
        n.meta[CALL].key if CALL in n.meta else n.target
        for n in node.all_input_nodes
        if n.op != "call_function" or CALL in n.meta
    )
    return (site.key if site else None, site.op if site else "", shape, sources)


def line_of(node: fx.Node) -> str:
    """Return 'file:line: code' of the user's code that made a call; '' where it is not known."""
    site = node.meta.get(CALL)
    return site.line if site else ""


def container(node: fx.Node) -> str:
    """Return the path of the module whose own code made a call: the one around a layer of torch's."""
    while CALL not in node.meta and node.op == "call_function":
        node = node.all_input_nodes[0]  # a part of what a call gave
    site = node.meta.get(CALL)
    if site is None:
        return ""
    return site.path.rpartition(".")[0] if site.in_library else site.path
