"""Rules of the operations that move channels about: torch itself moves their labels."""

from collections.abc import Callable
from typing import Any

import torch
import torch.fx as fx
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.graph import labels as lb
from edgeprune.graph.call import Call
from edgeprune.graph.flow import Consumer, Flow, Remap
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.mixers import MIXED
from edgeprune.graph.ops import nodes_in, source_of, spec_of
from edgeprune.recording.record import VALUE


def mover(flow: Flow, call: Call) -> Any:
    """Torch itself moves the labels."""
    if any(n not in flow.static for n in index_nodes(call.node)):
        return flow.stop(call, f"the indices of {call.kind} depend on the input")
    flow.movers.add(call.node)
    args, kwargs = moved_arguments(call.node, lambda n: flow.values[n])
    result = lb.run_on_labels(lambda *a, **k: run_mover(call.node, call.op, call.module, a, k), args, kwargs)
    if isinstance(call.x, Tensor):
        _protect_numbered(flow, call, result)
    return result


def _protect_numbered(flow: Flow, call: Call, result: Any) -> None:
    """y[:, 2] and y.unbind(1): a channel that is taken alone, by its number, is missed where it has gone."""
    for part in tensors_in(result):
        if part.dim() >= call.x.dim() or part.numel() == 0:
            continue
        small = lb.core(part)
        if small.numel() == 1 and bool(small.any()) and bool((lb.core(call.x) != small.reshape(-1)[0]).any()):
            flow.protect(part, "a channel is taken alone, by its number", call.node)


def index_nodes(node: fx.Node) -> set[fx.Node]:
    """Tensor arguments of a mover that say *where*, not *what*."""
    source = source_of(node)
    if not isinstance(source, fx.Node) or spec_of(node).shape_only:
        return set()
    other = (source, node.kwargs.get("out"))
    return {n for n in node.all_input_nodes if n not in other and tensors_in(n.meta[VALUE])}


def moved_arguments(node: fx.Node, lookup: Callable[[fx.Node], Any]) -> tuple[Any, Any]:
    """Return a mover's arguments: tensors by ``lookup``, indices by their values (labels are on the CPU)."""
    indices = index_nodes(node)
    find = lambda n: n.meta[VALUE].cpu() if n in indices else lookup(n)  # noqa: E731
    args, kwargs = fx.node.map_arg((node.args, node.kwargs), find)
    return args, kwargs


def run_mover(
    node: fx.Node, op: str, module: nn.Module | None, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    """Run a mover on stand-in values; `view` becomes `reshape`, since stand-ins may have stride 0.

    Args:
        node: the mover.
        op: its canonical name.
        module: its layer, if it is one.
        args: positional arguments, with stand-ins for tensors.
        kwargs: keyword arguments, likewise.
    """
    if module is not None:
        return module(*args, **kwargs)
    kwargs = {key: value for key, value in kwargs.items() if key != "out"}
    if op == "cat":
        return lb.cat(list(args[0] if args else kwargs["tensors"]), cat_axis(args, kwargs))
    if op in ("view", "reshape") and not (len(args) > 1 and isinstance(args[1], torch.dtype)):
        size = args[1] if len(args) > 1 and isinstance(args[1], (tuple, list)) else args[1:]
        return _first(args, kwargs).reshape(*(size or (kwargs.get("size", kwargs.get("shape")),)))
    if op in ("contiguous", "clone"):
        return _first(args, kwargs)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the tensor that moves, by place or by its name."""
    return args[0] if args else kwargs["input"]


def assignment(flow: Flow, call: Call) -> Any:
    """Follow y[index] = z: the value is tied to the target's channels; constant channels take its labels."""
    target, index, value = call.args
    if any(n not in flow.static for n in index_nodes_of_assignment(call.node)):
        if isinstance(index, Tensor) and not isinstance(value, Tensor) and index.shape == target.shape:
            flow.pointwise.add(call.node)  # y[y > 0] = 1 looks at one element at a time
            flow.tie(lb.core(target), lb.core(index))
            return target
        return flow.stop(call, "the indices of an assignment depend on the input")
    where = assigned_index(call.node)
    part = target[where]
    _protect_numbered(flow, call, part)
    if not isinstance(value, Tensor) or not bool(lb.core(value).any()):
        return target
    flow.tie(lb.core(part), lb.core(value[(None,) * (part.dim() - value.dim())]))
    if not bool((lb.core(part) == 0).any()):
        return target
    result = target.clone(memory_format=torch.contiguous_format)
    result[where] = torch.where(part != 0, part, value.expand(part.shape))
    return result


def index_nodes_of_assignment(node: fx.Node) -> list[fx.Node]:
    """Return the tensors in the index of an assignment."""
    return [n for n in nodes_in(node.args[1]) if tensors_in(n.meta[VALUE])]


def assigned_index(node: fx.Node) -> Any:
    """Return the index of an assignment of the original network, with tensors by their values."""
    return fx.node.map_arg(node.args[1], lambda n: lb.mapped(n.meta[VALUE], _on_cpu))


def written_labels(shape: tuple[int, ...], index: Any, labels: Any) -> Tensor:
    """Return the label that an assignment writes to each place: 0 for a constant, -1 where it writes nothing.

    Args:
        shape: the target's shape.
        index: the index, with tensors by their values.
        labels: labels of the value; anything but a tensor for a constant.
    """
    written = torch.full(shape, -1)
    written[index] = labels if isinstance(labels, Tensor) else 0
    return written


def _on_cpu(value: Any) -> Any:
    return value.cpu() if isinstance(value, Tensor) else value


def cat_axis(args: Any, kwargs: Any) -> int:
    """Return the axis of a concatenation, as the call gives it."""
    return int(args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0)))


def concatenate(flow: Flow, call: Call) -> Any:
    """Follow cat: labels side by side."""
    if not isinstance(call.x, (tuple, list)):
        return flow.stop(call, "a concatenation of unknown parts")
    flow.movers.add(call.node)
    tensors = [t for t in call.x if t.dim() > 1 or t.numel()]  # cat skips the empty tensor of one axis
    return lb.cat(tensors, cat_axis(call.args, call.kwargs))


def getattr_view(flow: Flow, call: Call) -> Any:
    """Follow attributes: x.T and x.mT move, x.data is x, .values and .indices are the parts of a pair."""
    name = call.args[1]
    if name in ("T", "mT") and isinstance(call.x, Tensor):
        return mover(flow, call)
    if name == "data" and isinstance(call.x, Tensor):
        flow.pointwise.add(call.node)
        return call.x
    if name in ("values", "indices") and isinstance(call.x, tuple):
        return call.x[0 if name == "values" else 1]
    return flow.stop(call, f"no rule for the attribute {name!r} of a tensor")


def pixel_shuffle(flow: Flow, call: Call) -> Any:
    """Tie the r*r channels that become one channel's pixels."""
    factor = int(call.option(1, "upscale_factor"))
    axis = call.x.dim() - 3
    vector = lb.vector_along(call.x, axis)
    if vector is None:
        return flow.stop(call, MIXED)
    rows = vector.view(-1, factor * factor)
    flow.tie(rows[:, :1], rows)
    if bool(((rows == 0).any(1) & (rows != 0).any(1)).any()):
        flow.protect(vector, "pixel shuffle mixes constant channels with others", call.node)
    return lb.spread(rows.max(1).values, axis, call.shape)


def pad(flow: Flow, call: Call) -> Any:
    """Padding positions changes no channel; zero *channels* are a remap whose two sides stay free."""
    pairs = _pairs(call)
    wide = [axis for axis in pairs if lb.varies(call.x, axis)]
    if not wide:
        small = lb.core(call.x)
        return small.expand([s if c == 1 else c for c, s in zip(small.shape, call.shape, strict=True)])
    vector = lb.vector_along(call.x, wide[0])
    if len(wide) > 1 or vector is None or _mode(call) != "constant":
        return flow.stop(call, "a pad that repeats or mixes channels")
    low, high = pairs.pop(wide[0])
    fill = float(call.option(3, "value", 0.0) or 0.0)
    if fill != 0:
        return lb.spread(F.pad(vector, (low, high)), wide[0], call.shape)
    return _remap(flow, call, wide[0], vector, (low, high), pairs)


def _mode(call: Call) -> str:
    if call.module is None:
        return str(call.get(2, "mode", "constant"))
    return (
        "constant" if isinstance(call.module, (nn.modules.padding._ConstantPadNd, nn.ZeroPad2d)) else "other"
    )


def _pairs(call: Call) -> dict[int, tuple[int, int]]:
    """Return {axis: (low, high)} of the axes that are padded or cut."""
    widths = [int(w) for w in call.option(1, "padding" if call.module else "pad")]
    dims = call.x.dim()
    pairs = {dims - 1 - k: (widths[2 * k], widths[2 * k + 1]) for k in range(len(widths) // 2)}
    return {axis: pair for axis, pair in pairs.items() if any(pair)}


def _remap(
    flow: Flow,
    call: Call,
    axis: int,
    vector: Tensor,
    widths: tuple[int, int],
    others: dict[int, tuple[int, int]],
) -> Any:
    source = F.pad(torch.arange(len(vector)), widths, value=-1)
    out = flow.pad_labels.pop(0) if flow.pad_labels else flow.fresh(call.shape[axis])
    flow.consumers.append(Consumer(call.node, axis, vector, None))
    flow.remaps.append(Remap(call.node, axis, vector, out, source, others))
    return lb.spread(out, axis, call.shape)
