"""Parameters and buffers that are used like activations: layer scales, offsets, tables of positions."""

import numpy as np
import torch
import torch.fx as fx
from numpy.typing import NDArray
from torch import nn

from edgeprune.graph.flow import Flow
from edgeprune.graph.labels import core
from edgeprune.recording.opaque import tensors_within
from edgeprune.recording.record import VALUE, Record
from edgeprune.recording.walks import named_parameters

Ints = NDArray[np.int64]


def join_layers(flow: Flow) -> None:
    """Tie a parameter that layers index to its other uses; protect it where more than one axis is indexed."""
    for name, labels in flow.attributes.items():
        indexed = [(axis, vector) for (tensor, axis), vector in flow.param_axes.items() if tensor == name]
        if not indexed:
            continue
        if len(indexed) == 1 and labels.numel() == labels.shape[indexed[0][0]]:
            flow.tie(labels.reshape(-1), indexed[0][1])
            continue
        node = _reader(flow, name)
        for vector in [labels, *(vector for _, vector in indexed)]:
            flow.protect(vector, "a parameter is used outside its layer too", node)


def _reader(flow: Flow, name: str) -> fx.Node:
    # Where another mode alone uses it the walk's first node stands for it.
    first = next(iter(flow.module.graph.nodes))
    node: fx.Node = next((n for n in flow.module.graph.nodes if flow.names.read_by(n) == name), first)
    return node


def settle(flow: Flow, component: Ints) -> None:
    """Label the axes of parameters that are used pointwise; protect those that no single axis carries."""
    used = np.zeros(component.max() + 1, dtype=bool)
    for vector in flow.param_axes.values():
        used[component[vector.numpy()]] = True
    for name, labels in flow.attributes.items():
        if not labels.numel():
            continue
        classes = component[labels.numpy()]
        axis = _carrying_axis(classes)
        if axis is not None and (name, axis) not in flow.param_axes:
            flow.param_axes[name, axis] = (
                labels.movedim(axis, 0).reshape(labels.shape[axis], -1)[:, 0].clone()
            )
        elif axis is None and labels.numel() > 1 and used[np.unique(classes)].any():
            flow.protect(labels, "a parameter whose axes mix channels and positions", _reader(flow, name))


def _carrying_axis(classes: Ints) -> int | None:
    """Return the one axis along which the classes change, or None."""
    wide = [axis for axis, size in enumerate(classes.shape) if size > 1]
    if len(wide) == 1:
        return wide[0]
    carried = [
        a for a in wide if (classes.max(axis=_others(wide, a)) == classes.min(axis=_others(wide, a))).all()
    ]
    return carried[0] if len(carried) == 1 else None


def _others(wide: list[int], axis: int) -> tuple[int, ...]:
    return tuple(a for a in wide if a != axis)


def keep_parts(flow: Flow) -> None:
    """Protect the weights of parts that are not looked into, also where other code uses them."""
    if not isinstance(flow.module, Record):
        return
    for path, part in flow.module.parts.items():
        inside = tensors_within(flow.module.model, [path])
        names = {name for name, tensor in flow.names.tensors.items() if id(tensor) in inside}
        held = [vector for (name, _), vector in flow.param_axes.items() if name in names]
        held += [labels for name, labels in flow.attributes.items() if name in names]
        for labels in held:
            used = torch.unique(core(labels))
            if len(used := used[used != 0]):
                flow.protections.append((used, part.of(path), path))


def unused_parts(model: nn.Module, records: list[Record]) -> tuple[str, ...]:
    """Return notes on parts with parameters that forward uses in neither mode."""
    used = {id(n.meta[VALUE]) for record in records for n in record.graph.nodes if n.op == "get_attr"}
    used |= tensors_within(model, [path for record in records for path in record.parts])
    if all(id(parameter) in used for parameter in named_parameters(model).values()):
        return ()
    names: list[str] = []
    _collect(model, "", used, names)
    return tuple(f"{name} is not used by forward: it stays as it is" for name in names)


def _collect(model: nn.Module, prefix: str, used: set[int], names: list[str]) -> None:
    for name, child in model.named_children():
        own = [id(parameter) for parameter in child.parameters()]
        if own and not any(key in used for key in own):
            names.append(prefix + name)
        elif not all(key in used for key in own):
            _collect(child, f"{prefix}{name}.", used, names)
