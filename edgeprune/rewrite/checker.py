"""Run a cut network and stop at the first call that does not move exactly the surviving channels.

Every value of the cut network must carry the labels that survive of the original's, in order. The user's own code
is run; where a width is written into it, a call raises or gives other labels, and `Diverged` names it.
"""

from typing import Any

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from edgeprune.graph import labels as lb
from edgeprune.graph.classes import Graph
from edgeprune.graph.movers import index_nodes, run_mover
from edgeprune.graph.survivors import BROKEN, Survivors
from edgeprune.trace.record import CALL, VALUE, Record, Visit
from edgeprune.trace.recorder import ModuleStack, WatchMode, first_line, run_watched, tensors_of
from edgeprune.trace.untouched import untouched

_SIZED = {"group_norm", "layer_norm", "new_zeros", "new_ones", "new_full", "new_empty", "expand", "interpolate"}


class Diverged(Exception):
    """The cut network does something else at ``node`` (None: where the record has no call) inside module ``path``."""

    passes_watch = True

    def __init__(self, path: str, node: fx.Node | None, why: str) -> None:
        super().__init__(f"{path or 'the network'}: {why}")
        self.path, self.node, self.why = path, node, why


class Checker(WatchMode):
    """Follows a run of the cut network along the record of the original."""

    def __init__(
        self, graph: Graph, record: Record, survivors: Survivors, stack: ModuleStack, rewritten: set[str]
    ) -> None:
        super().__init__(stack)
        self.graph, self.flow, self.survivors, self.rewritten = graph, graph.flow_of(record), survivors, rewritten
        self.nodes = {n.meta[CALL].key: n for n in record.graph.nodes if CALL in n.meta}
        self.remaps = {remap.node: remap for remap in self.flow.remaps}
        self.actual: WeakIdKeyDictionary = WeakIdKeyDictionary()
        self._visits: dict[str, list[Visit]] = {}
        for visit in record.visits:
            self._visits.setdefault(visit.path, []).append(visit)
        self._inside = 0  # of rewritten modules
        stack.watchers.append(self)

    # --- rewritten modules: only what comes out counts -----------------------------------------------

    def entered(self, module: nn.Module, path: str | None, _: Any) -> None:
        """A module begins to run."""
        if path in self.rewritten:
            self._inside += 1

    def left(self, module: nn.Module, path: str | None, result: Any) -> None:
        """A module has run: what a rewritten one gives must be what survives of the original's result."""
        if path not in self.rewritten or path is None:
            return
        self._inside -= 1
        visits = self._visits.get(path)
        if not visits:
            raise Diverged(path, None, "it runs more often than before")
        visit = visits.pop(0)
        if self._inside:
            return
        wanted = [self.survivors.of(self.flow.values[n]) for n in fx_nodes(visit.result)]
        tensors = tensors_of(result)
        if len(wanted) != len(tensors):
            raise Diverged(path, None, "it gives another number of tensors")
        for tensor, labels in zip(tensors, wanted, strict=True):
            if not isinstance(labels, Tensor) or not fits(tensor, labels):
                raise Diverged(path, None, "its rewritten forward gives another shape")
            self.actual[tensor] = labels

    # --- calls ---------------------------------------------------------------------------------------

    def on_call(self, func: Any, op: str, args: Any, kwargs: Any) -> Any:
        """Carry out one call and hold its result against the record."""
        site = self.stack.next_call(op)
        if self._inside:
            return func(*args, **kwargs)
        node = self.nodes.get(site.key)
        try:
            result = func(*args, **kwargs)
        except Exception as error:
            if node is None and not tensors_of((args, kwargs)):
                raise
            raise Diverged(site.path, node, f"{op} fails: {first_line(error)}") from error
        if node is None:
            if tensors_of(result):
                raise Diverged(site.path, None, f"{op} was not called before")
            return result
        if node.meta[CALL].op != op:
            raise Diverged(site.path, node, f"{op} is called where {node.meta[CALL].op} was")
        self._check(node, op, args, kwargs, result)
        return result

    def _check(self, node: fx.Node, op: str, args: Any, kwargs: Any, result: Any) -> None:
        path, labels = node.meta[CALL].path, self.flow.values.get(node)
        value = result if result is not None else next(iter(tensors_of(args)), None)  # setitem changes its argument
        expected = self.survivors.of(labels)
        if node in self.flow.movers:
            self._check_move(node, op, args, kwargs, value, expected)
            return
        if any(self.actual.get(t) is BROKEN for t in tensors_of((args, kwargs))):
            raise Diverged(path, node, f"{op} reads channels that were moved to other places")
        if node in self.remaps:
            self._check_remap(node)
        if node in self.flow.pointwise:
            self._check_numbers(node, args, kwargs)
            self._check_operands(node, args, kwargs, expected)
        if op == "mean" and any(reader.node is node for reader in self.flow.readers):
            source = self.flow.values[node.all_input_nodes[0]]
            if tuple(source.shape) != tuple(tensors_of(args)[0].shape):
                raise Diverged(path, node, "a mean over channels divides by their number")
        self._learn(node, op, value, expected)

    def _learn(self, node: fx.Node, op: str, value: Any, expected: Any) -> None:
        """Hold shapes against the labels, and remember these."""
        if isinstance(value, Tensor):
            if not isinstance(expected, Tensor) or not fits(value, expected):
                found = tuple(value.shape)
                raise Diverged(node.meta[CALL].path, node, f"{op} gives the shape {found}")
            self.actual[value] = expected
        elif isinstance(value, (tuple, list)) and isinstance(expected, (tuple, list)):
            for item, label in zip(value, expected, strict=False):
                if isinstance(item, Tensor):
                    self._learn(node, op, item, label)

    def _check_numbers(self, node: fx.Node, args: Any, kwargs: Any) -> None:
        """A width that enters the arithmetic must stay what it was."""
        before = [v for v in lb.flat([list(node.args), dict(node.kwargs)]) if isinstance(v, (int, float))]
        after = [v for v in lb.flat([list(args), dict(kwargs)]) if isinstance(v, (int, float))]
        if before != after and node.meta[CALL].op not in _SIZED:
            raise Diverged(node.meta[CALL].path, node, "a width enters the arithmetic")

    def _check_operands(self, node: fx.Node, args: Any, kwargs: Any, expected: Any) -> None:
        if not isinstance(expected, Tensor):
            return
        for tensor in tensors_of((args, kwargs)):
            labels = self.actual.get(tensor)
            if isinstance(labels, Tensor) and labels.dim() <= expected.dim():
                if not self._meets(labels, expected):
                    raise Diverged(node.meta[CALL].path, node, "operands of different channels meet")

    def _meets(self, labels: Tensor, expected: Tensor) -> bool:
        try:
            a, b = torch.broadcast_tensors(lb.core(labels), lb.core(expected))
        except RuntimeError:
            return False
        classes = torch.from_numpy(self.graph.class_of)
        return bool(((a == b) | (a == 0) | (b == 0) | (classes[a] == classes[b])).all())

    def _check_remap(self, node: fx.Node) -> None:
        remap = self.remaps[node]
        before, after = self.survivors.order_of(remap.inputs), self.survivors.order_of(remap.outputs)
        if len(before) == len(remap.inputs) and after == list(range(len(remap.outputs))):
            return
        place = {index: position for position, index in enumerate(before)}
        source = [place.get(int(remap.source[i]), -1) for i in after]
        low = int((remap.source >= 0).nonzero()[0, 0]) if bool((remap.source >= 0).any()) else 0
        high = len(remap.outputs) - low - len(remap.inputs)
        if source != [-1] * low + list(range(len(before))) + [-1] * high:
            raise Diverged(node.meta[CALL].path, node, "zero channels are padded by a number in the code")

    # --- movers --------------------------------------------------------------------------------------

    def _check_move(self, node: fx.Node, op: str, args: Any, kwargs: Any, value: Any, expected: Any) -> None:
        """Move the labels as the cut network moves its channels."""
        static = {id(t) for t in self._indices(node, args, kwargs)}

        def labels_of(item: Any) -> Any:
            if not isinstance(item, Tensor):
                return item
            if id(item) in static:
                return item.cpu()
            known = self.actual.get(item)
            if known is None:
                known = self._parameter_labels(node, item)
            return known

        moved = fx.node.map_aggregate((tuple(args), dict(kwargs)), labels_of)
        if any(leaf is BROKEN or leaf is None and had is not None for leaf, had in _pairs(moved, (args, kwargs))):
            raise Diverged(node.meta[CALL].path, node, f"{op} moves channels of unknown places")
        try:
            result = lb.run_on_labels(lambda *a, **k: run_mover(node, op, None, a, k), *moved)
        except Exception as error:
            raise Diverged(node.meta[CALL].path, node, f"{op} cannot move them ({first_line(error)})") from error
        self._compare(node, op, value, result, expected)

    def _compare(self, node: fx.Node, op: str, value: Any, result: Any, expected: Any) -> None:
        if isinstance(value, (tuple, list)):
            same = isinstance(result, (tuple, list)) and len(result) == len(value)
            if not same or not isinstance(expected, (tuple, list)) or len(expected) != len(value):
                raise Diverged(node.meta[CALL].path, node, f"{op} gives another number of parts")
            for item, found, wanted in zip(value, result, expected, strict=True):
                self._compare(node, op, item, found, wanted)
            return
        if not isinstance(value, Tensor):
            return
        if tuple(value.shape) != tuple(result.shape):
            raise Diverged(node.meta[CALL].path, node, f"{op} gives the shape {tuple(value.shape)}")
        # Where the survivors form no grid the value only exists inside a chain of movers: its end is compared.
        if expected is not BROKEN and not lb.matches(_same_batch(result, expected), expected):
            raise Diverged(node.meta[CALL].path, node, f"{op} would move other channels")
        self.actual[value] = result

    def _indices(self, node: fx.Node, args: Any, kwargs: Any) -> list[Tensor]:
        """The tensors of a call that say where, not what."""
        numbers = [n for n in fx_nodes((node.args, node.kwargs))]
        tensors = tensors_of((args, kwargs))
        indices = index_nodes(node)
        return [t for t, n in zip(tensors, numbers, strict=False) if n in indices]

    def _parameter_labels(self, node: fx.Node, tensor: Tensor) -> Any:
        """Labels of a parameter or constant that enters at this call."""
        for source in node.all_input_nodes:
            labels = self.flow.values.get(source)
            if source.op == "get_attr" and isinstance(labels, Tensor):
                kept = self.survivors.of(labels)
                if isinstance(kept, Tensor) and tuple(kept.shape) == tuple(tensor.shape):
                    return kept
        return lb.constants_like(tensor)


def check(
    model: nn.Module, inputs: tuple[Any, ...], graph: Graph, record: Record, survivors: Survivors, rewritten: set[str]
) -> None:
    """Run the cut ``model`` in the record's mode; raise Diverged at the first call that is not the original's."""
    stack = ModuleStack(model)
    checker = Checker(graph, record, survivors, stack, rewritten)
    placeholders = [n for n in record.graph.nodes if n.op == "placeholder"]
    for tensor, node in zip(tensors_of(inputs), placeholders, strict=True):
        checker.actual[tensor] = checker.flow.values[node]
    with untouched(model), torch.no_grad():
        model.train(record.training)
        try:
            run_watched(model, inputs, checker)
        except Diverged:
            raise
        except Exception as error:
            cause = error.__cause__ if isinstance(error.__cause__, Diverged) else None
            if cause is not None:
                raise cause from error
            raise Diverged("", None, first_line(error)) from error


def fits(value: Tensor, labels: Tensor) -> bool:
    """Whether a tensor has the shape of its labels."""
    return tuple(value.shape) == tuple(labels.shape)


def _same_batch(result: Tensor, expected: Tensor) -> Tensor:
    return result


def _pairs(moved: Any, originals: Any) -> list[tuple[Any, Any]]:
    return list(zip(lb.flat(_plain(moved)), lb.flat(_plain(originals)), strict=True))


def _plain(value: Any) -> Any:
    """Slices taken apart, so that tensors inside them are seen."""
    if isinstance(value, slice):
        return [value.start, value.stop, value.step]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value


def fx_nodes(value: Any) -> list[fx.Node]:
    """All nodes of nested containers, in order."""
    if isinstance(value, fx.Node):
        return [value]
    if isinstance(value, slice):
        value = [value.start, value.stop, value.step]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [n for item in value for n in fx_nodes(item)]
    return []
