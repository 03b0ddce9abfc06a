"""Labels of the tensors of a cut network's run, and the place where that run leaves the record."""

from typing import Any, NoReturn

import torch.fx as fx
from torch import Tensor

from edgeprune.graph import labels as lb
from edgeprune.graph.classes import Graph
from edgeprune.graph.survivors import Survivors
from edgeprune.recording.opaque import WHY
from edgeprune.recording.record import CALL, Record
from edgeprune.recording.tables import ByTensor
from edgeprune.recording.values import tensors_of
from edgeprune.rewrite.structures import fx_nodes


class Diverged(Exception):
    """The cut network does something else at ``node`` (None: where the record has no call) inside module ``path``."""

    passes_watch = True

    def __init__(self, path: str, node: fx.Node | None, why: str) -> None:
        super().__init__(f"{path or 'the network'}: {why}")
        self.path, self.node, self.why = path, node, why


class RunLabels:
    """The labels that a run's tensors carry, each of which must be what survives of the record's.

    Attributes:
        graph: of the original.
        flow: the labels of the record that the run is held against.
        survivors: what stays of each label tensor.
        actual: the labels of each tensor of the run.
        failure: the first place where the run is not the record's; None as long as it is.
    """

    def __init__(self, graph: Graph, record: Record, survivors: Survivors) -> None:
        self.graph, self.flow, self.survivors = graph, graph.flow_of(record), survivors
        self.actual = ByTensor()
        self.failure: Diverged | None = None
        self._loose = _after_parts(record)  # their sizes may follow the content that a part has seen

    def fail(self, path: str, node: fx.Node | None, why: str, cause: Exception | None = None) -> NoReturn:
        """Stop the run; code that catches errors cannot hide it.

        Args:
            path: the module in which the runs diverge.
            node: the recorded call that differs, if it is known.
            why: what differs, for the message.
            cause: the error that showed it.

        Raises:
            Diverged: always; the first one, where there was one before.
        """
        if self.failure is None:
            self.failure = Diverged(path, node, why)
        raise self.failure from cause

    def fail_at(self, node: fx.Node, why: str, cause: Exception | None = None) -> NoReturn:
        """Stop the run at a recorded call: see `fail`.

        Args:
            node: the recorded call that differs.
            why: what differs, for the message.
            cause: the error that showed it.
        """
        self.fail(node.meta[CALL].path, node, why, cause)

    def expected(self, node: fx.Node, value: Any) -> Any:
        """Return what survives of a recorded call's labels, at the sizes of ``value``."""
        return self.sized(node, value, self.survivors.of(self.flow.values.get(node)))

    def sized(self, node: fx.Node, value: Any, labels: Any) -> Any:
        """Return labels at the sizes of a value, which may depend on the content inside an opaque part.

        Args:
            node: the recorded call.
            value: its result in this run.
            labels: for this result, at the recorded sizes.
        """
        if node not in self._loose or not isinstance(labels, Tensor) or not isinstance(value, Tensor):
            return labels
        small = lb.core(labels)
        if small.dim() != value.dim() or any(
            wide not in (1, size) for wide, size in zip(small.shape, value.shape, strict=True)
        ):
            return labels
        return small.expand(value.shape)

    def learn(self, node: fx.Node, op: str, value: Any, expected: Any) -> None:
        """Hold shapes of a call's result against its labels, and remember these.

        Args:
            node: the recorded call.
            op: its canonical name.
            value: its result in this run.
            expected: the labels of that result.
        """
        if isinstance(value, Tensor):
            if not isinstance(expected, Tensor) or not fits(value, expected):
                self.fail_at(node, f"{op} gives the shape {tuple(value.shape)}")
            self.actual[value] = expected
        elif isinstance(value, (tuple, list)) and isinstance(expected, (tuple, list)):
            for item, label in zip(value, expected, strict=False):
                if isinstance(item, Tensor):
                    self.learn(node, op, item, self.sized(node, item, label))

    def learn_border(self, path: str, value: Any, structure: Any, what: str) -> None:
        """Check that tensors at the border of a rewritten forward have the recorded shapes, and label them.

        Args:
            path: the module at whose border they are.
            value: what passes it in this run.
            structure: what passed it, in nodes of the record.
            what: which border it is, for the message.
        """
        nodes, tensors = fx_nodes(structure), tensors_of(value)
        if len(nodes) != len(tensors):
            self.fail(path, None, f"{what} number of tensors")
        for tensor, node in zip(tensors, nodes, strict=True):
            labels = self.sized(node, tensor, self.survivors.of(self.flow.values[node]))
            if not isinstance(labels, Tensor) or not fits(tensor, labels):
                self.fail(path, None, f"{what} shape")
            self.actual[tensor] = labels


def fits(value: Tensor, labels: Tensor) -> bool:
    """Tell whether a tensor has the shape of its labels."""
    return tuple(value.shape) == tuple(labels.shape)


def _after_parts(record: Record) -> set[fx.Node]:
    """Return the calls that depend on the result of an opaque part."""
    loose: set[fx.Node] = set()
    for node in record.graph.nodes:
        if WHY in node.meta or any(source in loose for source in node.all_input_nodes):
            loose.add(node)
    return loose
