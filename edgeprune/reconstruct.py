"""Least-squares reconstruction: the layers that read dropped channels learn to do without them."""

import numpy as np
import torch
from torch import Tensor

from edgeprune.errors import PlanError, known
from edgeprune.graph.classes import Bools, Graph, Ints
from edgeprune.graph.flow import Reader
from edgeprune.importance.batches import Batches, inputs_of
from edgeprune.importance.contributions import Geometry, geometry_of, products_of
from edgeprune.importance.sites import run
from edgeprune.plan import Plan

WAYS = ("none", "scale", "kernel")
RIDGE = 1e-6  # of the mean diagonal: channels that repeat each other exactly leave the fit solvable
_MEMORY = 2**30  # bytes of products held at once


def reconstruct(
    graph: Graph,
    plan: Plan,
    batches: Batches | None,
    ways: str = "kernel",
    *,
    positions: int = 10,
    limit: int | None = None,
    seed: int = 0,
) -> int:
    """Fit the weights that read the kept channels so that each layer's output stays what it was.

    'kernel': min over W' of ||Y - X_S W'||^2, X_S the patches of the kept input channels and Y the layer's
    output before anything is dropped, without its bias. Source: He et al., Channel Pruning for Accelerating
    Very Deep Neural Networks, 2017. 'scale': one factor for each kept channel, min over w of
    ||Y - sum w_c Z_c||^2. Source: Luo et al., ThiNet, 2017. Inputs are the whole network's, taken once.

    Args:
        graph: the traced model; weights of its module are changed in place.
        plan: what will be dropped. The weights that read it become 0.
        batches: images, as criteria take them.
        ways: 'scale' or 'kernel'.
        positions: places of the output sampled in each image.
        limit: at most this many batches.
        seed: of that sampling.

    Returns:
        How many layers were fitted: convolutions over 1 or 2 axes and linear layers that lose inputs.

    Raises:
        PlanError: no batches, another model's plan, or an unknown way.
    """
    plan.check(graph)
    if ways not in WAYS[1:]:
        raise PlanError(known("way of reconstruction", ways, list(WAYS)))
    if ways == "scale":
        return _scale(graph, plan.keep, batches, positions, limit, seed)
    fits = [
        fit for reader in graph.flow.readers if (fit := _fit_of(graph, reader, plan.keep, positions, seed))
    ]
    while fits:
        part = [fits.pop(0)]
        while fits and sum(fit.memory for fit in [*part, fits[0]]) <= _MEMORY:
            part.append(fits.pop(0))
        for fit in part:
            fit.begin()
        for inputs in inputs_of(batches, "reconstruction", limit):
            with torch.no_grad():
                run(graph, inputs, before={fit.reader.node: fit.add for fit in part})
        for fit in part:
            fit.end()
    return sum(_loses(graph, reader, plan.keep) for reader in graph.flow.readers)


def _loses(graph: Graph, reader: Reader, keep: Bools) -> bool:
    """Whether a layer that can be fitted reads dropped channels, and kept ones too."""
    name = reader.weight
    if name is None or graph.flow.outputs.get(name) != 0 or geometry_of(graph, reader) is None:
        return False
    if sum(other.weight == name for other in graph.flow.readers) > 1:
        return False  # a layer used twice has two outputs to keep
    alive = np.append(keep, True)[graph.slots[name, 1]]
    return bool(not alive.all() and alive.any())


def _fit_of(graph: Graph, reader: Reader, keep: Bools, positions: int, seed: int) -> "_Fit | None":
    if not _loses(graph, reader, keep):
        return None
    geometry = geometry_of(graph, reader)
    assert geometry is not None
    assert reader.weight is not None
    classes = graph.slots[reader.weight, 1]
    generator = torch.Generator().manual_seed(seed)
    parameter = graph.module.get_parameter(reader.weight)
    return _Fit(reader, parameter, geometry, np.append(keep, True)[classes], positions, generator)


class _Fit:
    """The normal equations of one layer: A = X^T X for each group, then W' = W A_S,all^T A_SS^-1."""

    def __init__(
        self,
        reader: Reader,
        parameter: torch.nn.Parameter,
        geometry: Geometry,
        alive: Bools,
        positions: int,
        generator: torch.Generator,
    ) -> None:
        self.reader, self._parameter, self._geometry = reader, parameter, geometry
        self._positions, self._generator = positions, generator
        self._taps = parameter[0, 0].numel()
        self._alive = torch.from_numpy(np.repeat(alive, self._taps))
        self._width = parameter.shape[1] * self._taps
        self._sum = torch.zeros(0)

    @property
    def memory(self) -> int:
        """Bytes its products take."""
        return 8 * self._geometry.groups * self._width**2

    def begin(self) -> None:
        self._sum = torch.zeros(
            self._geometry.groups,
            self._width,
            self._width,
            dtype=torch.float64,
            device=self._parameter.device,
        )

    def add(self, value: Tensor) -> None:
        """Take the layer's input of one batch."""
        patches = self._geometry.sample(value.detach(), self._positions, self._generator)
        flat = patches.flatten(2).transpose(0, 1).to(self._sum)
        self._sum.baddbmm_(flat.transpose(1, 2), flat)

    def end(self) -> None:
        """Solve, and put the result into the layer."""
        groups, shape = self._geometry.groups, self._parameter.shape
        weight = self._parameter.detach().reshape(groups, -1, self._width).double()
        kept = self._alive.nonzero()[:, 0].to(self._sum.device)
        new = torch.zeros_like(weight)
        for group in range(groups):
            left = self._sum[group][kept][:, kept]
            left.diagonal().add_(RIDGE * float(left.diagonal().mean()) + 1e-12)
            right = self._sum[group][kept] @ weight[group].T
            new[group][:, kept] = torch.linalg.solve(left, right).T
        self._sum = torch.zeros(0)
        if bool(torch.isfinite(new).all()):
            with torch.no_grad():
                self._parameter.copy_(new.reshape(shape))


def _scale(
    graph: Graph, keep: Bools, batches: Batches | None, positions: int, limit: int | None, seed: int
) -> int:
    fitted = 0
    for product in products_of(graph, batches, "reconstruction", limit, positions, seed):
        name = str(product.reader.weight)
        alive = keep[product.classes]
        if alive.all() or not alive.any():
            continue
        factors = _factors(product.gram, alive)
        _multiply(graph, name, product.classes, np.where(alive, factors, 0.0))
        fitted += 1
    return fitted


def _factors(gram: np.ndarray, alive: Bools) -> np.ndarray:
    """w of min ||sum of all Z_c - sum over kept w_c Z_c||^2; 0 for the dropped."""
    left = gram[np.ix_(alive, alive)]
    left = left + np.eye(len(left)) * (RIDGE * np.diag(left).mean() + 1e-300)
    out = np.zeros(len(alive))
    out[alive] = np.linalg.solve(left, gram[alive].sum(1))
    return out if np.isfinite(out).all() else alive.astype(float)


def _multiply(graph: Graph, name: str, classes: Ints, factors: np.ndarray) -> None:
    """Multiply what each class is read by."""
    table = np.ones(graph.classes + 1)  # class -1, which always stays, is the last
    table[classes] = factors
    parameter = graph.module.get_parameter(name)
    view = [1, -1] + [1] * (parameter.dim() - 2)
    with torch.no_grad():
        parameter.mul_(torch.from_numpy(table[graph.slots[name, 1]]).to(parameter).view(view))
