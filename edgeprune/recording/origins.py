"""Tensors that no call of the run has made: parameters, buffers, constants, and those that are made unseen."""

from collections.abc import Container

import torch.fx as fx
from torch import Tensor

from edgeprune.recording.lines import user_line, with_code
from edgeprune.recording.opaque import FLOPS, OPAQUE, WHY, opaque_call
from edgeprune.recording.record import CALL, VALUE, CallSite, Visit, container
from edgeprune.recording.tape import Tape
from edgeprune.recording.values import held_ids
from edgeprune.recording.visits import Passage, VisitRecorder
from edgeprune.recording.watching import ModuleStack


class Origins:
    """Makes the nodes of such tensors.

    Attributes:
        constants: tensors from outside the network, by the name of their node.
        strangers: tensors of unknown origin, by the module that has them and their number there.
        unseen: of these, what is known to depend on the input.
    """

    def __init__(self, tape: Tape, visits: VisitRecorder, stack: ModuleStack, names: dict[int, str]) -> None:
        """Know the network's own tensors.

        Args:
            tape: of the run.
            visits: of the modules so far.
            stack: the modules that are running.
            names: of the network's tensors, by id.
        """
        self._tape, self._visits, self._stack, self.names = tape, visits, stack, names
        self.constants: dict[str, Tensor] = {}
        self.strangers: dict[tuple[str, int], Tensor] = {}
        self.unseen: Container[tuple[str, int]] = ()
        self._held = held_ids([module for _, module in stack.walked])

    def node_of(self, tensor: Tensor) -> fx.Node:
        """Return the node of a parameter, a buffer, or a tensor from outside the run."""
        name = self.names.get(id(tensor))
        if name is None and id(tensor) not in self._held:
            path = self._stack.paths[-1]
            stranger = (path, sum(other == path for other, _ in self.strangers))
            self.strangers[stranger] = tensor
            if stranger in self.unseen:
                return self._made_unseen(tensor)
        if name is None:
            name = f"_constant_{len(self.constants)}"
            self.constants[name] = tensor
        node = self._tape.create("get_attr", name)
        node.meta[VALUE] = tensor
        self._tape.know(tensor, node, node)
        return node

    def _in_reach(self) -> list[fx.Node]:
        """Return all tensors that the network's own code can have read so far: its own and the results of modules."""
        passed: set[fx.Node] = set()
        for visit in self._visits.visits:
            fx.node.map_arg((visit.args, visit.kwargs, visit.result), passed.add)
        return [
            n
            for n in self._tape.graph.nodes
            if n in self._tape.dynamic and (n in passed or container(n) == "")
        ]

    def _made_unseen(self, tensor: Tensor) -> fx.Node:
        """A tensor that depends on the input, though no call has made it: on what, is not known."""
        node = self._tape.create("call_function", opaque_call, tuple(self._in_reach()))
        why = f"a tensor is made where it cannot be seen, and used at {with_code(user_line())}"
        # It is no call of the code: those keep their numbers.
        node.meta[CALL] = CallSite(self._stack.paths[-1], -len(self.strangers), OPAQUE, line=user_line())
        node.meta |= {WHY: why, FLOPS: 0, VALUE: ()}
        self._tape.dynamic.add(node)
        return self._visits.part_of(Passage(Visit("", None), node.meta[CALL], node=node), tensor)
