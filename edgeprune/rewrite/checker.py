"""Run a cut network and stop at the first call that does not move exactly the surviving channels.

Every value of the cut network must carry the labels that survive of the original's, in order. The user's own code
is run; where a width is written into it, a call raises or gives other labels, and `Diverged` names it.
"""

from collections import defaultdict
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any, NoReturn

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph import labels as lb
from edgeprune.graph.classes import Graph
from edgeprune.graph.element_check import ElementCheck
from edgeprune.graph.liveness import Liveness
from edgeprune.graph.movers import (
    assigned_index,
    index_nodes,
    index_nodes_of_assignment,
    run_mover,
    written_labels,
)
from edgeprune.graph.ops import OPS, source_of
from edgeprune.graph.survivors import BROKEN, Survivors
from edgeprune.recording.lines import first_line
from edgeprune.recording.opaque import WHY
from edgeprune.recording.record import CALL, Record, Visit
from edgeprune.recording.tables import ByTensor
from edgeprune.recording.uncomputed import Blank, stand_in, written_in_place
from edgeprune.recording.untouched import ModelState
from edgeprune.recording.values import tensors_of
from edgeprune.recording.walks import set_mode
from edgeprune.recording.watching import ContentAsked, ModuleStack, WatchMode, run_watched
from edgeprune.rewrite.choices import replay_of

# Their sizes are held against the labels, so that the numbers need not be.
_SIZED = {"new_zeros", "new_ones", "new_full", "new_empty", "expand", "interpolate", "upsample"}
# They may give back what they are given: code that adapts sizes calls them where sizes differ.
_ADAPTING = {
    "interpolate",
    "upsample",
    "pad",
    "getitem",
    "narrow",
    "contiguous",
    "adaptive_avg_pool2d",
    "reshape",
    "view",
    "expand",
}


_PLAIN = {int, float, bool, str, type(None)}


class Diverged(Exception):
    """The cut network does something else at ``node`` (None: where the record has no call) inside module ``path``."""

    passes_watch = True

    def __init__(self, path: str, node: fx.Node | None, why: str) -> None:
        super().__init__(f"{path or 'the network'}: {why}")
        self.path, self.node, self.why = path, node, why


class Checker(WatchMode):
    """Follows a run of the cut network along the record of the original, whose choices by content it is given."""

    def __init__(
        self,
        graph: Graph,
        record: Record,
        survivors: Survivors,
        stack: ModuleStack,
        rewritten: Collection[str],
        *,
        quick: bool = False,
    ) -> None:
        super().__init__(stack)
        self.quick = quick  # costly calls are not computed
        self._blank = Blank()
        self.graph, self.flow, self.survivors, self.rewritten = (
            graph,
            graph.flow_of(record),
            survivors,
            rewritten,
        )
        self.nodes = {n.meta[CALL].key: n for n in record.graph.nodes if CALL in n.meta}
        self.remaps = {remap.node: remap for remap in self.flow.remaps}
        self.actual = ByTensor()  # the labels of each tensor
        self.failure: Diverged | None = None
        self.replay = replay_of(graph, self.flow, rewritten)
        self._consumers = {consumer.node for consumer in self.flow.consumers}
        self._part: fx.Node | None = None  # the call of the part that runs
        self._loose = _after_parts(record)  # their sizes may follow the content that a part has seen
        self._added: dict[str, int] = defaultdict(int)  # calls that only the cut network makes, by module
        self._visits: dict[str, list[Visit]] = {}
        for visit in record.visits:
            self._visits.setdefault(visit.path, []).append(visit)
        self._running: list[tuple[bool, Visit | None]] = []  # whether its calls go unchecked; its visit
        stack.watchers.append(self)

    def fail(self, path: str, node: fx.Node | None, why: str, cause: Exception | None = None) -> NoReturn:
        """Stop the run; code that catches errors cannot hide it.

        Args:
            path: the module in which the runs diverge.
            node: the recorded call that differs, if it is known.
            why: what differs, for the message.
            cause: the error that showed it.

        Raises:
            Diverged: always.
        """
        if self.failure is None:
            self.failure = Diverged(path, node, why)
        raise self.failure from cause

    # --- modules: of rewritten ones only what comes out counts ---------------------------------------

    def entered(self, _: nn.Module, path: str | None, args: Any, kwargs: Any) -> None:
        """Check the arguments of a module that is called from a rewritten one.

        Args:
            _: the module.
            path: its name in the network; None for a module the network does not hold.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        unchecked = bool(self._running) and self._running[-1][0]
        if path is None:
            self._running.append((unchecked, None))
            return
        visits = self._visits.get(path)
        if not visits:
            self._running.append((unchecked, None))
            self.fail(path, None, "it runs more often than before")
        visit = visits.pop(0)
        self._running.append((path in self.rewritten, visit))
        if unchecked and path not in self.rewritten:
            self._take(path, (args, kwargs), (visit.args, visit.kwargs), "it is given another")

    def left(self, _: nn.Module, path: str | None, __: Any, result: Any) -> None:
        """Check that a rewritten module returns what survives of the original's result.

        Args:
            _: the module.
            path: its name in the network; None for a module the network does not hold.
            __: positional and keyword arguments, as its own hooks changed them.
            result: its result.
        """
        visit = self._running.pop()[1]
        if path in self.rewritten and path is not None and visit is not None and self.failure is None:
            self._take(path, result, visit.result, "its rewritten forward gives another")

    def _take(self, path: str, value: Any, structure: Any, what: str) -> None:
        """Check that tensors at the border of a rewritten forward have the recorded shapes, and label them."""
        nodes, tensors = fx_nodes(structure), tensors_of(value)
        if len(nodes) != len(tensors):
            self.fail(path, None, f"{what} number of tensors")
        for tensor, node in zip(tensors, nodes, strict=True):
            labels = self._sized(node, tensor, self.survivors.of(self.flow.values[node]))
            if not isinstance(labels, Tensor) or not fits(tensor, labels):
                self.fail(path, None, f"{what} shape")
            self.actual[tensor] = labels

    def _sized(self, node: fx.Node, value: Any, labels: Any) -> Any:
        """Return the labels at the sizes of ``value``, which may depend on the content inside an opaque part."""
        if node not in self._loose or not isinstance(labels, Tensor) or not isinstance(value, Tensor):
            return labels
        small = lb.core(labels)
        if small.dim() != value.dim() or any(
            wide not in (1, size) for wide, size in zip(small.shape, value.shape, strict=True)
        ):
            return labels
        return small.expand(value.shape)

    def entered_part(self, path: str, args: Any, kwargs: Any) -> None:
        """Check that an opaque part gets everything it got before.

        Args:
            path: the part's name in the network.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        site = self.stack.next_part(path)
        self._part = self.nodes.get(site.key)
        visits = self._visits.get(path)
        if not visits:
            self.fail(path, None, "it runs more often than before")
        visit = visits.pop(0)
        if self._running and self._running[-1][0]:
            self._take(path, (args, kwargs), (visit.args, visit.kwargs), "it is given another")
            return
        nodes, tensors = fx_nodes((visit.args, visit.kwargs)), tensors_of((args, kwargs))
        if len(nodes) != len(tensors):
            self.fail(path, self._part, "it is given another number of tensors")
        for tensor, node in zip(tensors, nodes, strict=True):
            recorded = self._sized(node, tensor, self.flow.values[node])
            labels = self.actual.get(tensor, recorded)
            if (
                not isinstance(recorded, Tensor)
                or not fits(tensor, recorded)
                or not lb.matches(labels, recorded)
            ):
                self.fail(path, self._part, "it is given other channels")

    def left_part(self, _: str, result: Any) -> Any:
        """Label the results of an opaque part: they have no channels that may be pruned."""
        labels = lb.tensors_in(self.flow.values.get(self._part)) if self._part is not None else []
        label = next(
            (lb.core(t).reshape(-1)[0] for t in labels if t.numel() and bool(lb.core(t).any())), None
        )
        for tensor in tensors_of(result):
            like = lb.constants_like(tensor)
            self.actual[tensor] = (
                label.expand(like.shape) if label is not None and tensor.is_floating_point() else like
            )
        return None

    # --- calls ---------------------------------------------------------------------------------------

    def on_call(self, func: Any, op: str, args: Any, kwargs: Any) -> Any:
        """Carry out one call and compare its result with the record.

        Args:
            func: the function, method or overload that is called.
            op: its canonical name (see `names.name_of`).
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        site = self.stack.next_call(op)
        if self.failure is not None:
            raise self.failure
        if self._running and self._running[-1][0]:
            return func(*args, **kwargs)
        node = self.nodes.get((site.path, site.number - self._added[site.path]))
        if self.quick and (node is None or node.meta[CALL].op != op):
            raise ContentAsked  # whether a call adds anything is seen by what it gives
        try:
            result = stand_in(func, args, kwargs, self._blank) if self.quick else None
            if result is None and self.quick:
                result = written_in_place(func, args, kwargs)
            if result is None:
                result = func(*args, **kwargs)
        except Exception as error:
            if node is None:  # it failed before, too
                raise
            self.fail(site.path, node, f"{op} fails: {first_line(error)}", error)
        if node is None or node.meta[CALL].op != op:
            if self._adds_nothing(op, args, kwargs, result):
                self._added[site.path] += 1
            elif node is not None:
                self.fail(site.path, node, f"{op} is called where {node.meta[CALL].op} was")
            elif tensors_of(result):
                self.fail(site.path, None, f"{op} was not called before")
            return result
        result = self.replay(node.meta[CALL].key, op, args, kwargs, result)
        self._check(node, op, args, kwargs, result)
        return result

    def _adds_nothing(self, op: str, args: Any, kwargs: Any, result: Any) -> bool:
        """Tell whether an additional call returns its input unchanged."""
        source = next(iter(tensors_of((args, kwargs))), None)
        if (
            op not in _ADAPTING
            or not isinstance(result, Tensor)
            or source is None
            or source not in self.actual
        ):
            return False
        if result.shape != source.shape or not torch.equal(result, source):
            return False
        self.actual[result] = self.actual[source]
        return True

    def _check(self, node: fx.Node, op: str, args: Any, kwargs: Any, result: Any) -> None:
        path, labels = node.meta[CALL].path, self.flow.values.get(node)
        if node in self.flow.computing:  # a weight, element by element
            return
        # A slice assignment changes its argument and returns nothing.
        value = result if result is not None else next(iter(tensors_of(args)), None)
        expected = self._sized(node, value, self.survivors.of(labels))
        if node in self.flow.movers:
            self._check_move(node, op, args, kwargs, value, expected)
            return
        tensors = tensors_of((args, kwargs))
        if any(self.actual.get(t) is BROKEN for t in tensors):
            self.fail(path, node, f"{op} reads channels that were moved to other places")
        if node in self.remaps:
            self._check_remap(node)
        if op == "setitem" and node not in self.flow.pointwise:
            self._check_assignment(node, args)
        self._check_numbers(node, op, args, kwargs)
        if node in self.flow.pointwise:
            self._check_operands(node, tensors, expected)
        if op == "mean" and node in self._consumers:
            source = self.flow.values[node.all_input_nodes[0]]
            if tuple(source.shape) != tuple(tensors_of(args)[0].shape):
                self.fail(path, node, "a mean over channels divides by their number")
        self._learn(node, op, value, expected)

    def _learn(self, node: fx.Node, op: str, value: Any, expected: Any) -> None:
        """Hold shapes against the labels, and remember these."""
        if isinstance(value, Tensor):
            if not isinstance(expected, Tensor) or not fits(value, expected):
                self.fail(node.meta[CALL].path, node, f"{op} gives the shape {tuple(value.shape)}")
            self.actual[value] = expected
        elif isinstance(value, (tuple, list)) and isinstance(expected, (tuple, list)):
            for item, label in zip(value, expected, strict=False):
                if isinstance(item, Tensor):
                    self._learn(node, op, item, self._sized(node, item, label))

    def _check_numbers(self, node: fx.Node, op: str, args: Any, kwargs: Any) -> None:
        """Check that widths in the arithmetic are unchanged; numbers of groups follow the channels."""
        if op in _SIZED or node in self.remaps:
            return
        if _are_given_the_same(node, op, args, kwargs):
            return
        before, after = numbers_of(op, node.args, node.kwargs), numbers_of(op, args, kwargs)
        if before.get("groups", 1) > 1:
            left, labels = tensors_of((args, kwargs))[:2], self.flow.values[source_of(node)]
            axis = 1 if op == "group_norm" else labels.dim() - (left[1].dim() - 1)
            channels = labels.shape[axis]
            if op == "group_norm" or before["groups"] == channels:
                before["groups"] = before["groups"] * left[0].shape[axis] // channels
        if before == after:
            return
        if before.get("groups") != after.get("groups"):
            self.fail(node.meta[CALL].path, node, f"{op} has another number of groups")
        if before.keys() != after.keys():
            self.fail(node.meta[CALL].path, node, f"{op} is given other arguments")
        if before != after:
            self.fail(node.meta[CALL].path, node, "a width enters the arithmetic")

    def _check_assignment(self, node: fx.Node, args: Any) -> None:
        """Check that an assignment writes what survives of the original's, and nothing else."""
        target, _, value = node.args
        labels = self.flow.values[node]
        index = self.survivors.index(labels)
        actual = self.actual.get(args[0])
        if index is None or not isinstance(actual, Tensor):
            self.fail(node.meta[CALL].path, node, "channels of unknown places are written into")
        source = self.flow.values[value] if isinstance(value, fx.Node) else None
        by_content = any(n not in self.flow.static for n in index_nodes_of_assignment(node))
        if by_content and not any(bool(lb.core(t).any()) for t in lb.tensors_in([labels, source])):
            return  # boxes that are kept, say: no channel is written into, and rounding may choose others
        moved = self.actual.get(args[2], lb.constants_like(args[2])) if isinstance(args[2], Tensor) else None
        try:
            surviving = written_labels(tuple(labels.shape), assigned_index(node), source)
            for axis, positions in enumerate(index):
                if len(positions) != surviving.shape[axis]:
                    surviving = surviving.index_select(axis, positions)
            written = written_labels(tuple(actual.shape), fx.node.map_aggregate(args[1], _on_cpu), moved)
        except Exception as error:
            self.fail(
                node.meta[CALL].path, node, f"an assignment cannot be followed ({first_line(error)})", error
            )
        if written.shape != surviving.shape or not bool((written == surviving).all()):
            self.fail(node.meta[CALL].path, node, "an assignment would write into other channels")

    def _check_operands(self, node: fx.Node, tensors: list[Tensor], expected: Any) -> None:
        if not isinstance(expected, Tensor):
            return
        for tensor in tensors:
            labels = self.actual.get(tensor)
            meets = (
                not isinstance(labels, Tensor)
                or labels.dim() > expected.dim()
                or self._meets(labels, expected)
            )
            if not meets:
                self.fail(node.meta[CALL].path, node, "operands of different channels meet")

    def _meets(self, labels: Tensor, expected: Tensor) -> bool:
        if labels is expected:
            return True
        a, b, class_of = lb.core(labels).numpy(), lb.core(expected).numpy(), self.graph.class_of
        try:
            equal = np.equal(a, b)
        except ValueError:
            return False
        return bool(equal.all() or (equal | (a == 0) | (b == 0) | (class_of[a] == class_of[b])).all())

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
            self.fail(node.meta[CALL].path, node, "zero channels are padded by a number in the code")

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
        if any(
            leaf is BROKEN or leaf is None and had is not None for leaf, had in _pairs(moved, (args, kwargs))
        ):
            self.fail(node.meta[CALL].path, node, f"{op} moves channels of unknown places")
        try:
            result = lb.run_on_labels(lambda *a, **k: run_mover(node, op, None, a, k), *moved)
        except Exception as error:
            self.fail(node.meta[CALL].path, node, f"{op} cannot move them ({first_line(error)})", error)
        self._compare(node, op, value, result, expected)
        self._check_elements(node, op, args, kwargs, labels_of)

    def _check_elements(
        self, node: fx.Node, op: str, args: Any, kwargs: Any, labels_of: Callable[[Any], Any]
    ) -> None:
        """Check the place of each element, where labels repeat and do not show the order."""
        pairs = list(zip(tensors_of((args, kwargs)), fx_nodes((node.args, node.kwargs)), strict=False))
        sources = {n: labels_of(tensor) for tensor, n in pairs}
        element_check = ElementCheck(self.flow, Liveness(), self.survivors)
        if not element_check.is_needed(node, sources):
            return
        nodes = {id(tensor): n for tensor, n in pairs}

        def again(lookup: Callable[[fx.Node], Any]) -> Any:
            def value_of(item: Any) -> Any:
                return lookup(nodes[id(item)]) if isinstance(item, Tensor) else item

            moved = fx.node.map_aggregate((tuple(args), dict(kwargs)), value_of)
            return lb.run_on_labels(lambda *a, **k: run_mover(node, op, None, a, k), *moved)

        grids = [
            self.survivors.index(self.flow.values[n])
            for n in sources
            if isinstance(self.flow.values[n], Tensor)
        ]
        if any(grid is None for grid in grids) or not element_check.agree(node, again, sources):
            self.fail(node.meta[CALL].path, node, f"{op} would move other channels")

    def _compare(self, node: fx.Node, op: str, value: Any, result: Any, expected: Any) -> None:
        if isinstance(value, (tuple, list)):
            same = isinstance(result, (tuple, list)) and len(result) == len(value)
            if not same or not isinstance(expected, (tuple, list)) or len(expected) != len(value):
                self.fail(node.meta[CALL].path, node, f"{op} gives another number of parts")
            for item, part, labels in zip(value, result, expected, strict=True):
                self._compare(node, op, item, part, self._sized(node, item, labels))
            return
        if not isinstance(value, Tensor):
            return
        if tuple(value.shape) != tuple(result.shape):
            self.fail(node.meta[CALL].path, node, f"{op} gives the shape {tuple(value.shape)}")
        # Where the survivors form no grid the value only exists inside a chain of movers: its end is compared.
        if expected is not BROKEN and not lb.matches(result, expected):
            self.fail(node.meta[CALL].path, node, f"{op} would move other channels")
        self.actual[value] = result

    def _indices(self, node: fx.Node, args: Any, kwargs: Any) -> list[Tensor]:
        """Return the tensors that a call uses as indices."""
        numbers = fx_nodes((node.args, node.kwargs))
        tensors = tensors_of((args, kwargs))
        indices = index_nodes(node)
        return [t for t, n in zip(tensors, numbers, strict=False) if n in indices]

    def _parameter_labels(self, node: fx.Node, tensor: Tensor) -> Any:
        """Return the labels of a parameter or constant that enters at this call."""
        for source in node.all_input_nodes:
            labels = self.flow.values.get(source)
            if source.op == "get_attr" and isinstance(labels, Tensor):
                kept = self.survivors.of(labels)
                if isinstance(kept, Tensor) and tuple(kept.shape) == tuple(tensor.shape):
                    return kept
        return lb.constants_like(tensor)


def check(
    model: nn.Module,
    inputs: tuple[Any, ...],
    graph: Graph,
    record: Record,
    survivors: Survivors,
    rewritten: Collection[str],
    state: ModelState | None = None,
) -> list[Tensor] | None:
    """Run the cut ``model`` in the record's mode; raise Diverged at the first call that is not the original's.

    What it computes is not looked at where the original does nothing but what shapes ask for.

    Args:
        model: the cut network.
        inputs: what the record was made on.
        graph: of the original.
        record: one of the graph's.
        survivors: what stays of each label tensor.
        rewritten: the modules whose forward was written anew.
        state: of the cut model, which is put back after the run; read anew where it is not given.

    Returns:
        The tensors by which something was chosen, and those that came out; None where they were not computed.
    """

    def checker(*, quick: bool) -> Checker:
        stack = ModuleStack(model, record.parts)
        return Checker(graph, record, survivors, stack, rewritten, quick=quick)

    if record.content_free:
        with suppress(ContentAsked):
            _follow(checker(quick=True), model, inputs, record, state)
            return None
    return _follow(checker(quick=False), model, inputs, record, state)


def _follow(
    checker: Checker,
    model: nn.Module,
    inputs: tuple[Any, ...],
    record: Record,
    state: ModelState | None,
) -> list[Tensor]:
    """Run the cut network along the record; return the tensors by which something was chosen, and its outputs.

    Args:
        checker: holds it against the record.
        model: the cut network.
        inputs: what the record was made on.
        record: of the original.
        state: of the cut network.
    """
    placeholders = [n for n in record.graph.nodes if n.op == "placeholder"]
    for tensor, node in zip(tensors_of(inputs), placeholders, strict=True):
        checker.actual[tensor] = checker.flow.values[node]
    state = state or ModelState(model)
    with state.kept(), torch.no_grad():
        set_mode(model, record.training, state.parts)
        try:
            outputs = tensors_of(run_watched(model, inputs, checker))
        except Exception as error:
            raise checker.failure or Diverged("", None, first_line(error)) from error
    if checker.failure is not None:
        raise checker.failure
    return [*checker.replay.entering, *(tensor.detach() for tensor in outputs)]


def _after_parts(record: Record) -> set[fx.Node]:
    """Return the calls that depend on the result of an opaque part."""
    loose: set[fx.Node] = set()
    for node in record.graph.nodes:
        if WHY in node.meta or any(source in loose for source in node.all_input_nodes):
            loose.add(node)
    return loose


def _are_given_the_same(node: fx.Node, op: str, args: Any, kwargs: Any) -> bool:
    """Tell whether a call without groups is given tensors where the recorded one was, and else the same numbers.

    For plain arguments, as those of layers are; false where it takes a closer look.

    Args:
        node: the recorded call.
        op: its canonical name.
        args: positional arguments of the other.
        kwargs: its keyword arguments.
    """
    if len(node.args) != len(args) or node.kwargs.keys() != kwargs.keys() or op == "group_norm":
        return False
    if op.startswith("conv") and (args[6] if len(args) > 6 else kwargs.get("groups", 1)) != 1:
        return False
    pairs = [*zip(node.args, args, strict=True), *((node.kwargs[key], item) for key, item in kwargs.items())]
    return all(_is_the_same(before, after) for before, after in pairs)


def _is_the_same(before: Any, after: Any) -> bool:
    kind = type(before)
    if kind is fx.Node:
        return isinstance(after, Tensor)
    if kind is not type(after) or (
        kind not in _PLAIN and (kind is not tuple or set(map(type, before)) != {int})
    ):
        return False
    return bool(before == after)


def numbers_of(op: str, args: Any, kwargs: Any) -> dict[str, Any]:
    """Return the numbers among a call's arguments, by place; sizes of created tensors are left out.

    The index of an assignment is left out too: the labels prove it.

    Args:
        op: its canonical name (see `names.name_of`).
        args: its positional arguments.
        kwargs: its keyword arguments.
    """
    args, kwargs = list(args), dict(kwargs)
    if op == "setitem":
        args = args[2:]
    if op in OPS and OPS[op].creates:
        kept = {"full": 1, "new_full": 2}.get(op, len(args))
        args, kwargs = args[kept:], {key: value for key, value in kwargs.items() if key == "fill_value"}
    place = 1 if op == "group_norm" else 6 if op.startswith("conv") else None
    numbers = {}
    for key, value in [*enumerate(args), *kwargs.items()]:
        name = "groups" if place is not None and key in (place, "groups", "num_groups") else str(key)
        if value is None or isinstance(value, (Tensor, fx.Node)):
            continue
        for number, leaf in enumerate(lb.flat(_plain(value))):
            if isinstance(leaf, (int, float)):
                numbers[name if name == "groups" else f"{name}.{number}"] = leaf
    return numbers


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value


def fits(value: Tensor, labels: Tensor) -> bool:
    """Tell whether a tensor has the shape of its labels."""
    return tuple(value.shape) == tuple(labels.shape)


def _pairs(moved: Any, originals: Any) -> list[tuple[Any, Any]]:
    return list(zip(lb.flat(_plain(moved)), lb.flat(_plain(originals)), strict=True))


def _plain(value: Any) -> Any:
    """Unpack slices, so that tensors inside them are seen."""
    if isinstance(value, slice):
        return [value.start, value.stop, value.step]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(v) for v in value]
    return value


def fx_nodes(value: Any) -> list[fx.Node]:
    """Return all nodes of nested containers, in order."""
    if isinstance(value, fx.Node):
        return [value]
    if isinstance(value, slice):
        value = [value.start, value.stop, value.step]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (tuple, list)):
        return [n for item in value for n in fx_nodes(item)]
    return []
