"""Record the visits of modules, and the parts that are kept whole as one call each."""

from dataclasses import dataclass, field
from typing import Any

import torch.fx as fx
from torch import Tensor, nn

from edgeprune.recording.flops import flops_of
from edgeprune.recording.lines import user_line
from edgeprune.recording.opaque import FLOPS, WHY, opaque_call, outer_part, tensors_within
from edgeprune.recording.record import CALL, VALUE, CallSite, Visit
from edgeprune.recording.tables import ByTensor
from edgeprune.recording.tape import Tape
from edgeprune.recording.values import hollow, tensors_of, version_of
from edgeprune.recording.watching import ModuleStack


@dataclass
class Passage:
    """One run of a part that is kept whole: the tensors that enter it, as they were then."""

    visit: Visit
    site: CallSite
    entering: list[Tensor] = field(default_factory=list)
    versions: list[int] = field(default_factory=list)
    flops: int = 0
    node: fx.Node | None = None

    def admit(self, tensor: Tensor) -> None:
        """Note a tensor before it is used."""
        if not any(tensor is other for other in self.entering):
            self.entering.append(tensor)
            self.versions.append(version_of(tensor))

    def written(self) -> list[Tensor]:
        """Return the tensors that were written into since they entered."""
        return [t for t, v in zip(self.entering, self.versions, strict=True) if version_of(t) != v]


class VisitRecorder:
    """Watches the modules that run; ``visits`` are their runs so far."""

    def __init__(self, tape: Tape, model: nn.Module, stack: ModuleStack, names: dict[int, str]) -> None:
        """Follow the modules of ``stack``.

        Args:
            tape: of the run.
            model: the network.
            stack: the modules that are running.
            names: of the network's tensors, by id.
        """
        self._tape, self._stack, self._names = tape, stack, names
        self.visits: list[Visit] = []
        self._running: list[Visit] = []
        self._within = tensors_within(model, stack.parts)
        self._passage: Passage | None = None
        self._made_within = ByTensor()  # tensors that a part made, which may come out by another way
        stack.watchers.append(self)

    def entered(self, _: nn.Module, path: str | None, args: Any, kwargs: Any) -> None:
        """Open a visit of a module that begins to run.

        Args:
            _: the module.
            path: its name in the network; None for a module the network does not hold.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        visit = Visit("" if path is None else path, None, first=len(self._tape.graph.nodes))
        if path is not None:
            visit.args, visit.kwargs = self._tape.structure(tuple(args)), self._tape.structure(dict(kwargs))
            visit.tensors = tensors_of((args, kwargs))
            self.visits.append(visit)
        self._running.append(visit)

    def left(self, _: nn.Module, path: str | None, arguments: tuple[Any, Any], result: Any) -> None:
        """Close the visit of a module that has run, with its result.

        Args:
            _: the module.
            path: its name in the network; None for a module the network does not hold.
            arguments: positional and keyword arguments, as its own hooks changed them.
            result: its result.
        """
        visit = self._running.pop()
        visit.last = len(self._tape.graph.nodes)
        if path is None:
            return
        visit.result = self._tape.structure(result)
        visit.own_arguments = [id(t) for t in tensors_of(arguments)] == [id(t) for t in visit.tensors]
        visit.tensors = []

    def entered_part(self, path: str, args: Any, kwargs: Any) -> None:
        """Open a visit of an opaque part and note the tensors that enter it.

        Args:
            path: the part's name in the network.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        visit = Visit(path, self._tape.structure(tuple(args)), first=len(self._tape.graph.nodes))
        visit.kwargs = self._tape.structure(dict(kwargs))
        self.visits.append(visit)
        site = self._stack.next_part(path, user_line())
        self._passage = Passage(visit, site)
        for tensor in tensors_of((args, kwargs)):
            self._passage.admit(tensor)

    def inner_call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Carry out a call inside a part; note what it reads from the rest of the network and what it creates.

        Args:
            func: the function, method or overload that is called.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        assert self._passage is not None
        for tensor in tensors_of((args, kwargs)):
            if self._enters(tensor):
                self._passage.admit(tensor)
        result = func(*args, **kwargs)
        self._passage.flops += flops_of(func, args, result)
        for tensor in tensors_of(result):
            if tensor not in self._tape.nodes and id(tensor) not in self._names:
                self._made_within[tensor] = self._passage
        return result

    def _enters(self, tensor: Tensor) -> bool:
        if id(tensor) in self._within:
            return False
        return tensor in self._tape.nodes or id(tensor) in self._names

    def left_part(self, path: str, result: Any) -> Any:
        """Record an opaque part that has run as one call, with a value for each tensor it returned or wrote into."""
        passage, self._passage = self._passage, None
        assert passage is not None
        part = self._stack.parts[outer_part(path, self._stack.parts) or path]
        node = self._tape.create(
            "call_function", opaque_call, tuple(self._tape.argument(t) for t in passage.entering)
        )
        node.meta |= {
            CALL: passage.site,
            WHY: part.of(path),
            FLOPS: None if part.unwatched else passage.flops,
            VALUE: (),
        }
        passage.node = node
        self._tape.dynamic.add(node)
        for tensor in passage.written():
            before = self._tape.nodes[tensor]
            self._tape.note_write(node, before)
            self.part_of(passage, tensor, self._tape.memory[before])
        for tensor in tensors_of(result):
            if not any(tensor is other for other in passage.entering):
                self.part_of(passage, tensor)
        passage.visit.result = self._tape.structure(result)
        passage.visit.last = len(self._tape.graph.nodes)
        return None

    def part_of(self, passage: Passage, tensor: Tensor, memory: fx.Node | None = None) -> fx.Node:
        """Record one tensor among the results of a part.

        Args:
            passage: the run of the part.
            tensor: the result.
            memory: the first node in the same memory, where it is known.
        """
        node = passage.node
        assert node is not None
        part = self._tape.part(node, len(node.meta[VALUE]), hollow(tensor))
        node.meta[VALUE] = (*node.meta[VALUE], part.meta[VALUE])
        self._tape.know(tensor, part, memory or self._tape.shared(tensor, part, passage.entering))
        return part

    def brought_out(self, tensor: Tensor) -> fx.Node | None:
        """Return the node of a tensor that a part made and that comes out another way, kept on a module, say."""
        made = self._made_within.get(tensor)
        return None if made is None else self.part_of(made, tensor)
