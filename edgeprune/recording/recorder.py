"""Note each call of a network that runs as a node of a graph."""

import operator
from collections import defaultdict
from collections.abc import Container
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.recording.contents import CONTENT, decided, is_discrete
from edgeprune.recording.flops import flops_of
from edgeprune.recording.lines import user_line, with_code
from edgeprune.recording.names import NodeNames
from edgeprune.recording.opaque import (
    FLOPS,
    OPAQUE,
    WHY,
    opaque_call,
    outer_part,
    tensors_within,
)
from edgeprune.recording.record import CALL, SIZED, VALUE, WRITES, CallSite, Visit, container
from edgeprune.recording.tables import ByTensor
from edgeprune.recording.uncomputed import Blank, stand_in, written_in_place
from edgeprune.recording.values import (
    describe_foreign,
    held_ids,
    hollow,
    is_foreign,
    mapped,
    storage_of,
    tensors_of,
    version_of,
)
from edgeprune.recording.walks import named_tensors
from edgeprune.recording.watching import OF_SIZES, ContentAsked, ModuleStack, WatchMode


class Recorder(WatchMode):
    """Notes each call as a node of a graph."""

    def __init__(self, model: nn.Module, stack: ModuleStack, *, quick: bool = False) -> None:
        super().__init__(stack)
        self.quick = quick  # costly calls are not computed
        self._blank = Blank()
        self.asked_content = False
        self.asked_size = False  # by the network's code, or what it was given tells it
        self.graph = fx.Graph()
        self.graph._graph_namespace = NodeNames()
        self.constants: dict[str, Tensor] = {}
        self._nodes = ByTensor()
        self._attributes: dict[int, str] = {}
        for name, tensor in named_tensors(model, walked=stack.walked).items():
            self._attributes.setdefault(id(tensor), name)
        self._dynamic: set[fx.Node] = set()  # depends on the input
        self._memory: dict[fx.Node, fx.Node] = {}  # the first node in the same memory
        self._families: dict[fx.Node, list[fx.Node]] = defaultdict(list)
        self._writes: list[tuple[fx.Node, fx.Node]] = []
        self.visits: list[Visit] = []
        self._running: list[Visit] = []
        self._within = tensors_within(model, stack.parts)
        self._passage: Passage | None = None
        self._made_within = ByTensor()  # tensors that a part made, which may come out by another way
        self.foreign: dict[str, str] = {}  # modules whose tensors are not known, with the reason
        self.strangers: dict[
            tuple[str, int], Tensor
        ] = {}  # tensors of unknown origin, by the module that has them
        self.reads_mode = True  # whether the network may do something else in the other mode
        self.unseen: Container[tuple[str, int]] = ()  # of these, what is known to depend on the input
        self._held = held_ids([module for _, module in stack.walked])
        stack.watchers.append(self)

    # --- modules -------------------------------------------------------------------------------------

    def entered(self, _: nn.Module, path: str | None, args: Any, kwargs: Any) -> None:
        """Open a visit of a module that begins to run.

        Args:
            _: the module.
            path: its name in the network; None for a module the network does not hold.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        visit = Visit("" if path is None else path, None, first=len(self.graph.nodes))
        if path is not None:
            visit.args, visit.kwargs = self._structure(tuple(args)), self._structure(dict(kwargs))
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
        visit.last = len(self.graph.nodes)
        if path is None:
            return
        visit.result = self._structure(result)
        visit.own_arguments = [id(t) for t in tensors_of(arguments)] == [id(t) for t in visit.tensors]
        visit.tensors = []

    # --- parts that are kept whole -------------------------------------------------------------------

    def entered_part(self, path: str, args: Any, kwargs: Any) -> None:
        """Open a visit of an opaque part and note the tensors that enter it.

        Args:
            path: the part's name in the network.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        visit = Visit(path, self._structure(tuple(args)), first=len(self.graph.nodes))
        visit.kwargs = self._structure(dict(kwargs))
        self.visits.append(visit)
        site = self.stack.next_part(path, user_line())
        self._passage = Passage(visit, site)
        for tensor in tensors_of((args, kwargs)):
            self._passage.admit(tensor)

    def on_inner_call(self, func: Any, args: Any, kwargs: Any) -> Any:
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
            if tensor not in self._nodes and id(tensor) not in self._attributes:
                self._made_within[tensor] = self._passage
        return result

    def _enters(self, tensor: Tensor) -> bool:
        if id(tensor) in self._within:
            return False
        return tensor in self._nodes or id(tensor) in self._attributes

    def left_part(self, path: str, result: Any) -> Any:
        """Record an opaque part that has run as one call, with a value for each tensor it returned or wrote into."""
        passage, self._passage = self._passage, None
        assert passage is not None
        part = self.stack.parts[outer_part(path, self.stack.parts) or path]
        node = self._create("call_function", opaque_call, tuple(self._argument(t) for t in passage.entering))
        node.meta |= {
            CALL: passage.site,
            WHY: part.of(path),
            FLOPS: None if part.unwatched else passage.flops,
            VALUE: (),
        }
        passage.node = node
        self._dynamic.add(node)
        for tensor in passage.written():
            before = self._nodes[tensor]
            self._writes.append((node, before))
            self._part_of(passage, tensor, self._memory[before])
        for tensor in tensors_of(result):
            if not any(tensor is other for other in passage.entering):
                self._part_of(passage, tensor)
        passage.visit.result = self._structure(result)
        passage.visit.last = len(self.graph.nodes)
        return None

    def _part_of(self, passage: "Passage", tensor: Tensor, memory: fx.Node | None = None) -> fx.Node:
        """Record one tensor among the results of a part."""
        node = passage.node
        assert node is not None
        part = self._create("call_function", operator.getitem, (node, len(node.meta[VALUE])))
        part.meta |= {VALUE: hollow(tensor), "part": True}
        node.meta[VALUE] = (*node.meta[VALUE], part.meta[VALUE])
        self._dynamic.add(part)
        self._know(tensor, part, memory or self._shared(tensor, part, passage.entering))
        return part

    # --- values --------------------------------------------------------------------------------------

    def input(self, tensor: Tensor, name: str) -> None:
        """Make ``tensor`` an input of the network."""
        node = self.graph.placeholder(name)
        node.meta[VALUE] = hollow(tensor)
        self._dynamic.add(node)
        self._know(tensor, node, node)

    def output(self, value: Any) -> None:
        """End the graph with the tensors of ``value``."""
        node = self.graph.output(tuple(self._argument(t) for t in tensors_of(value)))
        node.meta[VALUE] = None

    def _know(self, tensor: Tensor, node: fx.Node, memory: fx.Node) -> None:
        self._nodes[tensor] = node
        self._memory[node] = memory
        self._families[memory].append(node)

    def _argument(self, value: Any) -> Any:
        """Replace tensors, also in containers, by their nodes; return other values unchanged."""
        if isinstance(value, Tensor):
            node = self._nodes.get(value)
            if node is None and value in self._made_within:  # kept on a module, say
                node = self._part_of(self._made_within[value], value)
            return self._constant(value) if node is None else node
        if isinstance(value, torch.Size):
            return tuple(value)
        if isinstance(value, (tuple, list)):
            return (
                type(value)(self._argument(v) for v in value)
                if type(value) in (tuple, list)
                else tuple(self._argument(v) for v in value)
            )
        if isinstance(value, dict):
            return {k: self._argument(v) for k, v in value.items()}
        if isinstance(value, slice):
            return slice(self._argument(value.start), self._argument(value.stop), self._argument(value.step))
        return value

    def _structure(self, value: Any) -> Any:
        """Return nodes in plain containers; for any other object a tuple of its tensors' nodes."""
        if isinstance(value, (Tensor, int, float, bool, str, type(None))):
            return self._argument(value)
        if type(value) in (tuple, list):
            return type(value)(self._structure(item) for item in value)
        if type(value) is dict:
            return {key: self._structure(item) for key, item in value.items()}
        return tuple(self._argument(tensor) for tensor in tensors_of(value))

    def _constant(self, tensor: Tensor) -> fx.Node:
        """Return the node of a parameter, a buffer, or a tensor from outside the run."""
        name = self._attributes.get(id(tensor))
        if name is None and id(tensor) not in self._held:
            path = self.stack.paths[-1]
            stranger = (path, sum(other == path for other, _ in self.strangers))
            self.strangers[stranger] = tensor
            if stranger in self.unseen:
                return self._made_unseen(tensor)
        if name is None:
            name = f"_constant_{len(self.constants)}"
            self.constants[name] = tensor
        node = self._create("get_attr", name)
        node.meta[VALUE] = tensor
        self._know(tensor, node, node)
        return node

    def _in_reach(self) -> list[fx.Node]:
        """Return all tensors that the network's own code can have read so far: its own and the results of modules."""
        passed: set[fx.Node] = set()
        for visit in self.visits:
            fx.node.map_arg((visit.args, visit.kwargs, visit.result), passed.add)
        return [n for n in self.graph.nodes if n in self._dynamic and (n in passed or container(n) == "")]

    def _made_unseen(self, tensor: Tensor) -> fx.Node:
        """A tensor that depends on the input, though no call has made it: on what, is not known."""
        node = self._create("call_function", opaque_call, tuple(self._in_reach()))
        why = f"a tensor is made where it cannot be seen, and used at {with_code(user_line())}"
        # It is no call of the code: those keep their numbers.
        node.meta[CALL] = CallSite(self.stack.paths[-1], -len(self.strangers), OPAQUE, line=user_line())
        node.meta |= {WHY: why, FLOPS: 0, VALUE: ()}
        self._dynamic.add(node)
        return self._part_of(Passage(Visit("", None), node.meta[CALL], node=node), tensor)

    def _create(self, kind: str, target: Any, args: Any = (), kwargs: Any = None) -> fx.Node:
        node = self.graph.create_node(kind, target, name=_node_name(target))
        # Handed over at once they would be looked through for symbolic numbers, which are not there.
        if args:
            node.args = args
        if kwargs:
            node.kwargs = kwargs
        return node

    # --- calls ---------------------------------------------------------------------------------------

    def on_call(self, func: Any, op: str, args: Any, kwargs: Any) -> Any:
        """Carry out one call and record it.

        Args:
            func: the function, method or overload that is called.
            op: its canonical name (see `names.name_of`).
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        site = self.stack.next_call(op, user_line())
        tensors = tensors_of((args, kwargs))
        versions = [version_of(t) for t in tensors]
        result = self._uncomputed(func, args, kwargs, tensors) if self.quick else None
        if result is None:
            result = func(*args, **kwargs)
        outputs = tensors_of(result)
        self._note_foreign(site.path, [*tensors, *outputs])
        if not tensors and not outputs:
            return result
        written = next((t for t, v in zip(tensors, versions, strict=True) if version_of(t) != v), None)
        if op in ("batch_norm", "instance_norm"):  # running statistics follow the data; that is not a write
            written = None
        node = self._create("call_function", func, self._argument(tuple(args)), self._argument(dict(kwargs)))
        node.meta[CALL] = site
        if any(n in self._dynamic for n in node.all_input_nodes):
            self._dynamic.add(node)
        if written is not None:
            self._write(node, written)
        self._note_outputs(node, result, outputs, tensors, written)
        if self.quick:
            self._stop_at_content(node, result, outputs)
        return result

    def _uncomputed(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Tensor | None:
        """Return a stand-in for the result of a call that depends on the input; all others are computed."""
        if not any(self._nodes.get(tensor) in self._dynamic for tensor in tensors):
            return None
        result = stand_in(func, args, kwargs, self._blank)
        return written_in_place(func, args, kwargs) if result is None else result

    def _stop_at_content(self, node: fx.Node, result: Any, outputs: list[Tensor]) -> None:
        """End a quick run where the network asks for what is in a tensor: there may be zeros in place of numbers."""
        sources = [n for n in node.all_input_nodes if n in self._dynamic]
        picks = any(is_discrete(tensor) for n in sources for tensor in tensors_of(n.meta[VALUE]))
        if sources and (CONTENT in node.meta or picks or (not outputs and result is not None)):
            self.asked_content = True
            raise ContentAsked

    def on_address(self, args: Any) -> None:
        """Note that the network reads a tensor's address: what follows from it cannot be watched."""
        path = self.stack.paths[-1]
        if any(self._nodes.get(t) in self._dynamic for t in tensors_of(args)):
            self.foreign.setdefault(path, "it reads memory by its address, which cannot be followed")

    def on_question(self, op: str) -> None:
        """Note that the network asks something about a tensor that its size may answer."""
        self.asked_size = self.asked_size or op in OF_SIZES

    def on_size(self, args: Any) -> None:
        """Note that the network reads a tensor's size: numbers in later calls may depend on it."""
        node = self._nodes.get(args[0])
        if node is not None:
            node.meta[SIZED] = True

    def _note_foreign(self, path: str, tensors: list[Tensor]) -> None:
        """Tensors of other memory or with a dispatch of their own mean what we do not know."""
        for tensor in tensors:
            if path not in self.foreign and is_foreign(tensor):
                self.foreign[path] = f"it computes with {describe_foreign(tensor)}, which cannot be followed"

    def _write(self, node: fx.Node, tensor: Tensor) -> None:
        before = self._nodes.get(tensor)
        if before is None:
            before = self._constant(tensor)
        self._writes.append((node, before))

    def _note_outputs(
        self, node: fx.Node, result: Any, outputs: list[Tensor], tensors: list[Tensor], written: Tensor | None
    ) -> None:
        value = written if written is not None and not outputs else result
        node.meta[VALUE] = self._value(node, value)
        if written is None and node in self._dynamic:
            content = decided(node.meta[CALL].op, tensors, result)
            if content is not None:
                node.meta[CONTENT] = content
        if written is not None:
            self._know(written, node, self._memory[self._writes[-1][1]])
            outputs = [t for t in outputs if t is not written]
        if isinstance(result, Tensor):
            if result is not written and not any(result is t for t in tensors):
                self._know(result, node, self._shared(result, node, tensors))
            elif result is not written:
                self._nodes[result] = node  # x.contiguous() of what is: the same tensor by another name
                self._memory.setdefault(node, self._memory.get(self._nodes[result], node))
            return
        self._split(node, result, tensors)

    def _split(self, node: fx.Node, result: Any, tensors: list[Tensor]) -> None:
        """Create a node for each tensor of a call that returned several."""
        import operator

        if not isinstance(result, (tuple, list, dict)):
            return
        self.asked_size = True  # there may be as many as an axis is long
        for key, item in result.items() if isinstance(result, dict) else enumerate(result):
            if isinstance(item, Tensor):
                part = self._create("call_function", operator.getitem, (node, key))
                part.meta[VALUE] = self._value(node, item)
                part.meta["part"] = True
                if node in self._dynamic:
                    self._dynamic.add(part)
                self._know(item, part, self._shared(item, part, tensors))
            elif isinstance(item, (tuple, list)):
                part = self._create("call_function", operator.getitem, (node, key))
                part.meta[VALUE] = self._value(node, item)
                part.meta["part"] = True
                if node in self._dynamic:
                    self._dynamic.add(part)
                self._split(part, item, tensors)

    def _shared(self, tensor: Tensor, node: fx.Node, tensors: list[Tensor]) -> fx.Node:
        """Return the first node whose memory ``tensor`` shares."""
        key = storage_of(tensor)
        for other in tensors:
            if key is not None and storage_of(other) == key and other in self._nodes:
                return self._memory[self._nodes[other]]
        return node

    def _value(self, node: fx.Node, value: Any) -> Any:
        """Return what is recorded of a result: numbers if they do not depend on the input, else the shape alone."""
        if node in self._dynamic:
            return hollow(value)
        return mapped(value, lambda t: t.detach().clone() if t.numel() < 2**22 else hollow(t))

    # --- the end -------------------------------------------------------------------------------------

    def finish(self) -> fx.Graph:
        """Mark the in-place calls that change memory which is used by another name later."""
        order = {node: place for place, node in enumerate(self.graph.nodes)}
        for node, before in self._writes:
            family = self._families[self._memory[before]]
            late = [
                n
                for n in family
                if n not in (node, before)
                and order[n] < order[node]
                and any(order[u] > order[node] for u in n.users)
            ]
            if late:
                node.meta[WRITES] = [*node.meta.get(WRITES, []), *late, before]
        return self.graph


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


@lru_cache(maxsize=1 << 14)
def _node_name(target: Any) -> str:
    """Return what torch.fx names nodes of ``target`` after; it would look for it by regular expressions each time."""
    return fx.Graph()._target_to_str(target)
