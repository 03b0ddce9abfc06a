"""Check the modules that the cut network runs: what they are given, and what a rewritten forward returns."""

from collections.abc import Collection
from typing import Any

import torch.fx as fx
from torch import Tensor, nn

from edgeprune.graph import labels as lb
from edgeprune.recording.record import Record, Visit
from edgeprune.recording.values import tensors_of
from edgeprune.recording.watching import ModuleStack
from edgeprune.rewrite.run_labels import RunLabels, fits
from edgeprune.rewrite.structures import fx_nodes

_Key = tuple[str, int]


class BorderCheck:
    """Follows the recorded visits while modules run; of a rewritten module only what comes out counts."""

    def __init__(
        self,
        labels: RunLabels,
        record: Record,
        nodes: dict[_Key, fx.Node],
        stack: ModuleStack,
        rewritten: Collection[str],
    ) -> None:
        """Follow the modules of ``stack``.

        Args:
            labels: of the run.
            record: of the original.
            nodes: the recorded calls by their place.
            stack: the modules of the cut network that are running.
            rewritten: modules whose forward was written anew.
        """
        self._labels, self._nodes, self._stack, self._rewritten = labels, nodes, stack, rewritten
        self._part: fx.Node | None = None  # the call of the part that runs
        self._visits: dict[str, list[Visit]] = {}
        for visit in record.visits:
            self._visits.setdefault(visit.path, []).append(visit)
        self._running: list[tuple[bool, Visit | None]] = []  # whether its calls go unchecked; its visit
        stack.watchers.append(self)

    @property
    def inside_rewritten(self) -> bool:
        """Tell whether the code that runs was written anew: its calls are not the record's."""
        return bool(self._running) and self._running[-1][0]

    def entered(self, _: nn.Module, path: str | None, args: Any, kwargs: Any) -> None:
        """Check the arguments of a module that is called from a rewritten one.

        Args:
            _: the module.
            path: its name in the network; None for a module the network does not hold.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        unchecked = self.inside_rewritten
        if path is None:
            self._running.append((unchecked, None))
            return
        visits = self._visits.get(path)
        if not visits:
            self._running.append((unchecked, None))
            self._labels.fail(path, None, "it runs more often than before")
        visit = visits.pop(0)
        self._running.append((path in self._rewritten, visit))
        if unchecked and path not in self._rewritten:
            self._labels.learn_border(path, (args, kwargs), (visit.args, visit.kwargs), "it is given another")

    def left(self, _: nn.Module, path: str | None, __: Any, result: Any) -> None:
        """Check that a rewritten module returns what survives of the original's result.

        Args:
            _: the module.
            path: its name in the network; None for a module the network does not hold.
            __: positional and keyword arguments, as its own hooks changed them.
            result: its result.
        """
        visit = self._running.pop()[1]
        if path is None or path not in self._rewritten or visit is None:
            return
        if self._labels.failure is None:
            self._labels.learn_border(path, result, visit.result, "its rewritten forward gives another")

    def entered_part(self, path: str, args: Any, kwargs: Any) -> None:
        """Check that an opaque part gets everything it got before.

        Args:
            path: the part's name in the network.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        site = self._stack.next_part(path)
        self._part = self._nodes.get(site.key)
        visits = self._visits.get(path)
        if not visits:
            self._labels.fail(path, None, "it runs more often than before")
        visit = visits.pop(0)
        if self.inside_rewritten:
            self._labels.learn_border(path, (args, kwargs), (visit.args, visit.kwargs), "it is given another")
            return
        nodes, tensors = fx_nodes((visit.args, visit.kwargs)), tensors_of((args, kwargs))
        if len(nodes) != len(tensors):
            self._labels.fail(path, self._part, "it is given another number of tensors")
        for tensor, node in zip(tensors, nodes, strict=True):
            recorded = self._labels.sized(node, tensor, self._labels.flow.values[node])
            labels = self._labels.actual.get(tensor, recorded)
            if (
                not isinstance(recorded, Tensor)
                or not fits(tensor, recorded)
                or not lb.matches(labels, recorded)
            ):
                self._labels.fail(path, self._part, "it is given other channels")

    def left_part(self, _: str, result: Any) -> Any:
        """Label the results of an opaque part: they have no channels that may be pruned."""
        labels = lb.tensors_in(self._labels.flow.values.get(self._part)) if self._part is not None else []
        label = next(
            (lb.core(t).reshape(-1)[0] for t in labels if t.numel() and bool(lb.core(t).any())), None
        )
        for tensor in tensors_of(result):
            like = lb.constants_like(tensor)
            self._labels.actual[tensor] = (
                label.expand(like.shape) if label is not None and tensor.is_floating_point() else like
            )
        return None
