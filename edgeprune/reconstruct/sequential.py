"""Fits one after the other, each on what the layers before it give now that they are pruned."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.fx as fx
from torch import Tensor

from edgeprune.graph.classes import Bools, Graph
from edgeprune.importance.batches import Batches, inputs_of
from edgeprune.importance.sites import Tap, run
from edgeprune.reconstruct.layers import Layer, layers_of

ENOUGH = 2  # samples for each unknown: with fewer, a layer that loses nothing itself stays as it is


class Sequential:
    """What 'sequential' needs of the whole network, taken once and used for many plans: each layer's outputs.

    All images are held, and pass the network together, so that a layer is fitted before the next one runs.

    Args:
        graph: the traced model.
        batches: images, as criteria take them.
        positions: places of the output sampled in each image.
        limit: at most this many batches.
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
        given = list(inputs_of(batches, "reconstruction", limit))
        self._inputs = tuple(torch.cat(parts) for parts in zip(*given, strict=True))
        self._outputs: dict[fx.Node, Tensor] = {}
        with torch.no_grad():
            run(graph, self._inputs, before={one.reader.node: self._keeping(one) for one in self._layers})
        self._whole = [layer.parameter.detach().clone() for layer in self._layers]

    def _keeping(self, layer: Layer) -> Tap:
        def keep(value: Tensor) -> None:
            self._outputs[layer.reader.node] = layer.rows(value) @ layer.weight.transpose(1, 2)

        return keep

    def fit(self, keep: Bools) -> int:
        """Fit every layer that loses inputs, and those after it, in the network's order; returns how many."""
        hidden = {
            reader.source: self._hiding(reader.source, reader.axis, keep)
            for reader in self._graph.flow.readers
            if not keep[self._inside(reader.labels)].all()
        }
        with torch.no_grad():
            before = {one.reader.node: self._fitting(one, keep) for one in self._layers}
            run(self._graph, self._inputs, before=before, after=hidden)
        return sum(layer.loses(keep) for layer in self._layers)

    def _inside(self, labels: Tensor) -> np.ndarray:
        classes = self._graph.classes_of(labels)
        return classes[classes >= 0]

    def _hiding(self, node: fx.Node, axis: int, keep: Bools) -> Tap:
        """Dropped channels are zero wherever they are read, by layers that are not fitted, too."""
        labels = next(r.labels for r in self._graph.flow.readers if r.source is node and r.axis == axis)
        alive = torch.from_numpy(np.append(keep, True)[self._graph.classes_of(labels)])

        def hide(value: Tensor) -> Tensor:
            view = [1] * value.dim()
            view[axis] = -1
            return value * alive.view(view).to(value)

        return hide

    def _fitting(self, layer: Layer, keep: Bools) -> Tap:
        layer.rewind()
        alive = layer.alive(keep)

        def fit(value: Tensor) -> None:
            kept = layer.kept(keep).to(value.device)
            rows = layer.rows(value)[:, :, kept].double()
            if not alive.any() or (alive.all() and rows.shape[1] < ENOUGH * len(kept)):
                return
            wanted = self._outputs[layer.reader.node].double()
            across = rows.transpose(1, 2)
            layer.put(kept, across @ rows, across @ wanted)

        return fit

    @contextmanager
    def fitted(self, keep: Bools) -> Iterator[None]:
        """Within it, the layers are fitted; then they are as before."""
        try:
            self.fit(keep)
            yield
        finally:
            with torch.no_grad():
                for layer, whole in zip(self._layers, self._whole, strict=True):
                    layer.parameter.copy_(whole)
