"""Least-squares fits in sequence, each on the outputs of the pruned and fitted layers before it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.graph.classes import Bools, Graph
from edgeprune.graph.flow import Consumer
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.ops import op_name
from edgeprune.importance.batches import Batches, Inputs, images_in, inputs_of, map_tensors, tensors_among
from edgeprune.importance.filters import named_tensor
from edgeprune.importance.sites import run_network
from edgeprune.reconstruct.layers import FittedLayer, layers_of, weights_restored
from edgeprune.reconstruct.merge import merge, merge_along, partners
from edgeprune.reconstruct.ridge import Products, best_change
from edgeprune.recording.record import VALUE
from edgeprune.recording.taps import Tap

FAINT = 1e-4  # smallest factor of a BatchNorm through which an error behind it can be compensated in front
ROOM = 4 * 2**30  # bytes for the images' values: images beyond that are not used
ALIVE = 4  # number of values as large as the largest that are in memory together


@dataclass(frozen=True)
class Junction:
    """What is added to a layer's output, behind its BatchNorm if it has one.

    Attributes:
        other: the node that is added; it runs before the layer does.
        scale: factor of BatchNorm for each output, (groups, 1, outputs of a group).
    """

    other: fx.Node
    scale: Tensor


def junction_of(graph: Graph, layer: FittedLayer) -> Junction | None:
    """Return the junction of a layer whose only user is a sum with a value computed before the layer, else None."""
    node, weight = layer.consumer.node, layer.parameter
    scale: Tensor | None = torch.ones(len(weight), device=weight.device)
    user = _only_user(node)
    if user is not None and op_name(user) == "batch_norm":
        scale, node = _scale_of(graph, user), user
        user = _only_user(node)
    if scale is None:
        return None
    if user is None or op_name(user) != "add" or len(user.args) != 2 or user.kwargs or weight.dim() != 4:
        return None
    (other,) = [operand for operand in user.args if operand is not node] or [None]
    order = list(graph.nodes)
    if not isinstance(other, fx.Node) or order.index(other) > order.index(layer.consumer.node):
        return None
    if other.meta[VALUE].shape != node.meta[VALUE].shape:
        return None
    scale = torch.where(scale.abs() < FAINT, torch.inf, scale)
    return Junction(other, scale.reshape(layer.groups, 1, -1))


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _scale_of(graph: Graph, call: fx.Node) -> Tensor | None:
    """Return the factor of each channel in a batch_norm call; None if it depends on the batch or is computed."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps")
    settings: dict[str, Any] = {**dict(zip(names, call.args, strict=False)), **call.kwargs}
    variance, gain = (graph.flow.names.read_by(settings.get(name)) for name in ("running_var", "weight"))
    if variance is None or (gain is None) != (settings.get("weight") is None):
        return None
    spread = named_tensor(graph, variance)
    scale = torch.ones_like(spread) if gain is None else named_tensor(graph, gain).detach()
    return scale / (spread + settings.get("eps", 1e-5)).sqrt()


def images_that_fit(graph: Graph) -> int:
    """Return the number of images that fit into memory together, by the largest value of an image; at least 1."""
    nodes = [node for node in graph.nodes if node.op != "get_attr"]
    tensors = [tensor for node in nodes for tensor in tensors_in(node.meta.get(VALUE))]
    examples = len(next(node.meta[VALUE] for node in nodes if node.op == "placeholder"))
    largest = max(tensor.numel() * tensor.element_size() for tensor in tensors) / examples
    return max(1, int(ROOM / (ALIVE * largest)))


def _within(images: int, batches: Iterator[Inputs]) -> Iterator[Inputs]:
    """Yield the first batches that together have ``images`` images; the last is cut."""
    for batch in batches:
        size = images_in(batch)
        yield map_tensors(batch, partial(_first, images, size))
        images -= size
        if images <= 0:
            return


def _first(images: int, size: int, tensor: Tensor) -> Tensor:
    """Return the part of a tensor for the first ``images`` of a batch of ``size``."""
    return tensor[:images] if _by_image(tensor, size) else tensor


def _by_image(tensor: Tensor, images: int) -> bool:
    """Return whether a tensor of a batch has an entry for each image."""
    return tensor.dim() > 0 and len(tensor) == images


def _joined(batches: list[Inputs]) -> Inputs:
    """Join all images in one batch; tensors without an entry for each image are the first batch's."""
    sizes = [images_in(batch) for batch in batches]
    columns = iter(list(zip(*map(tensors_among, batches), strict=True)))

    def joined(first: Tensor) -> Tensor:
        parts = next(columns)
        each = all(_by_image(part, size) for part, size in zip(parts, sizes, strict=True))
        return torch.cat(parts) if each else first

    return tuple(map_tensors(batches[0], joined))


class Sequential:
    """The outputs of each layer of the unpruned network for 'sequential', collected once, used for many plans.

    Where something is added to a layer's output, as in a residual block, the fit preserves the sum: the layer
    compensates for the error of the shortcut (He et al., 2017, 3.4).

    All images are in memory and pass the network together, so that a layer is fitted before the next one runs;
    `ROOM` limits their number.

    Args:
        graph: the traced model.
        batches: images, in the form that criteria use.
        positions: number of sampled positions of each image's output.
        limit: largest number of batches; None for all.
        seed: of that sampling.

    Raises:
        PlanError: no batches.
    """

    def __init__(
        self,
        graph: Graph,
        batches: Batches | None,
        *,
        positions: int = 10,
        limit: int | None = None,
        seed: int = 0,
    ) -> None:
        self._graph = graph
        self._layers = layers_of(graph, positions, seed)
        self._inputs = _joined(
            list(_within(images_that_fit(graph), inputs_of(batches, "reconstruction", limit)))
        )
        self._outputs: dict[fx.Node, Tensor] = {}
        self._added: dict[fx.Node, Tensor] = {}  # what is added to these outputs
        self._added_now: dict[fx.Node, Tensor] = {}  # the same, in the current pass
        self._junctions = self._found_junctions()
        with torch.no_grad():
            before = {layer.consumer.node: self._keeping(layer) for layer in self._layers}
            run_network(graph, self._inputs, before=before, after=self._holding())
        self._added_now.clear()

    def _found_junctions(self) -> dict[fx.Node, Junction]:
        junctions = {layer.consumer.node: junction_of(self._graph, layer) for layer in self._layers}
        return {node: junction for node, junction in junctions.items() if junction is not None}

    def merge(self, keep: Bools) -> None:
        """Merge dropped classes into kept ones, in the network and in the outputs that `fit` preserves; see `merge`.

        Args:
            keep: (classes,) mask of kept classes.
        """
        into = partners(self._graph, keep)
        merge(self._graph, into)
        self._junctions = self._found_junctions()  # BatchNorm has other factors now
        for layer in self._layers:
            classes = self._graph.param_axes.get((str(layer.consumer.weight), 0))
            for stored in (self._outputs, self._added):
                if classes is not None and layer.consumer.node in stored:
                    samples = stored[layer.consumer.node].transpose(0, 1)
                    flat = samples.flatten(1).clone()  # (rows, outputs of all groups)
                    merge_along(flat, 1, classes, into)
                    stored[layer.consumer.node] = flat.view_as(samples).transpose(0, 1)

    def _keeping(self, layer: FittedLayer) -> Tap:
        node, junction = layer.consumer.node, self._junctions.get(layer.consumer.node)

        def keep(value: Tensor) -> None:
            self._outputs[node] = layer.rows(value) @ layer.weight.transpose(1, 2)
            if junction is not None:
                self._added[node] = self._added_now[node]

        return keep

    def _holding(self, before: Mapping[fx.Node, Tap] | None = None) -> dict[fx.Node, Tap]:
        """Return taps that store what is added to outputs; each runs after that of ``before`` on the same node."""
        taps = dict(before or {})

        def hold(layer: FittedLayer, first: Tap | None) -> Tap:
            def tap(value: Tensor) -> Tensor:
                changed = first(value) if first else None
                value = value if changed is None else changed
                self._added_now[layer.consumer.node] = layer.output_samples(value)
                return value

            return tap

        for layer in self._layers:
            if layer.consumer.node in self._junctions:
                other = self._junctions[layer.consumer.node].other
                taps[other] = hold(layer, taps.get(other))
        return taps

    def fit(self, keep: Bools) -> int:
        """Fit the layers in the network's order, and return the number of those that lose inputs."""
        hidden = {
            consumer.source: self._hiding(consumer, keep)
            for consumer in self._graph.flow.consumers
            if not keep[self._inside(consumer.labels)].all()
        }
        with torch.no_grad():
            before = {layer.consumer.node: self._fitting(layer, keep) for layer in self._layers}
            run_network(self._graph, self._inputs, before=before, after=self._holding(hidden))
        self._added_now.clear()
        return sum(layer.loses(keep) for layer in self._layers)

    def _inside(self, labels: Tensor) -> np.ndarray:
        classes = self._graph.classes_of(labels)
        return classes[classes >= 0]

    def _hiding(self, consumer: Consumer, keep: Bools) -> Tap:
        """Return a tap that zeroes dropped channels for a consumer, whether it is fitted or not."""
        alive = torch.from_numpy(np.append(keep, True)[self._graph.classes_of(consumer.labels)])

        def hide(value: Tensor) -> Tensor:
            view = [1] * value.dim()
            view[consumer.axis] = -1
            return value * alive.view(view).to(value)

        return hide

    def _fitting(self, layer: FittedLayer, keep: Bools) -> Tap:
        layer.rewind()
        alive, node = layer.alive(keep), layer.consumer.node
        junction = self._junctions.get(node)

        def fit(value: Tensor) -> None:
            if not alive.any():
                return
            kept = layer.kept(keep).to(value.device)
            rows = layer.rows(value)[:, :, kept].double()
            target = self._outputs[node]
            if junction is not None:
                target = target + (self._added[node] - self._added_now[node]) / junction.scale
            missing = target.double() - rows @ layer.weight[:, :, kept].double().transpose(1, 2)
            middle = rows.shape[1] * (len(value) // 2) // len(value)
            halves = ((rows[:, :middle], missing[:, :middle]), (rows[:, middle:], missing[:, middle:]))
            layer.put(kept, best_change((Products.of(*halves[0]), Products.of(*halves[1]))))

        return fit

    @contextmanager
    def fitted(self, keep: Bools) -> Iterator[None]:
        """Fit the layers within the block, and restore their weights at its end."""
        with weights_restored(self._layers):
            self.fit(keep)
            yield
