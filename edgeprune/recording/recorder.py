"""Note each call of a network that runs as a node of a graph."""

from typing import Any

import torch.fx as fx
from torch import Tensor, nn

from edgeprune.recording.contents import CONTENT, decided, is_discrete
from edgeprune.recording.lines import user_line
from edgeprune.recording.origins import Origins
from edgeprune.recording.record import CALL, SIZED, VALUE
from edgeprune.recording.tape import Tape
from edgeprune.recording.uncomputed import Blank, stand_in, written_in_place
from edgeprune.recording.values import describe_foreign, is_foreign, tensors_of, version_of
from edgeprune.recording.visits import VisitRecorder
from edgeprune.recording.walks import named_tensors
from edgeprune.recording.watching import OF_SIZES, ContentAsked, ModuleStack, WatchMode


class Recorder(WatchMode):
    """Notes each call on a tape.

    Attributes:
        tape: the graph in the making.
        visits: of the modules.
        origins: of the tensors that no call has made.
        quick: costly calls are not computed.
        asked_content: the network asked for what is in a tensor, which ends a quick run.
        asked_size: the network's code asked for a size, or what it was given tells it.
        foreign: modules whose tensors are not known, with the reason.
        reads_mode: whether the network may do something else in the other mode.
    """

    def __init__(self, model: nn.Module, stack: ModuleStack, *, quick: bool = False) -> None:
        super().__init__(stack)
        self.quick = quick
        self.asked_content = False
        self.asked_size = False
        self.foreign: dict[str, str] = {}
        self.reads_mode = True
        names: dict[int, str] = {}
        for name, tensor in named_tensors(model, walked=stack.walked).items():
            names.setdefault(id(tensor), name)
        self.tape = Tape(self._origin)
        self.visits = VisitRecorder(self.tape, model, stack, names)
        self.origins = Origins(self.tape, self.visits, stack, names)
        self._blank = Blank()

    def _origin(self, tensor: Tensor) -> fx.Node:
        """Return the node of a tensor that no call has made."""
        return self.visits.brought_out(tensor) or self.origins.node_of(tensor)

    def on_inner_call(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Carry out a call inside an opaque part.

        Args:
            func: the function, method or overload that is called.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        return self.visits.inner_call(func, args, kwargs)

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
        node = self.tape.create(
            "call_function", func, self.tape.argument(tuple(args)), self.tape.argument(dict(kwargs))
        )
        node.meta[CALL] = site
        if any(n in self.tape.dynamic for n in node.all_input_nodes):
            self.tape.dynamic.add(node)
        before = None if written is None else self.tape.write(node, written)
        self._note_outputs(node, result, outputs, tensors, written, before)
        if self.quick:
            self._stop_at_content(node, result, outputs)
        return result

    def _uncomputed(self, func: Any, args: Any, kwargs: Any, tensors: list[Tensor]) -> Tensor | None:
        """Return a stand-in for the result of a call that depends on the input; all others are computed."""
        if not any(self.tape.nodes.get(tensor) in self.tape.dynamic for tensor in tensors):
            return None
        result = stand_in(func, args, kwargs, self._blank)
        return written_in_place(func, args, kwargs) if result is None else result

    def _stop_at_content(self, node: fx.Node, result: Any, outputs: list[Tensor]) -> None:
        """End a quick run where the network asks for what is in a tensor: there may be zeros in place of numbers."""
        sources = [n for n in node.all_input_nodes if n in self.tape.dynamic]
        picks = any(is_discrete(tensor) for n in sources for tensor in tensors_of(n.meta[VALUE]))
        if sources and (CONTENT in node.meta or picks or (not outputs and result is not None)):
            self.asked_content = True
            raise ContentAsked

    def on_address(self, args: Any) -> None:
        """Note that the network reads a tensor's address: what follows from it cannot be watched."""
        path = self.stack.paths[-1]
        if any(self.tape.nodes.get(t) in self.tape.dynamic for t in tensors_of(args)):
            self.foreign.setdefault(path, "it reads memory by its address, which cannot be followed")

    def on_question(self, op: str) -> None:
        """Note that the network asks something about a tensor that its size may answer."""
        self.asked_size = self.asked_size or op in OF_SIZES

    def on_size(self, args: Any) -> None:
        """Note that the network reads a tensor's size: numbers in later calls may depend on it."""
        node = self.tape.nodes.get(args[0])
        if node is not None:
            node.meta[SIZED] = True

    def _note_foreign(self, path: str, tensors: list[Tensor]) -> None:
        """Tensors of other memory or with a dispatch of their own mean what we do not know."""
        for tensor in tensors:
            if path not in self.foreign and is_foreign(tensor):
                self.foreign[path] = f"it computes with {describe_foreign(tensor)}, which cannot be followed"

    def _note_outputs(
        self,
        node: fx.Node,
        result: Any,
        outputs: list[Tensor],
        tensors: list[Tensor],
        written: Tensor | None,
        before: fx.Node | None,
    ) -> None:
        value = written if written is not None and not outputs else result
        node.meta[VALUE] = self.tape.recorded(node, value)
        if written is None and node in self.tape.dynamic:
            content = decided(node.meta[CALL].op, tensors, result)
            if content is not None:
                node.meta[CONTENT] = content
        if written is not None and before is not None:
            self.tape.know(written, node, self.tape.memory[before])
            outputs = [t for t in outputs if t is not written]
        if isinstance(result, Tensor):
            if result is not written and not any(result is t for t in tensors):
                self.tape.know(result, node, self.tape.shared(result, node, tensors))
            elif result is not written:
                self.tape.nodes[result] = node  # x.contiguous() of what is: the same tensor by another name
                self.tape.memory.setdefault(node, self.tape.memory.get(self.tape.nodes[result], node))
            return
        self._split(node, result, tensors)

    def _split(self, node: fx.Node, result: Any, tensors: list[Tensor]) -> None:
        """Create a node for each tensor of a call that returned several."""
        if not isinstance(result, (tuple, list, dict)):
            return
        self.asked_size = True  # there may be as many as an axis is long
        for key, item in result.items() if isinstance(result, dict) else enumerate(result):
            if not isinstance(item, (Tensor, tuple, list)):
                continue
            part = self.tape.part(node, key, self.tape.recorded(node, item))
            if isinstance(item, Tensor):
                self.tape.know(item, part, self.tape.shared(item, part, tensors))
            else:
                self._split(part, item, tensors)
