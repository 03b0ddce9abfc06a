"""The sites of a running network at which classes appear, and a run that reads values there."""

import inspect
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.errors import EdgePruneError, PlanError
from edgeprune.graph import labels as lb
from edgeprune.graph.classes import Graph, Ints
from edgeprune.graph.nodes import layer_name, weight_node
from edgeprune.graph.ops import op_name, source_of, spec_of
from edgeprune.importance.batches import Inputs, map_tensors, tensors_among
from edgeprune.recording.lines import first_line, raised_at
from edgeprune.recording.operands import operands
from edgeprune.recording.record import CALL, VALUE
from edgeprune.recording.taps import Tap, TapMode, Taps, run_tapped, tapping
from edgeprune.recording.untouched import untouched

_CONVOLUTIONS = {"conv1d", "conv2d", "conv3d"}


@dataclass(frozen=True)
class Site:
    """A node whose value carries classes: ``classes[i]`` is the class of index i along ``axis``, -1 if protected."""

    node: fx.Node
    axis: int
    layer: str
    classes: Ints

    def along(self, vector: Tensor, dims: int) -> Tensor:
        """Reshape ``vector`` (or one for each image) to lie along this site's axis of a value with ``dims`` axes."""
        view = [1] * dims
        view[self.axis] = vector.shape[-1]
        if vector.dim() == 2:
            view[0] = vector.shape[0]
        return vector.view(view)


def written_sites(graph: Graph, through: str = "output") -> list[Site]:
    """Return the site of each layer that writes channels.

    Args:
        graph: the traced model.
        through: 'output': the layer's own output; 'norm': after the normalisation that follows it, if any;
            'activation': after all following element-wise operations (normalisation, addition, activation),
            until the result has more than one user or changes its shape.
    """
    sites: dict[fx.Node, Site] = {}
    for layer, axis in _writers(graph):
        node = _end(graph, layer, through)
        vector = lb.vector_along(graph.flow.values[node], axis)
        if vector is not None and (graph.classes_of(vector) >= 0).any():
            sites.setdefault(node, Site(node, axis, layer_name(layer), graph.classes_of(vector)))
    return list(sites.values())


def _writers(graph: Graph) -> list[tuple[fx.Node, int]]:
    """Return the calls that write channels, each with the axis of the channels in its result."""
    consumers = [consumer for consumer in graph.flow.consumers if consumer.weight is not None]
    writers = [
        (consumer.node, consumer.axis) for consumer in consumers if consumer.weight in graph.flow.outputs
    ]
    # Rows of a computed weight are written too, although none of the channels that it reads is pruned.
    known = {consumer.node for consumer in consumers}
    for node in graph.nodes:
        if node not in known and op_name(node) in _CONVOLUTIONS and _is_computed(graph, weight_node(node)):
            writers.append((node, node.meta[VALUE].dim() - weight_node(node).meta[VALUE].dim() + 1))
    return writers


def _is_computed(graph: Graph, weight: fx.Node) -> bool:
    """Return whether a weight is computed from a parameter whose rows are channels."""
    if weight not in graph.flow.static or weight.op == "get_attr":
        return False
    sources, open_ = set(), [weight]
    while open_:
        node = open_.pop()
        if node not in sources:
            sources.add(node)
            open_ += node.all_input_nodes
    return any(graph.flow.names.read_by(source) in graph.flow.outputs for source in sources)


def _end(graph: Graph, node: fx.Node, through: str) -> fx.Node:
    while through != "output" and len(node.users) == 1:
        (user,) = node.users
        continues = is_norm(user) or (through == "activation" and user in graph.flow.pointwise)
        if not continues or user.meta[VALUE].shape != node.meta[VALUE].shape:
            break
        node = user
    return node


def is_norm(node: fx.Node) -> bool:
    """Return whether this call normalises each channel on its own."""
    return spec_of(node).scales_channels


def as_maps(value: Tensor, axis: int) -> Tensor:
    """Return an activation with channels along ``axis`` as (N, C, H, W); missing axes get length 1."""
    value = value[None] if axis == 0 else value.movedim(axis, 1)
    if value.dim() == 2:
        return value[:, :, None, None]
    return value[:, :, None] if value.dim() == 3 else value.flatten(2, -2)


def run_network(
    graph: Graph,
    inputs: Inputs,
    *,
    before: dict[fx.Node, Tap] | None = None,
    after: dict[fx.Node, Tap] | None = None,
) -> Any:
    """Return the output of the user's network for ``inputs`` in evaluation mode, without changing the network.

    Args:
        graph: the traced model.
        inputs: the arguments of forward; tensors are moved to the model's device and floating type.
        before: node -> function of its first tensor, called before the node runs; its result replaces that
            tensor, unless None.
        after: node -> function of its value, called afterwards; its result replaces the value, unless None.

    Raises:
        PlanError: the model does not run on ``inputs``, or takes another path than in the trace.
    """
    arguments = arguments_of(graph, inputs)
    taps, at_inputs = _taps(graph, before or {}, after or {})
    with untouched(graph.model):
        graph.model.eval()
        try:
            return run_tapped(graph.model, _tapped_inputs(arguments, at_inputs), taps, all_reached=True)
        except EdgePruneError:
            raise
        except Exception as error:
            if getattr(error, "passes_watch", False):  # of a tap, not of the network
                raise
            shapes = " and ".join(str(tuple(t.shape)) for t in tensors_among(arguments))
            raise PlanError(
                f"the model does not run on a batch of shape {shapes}: {first_line(error)} "
                f"(at {_place(graph.model, error)})"
            ) from error


def run_calls(graph: Graph, use: Callable[[nn.Module], Any], *, after: dict[fx.Node, Tap]) -> Any:
    """Return what a function of the network computes, with taps in each call that it makes of the network.

    Args:
        graph: the traced model.
        use: called with the network, in evaluation mode; it may call it as often as it likes.
        after: node -> function of its value; its result replaces the value, unless None.

    Raises:
        PlanError: the network takes another path than in the trace.
    """
    taps, _ = _taps(graph, {}, after)
    running: list[tuple[ExitStack, TapMode]] = []

    def begin(*_: Any) -> None:
        block = ExitStack()
        running.append((block, block.enter_context(tapping(graph.model, taps))))

    def end(_: nn.Module, __: Any, output: Any) -> Any:
        block, mode = running.pop()
        block.close()
        if output is None:  # the call failed
            return output
        mode.check_all_reached()
        return mode.current(output)

    with untouched(graph.model):
        graph.model.eval()
        hooks = [
            graph.model.register_forward_pre_hook(begin, prepend=True),
            graph.model.register_forward_hook(end, always_call=True),
        ]
        try:
            return use(graph.model)
        finally:
            for hook in hooks:
                hook.remove()


def arguments_of(graph: Graph, inputs: Inputs) -> Inputs:
    """Return the arguments of forward in a batch, on the network's device and in its floating type.

    Args:
        graph: of the network.
        inputs: as `edgeprune.importance.batches.inputs_of` yields them.
    """
    arguments: Inputs = moved_to(graph.model, _arguments(graph, inputs))
    return arguments


def moved_to(model: nn.Module, value: Any) -> Any:
    """Return ``value`` with its tensors on the device, and those of fractions in the type, of a model."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))
    return map_tensors(value, lambda t: t.to(like) if t.is_floating_point() else t.to(like.device))


def _by_name(graph: Graph, batch: dict[str, Any]) -> Inputs:
    """Return the arguments of forward among a batch's, as many as the example had."""
    names = [*inspect.signature(graph.model.forward).parameters][: len(graph.inputs)]
    for name in names:
        if name not in batch:
            raise PlanError(
                f"a batch is a dict without {name!r}, an argument of {type(graph.model).__name__}.forward (it has "
                f"{', '.join(map(str, batch))}): give loss=, a function of (model, batch), or batches of (x, y)"
            )
    return tuple(batch[name] for name in names)


def _arguments(graph: Graph, inputs: Inputs) -> Inputs:
    """Return the arguments of forward; a list is one argument if the example was a list.

    A dict has them by name, unless the example was a dict too.
    """
    expected, example = len(graph.inputs), graph.inputs[0]
    if len(inputs) == 1 and isinstance(inputs[0], dict) and not isinstance(example, dict):
        return _by_name(graph, inputs[0])
    if expected == 1 and isinstance(example, (list, tuple)) and not isinstance(inputs[0], (list, tuple)):
        return (type(example)(inputs),)
    if len(inputs) != expected:
        raise PlanError(f"the model takes {expected} input(s), but a batch gave {len(inputs)}")
    return tuple(inputs)


def _taps(graph: Graph, before: dict[fx.Node, Tap], after: dict[fx.Node, Tap]) -> tuple[Taps, dict[int, Tap]]:
    """Return the taps at the nodes' calls, and those of the inputs by place."""
    taps, at_inputs = Taps(), {}
    placeholders = [node for node in graph.nodes if node.op == "placeholder"]
    parts: dict[fx.Node, list[tuple[list[Any], Tap]]] = {}
    for node, tap in before.items():
        taps.add_before(node, tap, first_operand(node))
    for node, tap in after.items():
        if node.op == "placeholder":
            at_inputs[placeholders.index(node)] = tap
        elif node.op == "get_attr":  # not the result of a call: tapped wherever it is used
            for user in (user for user in node.users if CALL in user.meta):
                for place in (place for place, operand in enumerate(operands(user)) if operand is node):
                    taps.add_before(user, tap, place)
        elif CALL in node.meta:
            taps.add_after(node, tap)
        else:
            call, keys = _part(node)
            parts.setdefault(call, []).append((keys, tap))
    for call, tapped in parts.items():
        taps.add_after(call, partial(_with_parts, tapped))
    return taps, at_inputs


def first_operand(node: fx.Node) -> int:
    """Return the place of a call's input among its tensors."""
    source = source_of(node)
    return operands(node).index(source) if isinstance(source, fx.Node) else 0


def _part(node: fx.Node) -> tuple[fx.Node, list[Any]]:
    """Return the call whose result has several tensors, and the keys of a part of that result."""
    keys: list[Any] = []
    while CALL not in node.meta:
        keys.insert(0, node.args[1])
        node = node.all_input_nodes[0]
    return node, keys


def _with_parts(tapped: list[tuple[list[Any], Tap]], result: Any) -> Any:
    """Return a result of several tensors, some of them replaced by taps."""
    for keys, tap in tapped:
        result = _with_part(result, keys, tap)
    return result


def _with_part(value: Any, keys: list[Any], tap: Tap) -> Any:
    if not keys:
        replaced = tap(value)
        return value if replaced is None else replaced
    items = dict(value) if isinstance(value, dict) else list(value)
    items[keys[0]] = _with_part(items[keys[0]], keys[1:], tap)
    if isinstance(value, tuple) and type(value) is not tuple:
        return type(value)(items) if hasattr(value, "n_fields") else type(value)(*items)
    return type(value)(items)


def _tapped_inputs(arguments: Inputs, at_inputs: dict[int, Tap]) -> Inputs:
    """Return the arguments, some of their tensors replaced by taps."""
    count = -1

    def tapped(tensor: Tensor) -> Tensor:
        nonlocal count
        count += 1
        replaced = at_inputs[count](tensor) if count in at_inputs else None
        return tensor if replaced is None else replaced

    return tuple(map_tensors(arguments, tapped)) if at_inputs else arguments


def _place(model: nn.Module, error: BaseException) -> str:
    """Return the layer in which an error was raised, or the line of the user's code."""
    names = {id(module): name for name, module in model.named_modules()}
    innermost: nn.Module | None = None
    trace = error.__traceback__
    while trace is not None:
        owner = trace.tb_frame.f_locals.get("self")
        innermost = owner if isinstance(owner, nn.Module) and id(owner) in names else innermost
        trace = trace.tb_next
    layer = innermost is not None and not innermost._modules and names[id(innermost)]
    return layer or raised_at(error)
