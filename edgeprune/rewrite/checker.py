"""Run a cut network and stop at the first call that does not move exactly the surviving channels.

Every value of the cut network must carry the labels that survive of the original's, in order. The user's own code
is run; where a width is written into it, a call raises or gives other labels, and `Diverged` names it.
"""

from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.graph.classes import Graph
from edgeprune.graph.survivors import Survivors
from edgeprune.recording.lines import first_line
from edgeprune.recording.record import CALL, Record
from edgeprune.recording.uncomputed import Blank, stand_in, written_in_place
from edgeprune.recording.untouched import ModelState
from edgeprune.recording.values import tensors_of
from edgeprune.recording.walks import set_mode
from edgeprune.recording.watching import ContentAsked, ModuleStack, WatchMode, run_watched
from edgeprune.rewrite.border_check import BorderCheck
from edgeprune.rewrite.call_check import CallCheck
from edgeprune.rewrite.choices import replay_of
from edgeprune.rewrite.run_labels import Diverged, RunLabels

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


class Checker(WatchMode):
    """Follows a run of the cut network along the record of the original, whose choices by content it is given."""

    def __init__(
        self,
        labels: RunLabels,
        record: Record,
        stack: ModuleStack,
        rewritten: Collection[str],
        *,
        quick: bool = False,
    ) -> None:
        """Follow the calls that the modules of ``stack`` make.

        Args:
            labels: of the run; those of its inputs are known.
            record: of the original.
            stack: the modules of the cut network that are running.
            rewritten: modules whose forward was written anew.
            quick: costly calls are not computed.
        """
        super().__init__(stack)
        self.labels, self.quick = labels, quick
        self.replay = replay_of(labels.graph, labels.flow, rewritten)
        self._blank = Blank()
        self._nodes = {n.meta[CALL].key: n for n in record.graph.nodes if CALL in n.meta}
        self._added: dict[str, int] = defaultdict(int)  # calls that only the cut network makes, by module
        self._borders = BorderCheck(labels, record, self._nodes, stack, rewritten)
        self._calls = CallCheck(labels)

    def on_call(self, func: Any, op: str, args: Any, kwargs: Any) -> Any:
        """Carry out one call and compare its result with the record.

        Args:
            func: the function, method or overload that is called.
            op: its canonical name (see `names.name_of`).
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        site = self.stack.next_call(op)
        if self.labels.failure is not None:
            raise self.labels.failure
        if self._borders.inside_rewritten:
            return func(*args, **kwargs)
        node = self._nodes.get((site.path, site.number - self._added[site.path]))
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
            self.labels.fail(site.path, node, f"{op} fails: {first_line(error)}", error)
        if node is None or node.meta[CALL].op != op:
            if self._adds_nothing(op, args, kwargs, result):
                self._added[site.path] += 1
            elif node is not None:
                self.labels.fail(site.path, node, f"{op} is called where {node.meta[CALL].op} was")
            elif tensors_of(result):
                self.labels.fail(site.path, None, f"{op} was not called before")
            return result
        result = self.replay(node.meta[CALL].key, op, args, kwargs, result)
        self._calls.check(node, op, args, kwargs, result)
        return result

    def _adds_nothing(self, op: str, args: Any, kwargs: Any, result: Any) -> bool:
        """Tell whether an additional call returns its input unchanged."""
        source, actual = next(iter(tensors_of((args, kwargs))), None), self.labels.actual
        if op not in _ADAPTING or not isinstance(result, Tensor) or source is None or source not in actual:
            return False
        if result.shape != source.shape or not torch.equal(result, source):
            return False
        actual[result] = actual[source]
        return True


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
        labels = RunLabels(graph, record, survivors)
        return Checker(labels, record, ModuleStack(model, record.parts), rewritten, quick=quick)

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
    labels = checker.labels
    placeholders = [n for n in record.graph.nodes if n.op == "placeholder"]
    for tensor, node in zip(tensors_of(inputs), placeholders, strict=True):
        labels.actual[tensor] = labels.flow.values[node]
    state = state or ModelState(model)
    with state.kept(), torch.no_grad():
        set_mode(model, record.training, state.parts)
        try:
            outputs = tensors_of(run_watched(model, inputs, checker))
        except Exception as error:
            raise labels.failure or Diverged("", None, first_line(error)) from error
    if labels.failure is not None:
        raise labels.failure
    return [*checker.replay.entering, *(tensor.detach() for tensor in outputs)]


__all__ = ["Checker", "Diverged", "check"]
