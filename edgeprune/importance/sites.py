"""Where classes show in a running network, and a run that looks there and changes nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.errors import PlanError
from edgeprune.graph import labels as lb
from edgeprune.graph.classes import Graph, Ints
from edgeprune.graph.flow import layer_name
from edgeprune.graph.ops import op_name
from edgeprune.trace.record import VALUE
from edgeprune.importance.batches import Inputs

Tap = Callable[[Tensor], Tensor | None]

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm)
_NORM_OPS = {"batch_norm", "instance_norm", "group_norm"}


@dataclass(frozen=True)
class Site:
    """A node whose value carries classes: ``classes[i]`` is index i's along ``axis``, -1 if protected."""

    node: fx.Node
    axis: int
    layer: str
    classes: Ints

    def along(self, vector: Tensor, dims: int) -> Tensor:
        """``vector`` (or one for each image) laid along this site's axis of a value with ``dims`` axes."""
        view = [1] * dims
        view[self.axis] = vector.shape[-1]
        if vector.dim() == 2:
            view[0] = vector.shape[0]
        return vector.view(view)


def written_sites(graph: Graph, through: str = "output") -> list[Site]:
    """Where each layer that writes channels shows them.

    Args:
        graph: the traced model.
        through: 'output': the layer's own output; 'norm': after the normalisation that follows it, if one
            does; 'activation': after all that follows it element by element (normalisation, addition,
            activation), up to where the result goes more than one way or changes its shape.
    """
    found: dict[fx.Node, Site] = {}
    for reader in graph.flow.readers:
        if reader.weight not in graph.flow.outputs:
            continue
        node = _end(graph, reader.node, through)
        vector = lb.vector_along(graph.flow.values[node], reader.axis)
        if vector is not None and (graph.classes_of(vector) >= 0).any():
            site = Site(node, reader.axis, layer_name(reader.node), graph.classes_of(vector))
            found.setdefault(node, site)
    return list(found.values())


def _end(graph: Graph, node: fx.Node, through: str) -> fx.Node:
    while through != "output" and len(node.users) == 1:
        (user,) = node.users
        goes_on = is_norm(graph, user) or (through == "activation" and user in graph.flow.pointwise)
        if not goes_on or user.meta[VALUE].shape != node.meta[VALUE].shape:
            break
        node = user
    return node


def is_norm(graph: Graph, node: fx.Node) -> bool:
    """Whether this node normalises channels one by one."""
    if node.op == "call_module":
        return isinstance(graph.model.get_submodule(str(node.target)), _NORMS)
    return op_name(node) in _NORM_OPS


def as_maps(value: Tensor, axis: int) -> Tensor:
    """Any activation with its channels along ``axis`` as (N, C, H, W); axes that it lacks get length 1."""
    value = value[None] if axis == 0 else value.movedim(axis, 1)
    if value.dim() == 2:
        return value[:, :, None, None]
    return value[:, :, None] if value.dim() == 3 else value.flatten(2, -2)


@contextmanager
def quiet(module: nn.Module) -> Iterator[None]:
    """Evaluation mode, put back afterwards: no dropout, and BatchNorm statistics stay as they are."""
    modes = {m: m.training for m in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for m, mode in modes.items():
            m.training = mode


def run(
    graph: Graph,
    inputs: Inputs,
    *,
    before: dict[fx.Node, Tap] | None = None,
    after: dict[fx.Node, Tap] | None = None,
) -> Any:
    """The model's output on ``inputs``, in evaluation mode; nothing of the model is changed.

    Args:
        graph: the traced model.
        inputs: tensors for forward, moved to the model's device and floating type.
        before: node -> function of the first tensor it takes, called just before the node runs.
        after: node -> function of its value, called just after; what it gives replaces it, unless None.

    Raises:
        PlanError: the model does not run on ``inputs``.
    """
    like = next((p for p in graph.model.parameters() if p.is_floating_point()), torch.zeros(0))
    moved = [t.to(like) if t.is_floating_point() else t.to(like.device) for t in inputs]
    with quiet(graph.model):
        return _Run(graph.model, before or {}, after or {}).run(*moved)


def first_argument(runner: fx.Interpreter, node: fx.Node) -> Any:
    """What ``node`` is about to be given as its input."""
    args, kwargs = runner.fetch_args_kwargs_from_env(node)
    return args[0] if args else kwargs.get("input", next(iter(kwargs.values()), None))


class _Run(fx.Interpreter):
    """Runs a graph with taps. In-place operations are no trouble: taps look at once."""

    def __init__(self, module: fx.GraphModule, before: dict[fx.Node, Tap], after: dict[fx.Node, Tap]) -> None:
        super().__init__(module)
        self.extra_traceback = False  # it would make every message many lines
        self._before, self._after = before, after

    def run(self, *args: Any, **kwargs: Any) -> Any:
        expected = sum(node.op == "placeholder" for node in self.module.graph.nodes)  # type: ignore[union-attr]
        if len(args) != expected:
            raise PlanError(f"the model takes {expected} input(s), but a batch gave {len(args)}")
        self._shapes = " and ".join(str(tuple(a.shape)) for a in args)
        return super().run(*args, **kwargs)

    def run_node(self, n: fx.Node) -> Any:
        if n in self._before:
            self._before[n](first_argument(self, n))
        value = self._value(n)
        if n not in self._after:
            return value
        replaced = self._after[n](value)
        return value if replaced is None else replaced

    def _value(self, n: fx.Node) -> Any:
        try:
            return super().run_node(n)
        except (RuntimeError, ValueError, IndexError) as error:
            first = (str(error).splitlines() or [type(error).__name__])[0]
            raise PlanError(
                f"the model does not run on a batch of shape {self._shapes}: {first} (at {layer_name(n)})"
            ) from error
