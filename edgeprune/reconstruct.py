"""Least-squares reconstruction: the layers that read dropped channels learn to do without them."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

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
    fits = [fit for fit in _fits(graph, positions, seed) if fit.loses(plan.keep)]
    for part in _in_parts(fits):
        _collect(graph, part, batches, limit)
        for fit in part:
            fit.put(plan.keep)
            fit.forget()
    return len(fits)


class Grams:
    """What reconstruction by 'kernel' needs of the whole network, taken once and used for many plans.

    Takes 8 bytes for each pair of weights that one output reads, of every layer that can be fitted.

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
        self._fits = _fits(graph, positions, seed)
        _collect(graph, self._fits, batches, limit)
        self._whole = [fit.parameter.detach().clone() for fit in self._fits]

    @contextmanager
    def fitted(self, keep: Bools) -> Iterator[None]:
        """Within it, layers that read dropped channels are fitted to do without; then they are as before."""
        losing = [fit for fit in self._fits if fit.loses(keep)]
        try:
            for fit in losing:
                fit.put(keep)
            yield
        finally:
            with torch.no_grad():
                for fit, whole in zip(self._fits, self._whole, strict=True):
                    fit.parameter.copy_(whole)


def _fits(graph: Graph, positions: int, seed: int) -> list["_Fit"]:
    """Every layer that can be fitted: convolutions over 1 or 2 axes and linear layers, used once."""
    uses = Counter(reader.weight for reader in graph.flow.readers)
    found = []
    for reader in graph.flow.readers:
        name, geometry = reader.weight, geometry_of(graph, reader)
        if name is None or geometry is None or graph.flow.outputs.get(name) != 0:
            continue
        if uses[name] > 1 or not (graph.slots[name, 1] >= 0).any():
            continue  # a layer used twice has two outputs to keep
        generator = torch.Generator().manual_seed(seed)
        parameter = graph.module.get_parameter(name)
        found.append(_Fit(reader, parameter, geometry, graph.slots[name, 1], positions, generator))
    return found


def _in_parts(fits: list["_Fit"]) -> Iterator[list["_Fit"]]:
    """As many at once as memory is meant for."""
    part: list[_Fit] = []
    for fit in fits:
        if part and sum(other.memory for other in [*part, fit]) > _MEMORY:
            yield part
            part = []
        part.append(fit)
    if part:
        yield part


def _collect(graph: Graph, fits: list["_Fit"], batches: Batches | None, limit: int | None) -> None:
    for fit in fits:
        fit.begin()
    for inputs in inputs_of(batches, "reconstruction", limit):
        with torch.no_grad():
            run(graph, inputs, before={fit.reader.node: fit.add for fit in fits})


class _Fit:
    """The normal equations of one layer: A = X^T X for each group, then W' = W A_S,all^T A_SS^-1."""

    def __init__(
        self,
        reader: Reader,
        parameter: torch.nn.Parameter,
        geometry: Geometry,
        classes: Ints,
        positions: int,
        generator: torch.Generator,
    ) -> None:
        self.reader, self.parameter, self._geometry, self._classes = reader, parameter, geometry, classes
        self._positions, self._generator = positions, generator
        self._taps = parameter[0, 0].numel()
        self._width = parameter.shape[1] * self._taps
        self._sum = torch.zeros(0)

    def alive(self, keep: Bools) -> Bools:
        """Which of the input channels of a group stay."""
        return np.append(keep, True)[self._classes]

    def loses(self, keep: Bools) -> bool:
        """Whether it reads dropped channels, and kept ones too."""
        alive = self.alive(keep)
        return bool(not alive.all() and alive.any())

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
            device=self.parameter.device,
        )

    def add(self, value: Tensor) -> None:
        """Take the layer's input of one batch."""
        patches = self._geometry.sample(value.detach(), self._positions, self._generator)
        flat = patches.flatten(2).transpose(0, 1).to(self._sum)
        self._sum.baddbmm_(flat.transpose(1, 2), flat)

    def forget(self) -> None:
        """Give the memory back."""
        self._sum = torch.zeros(0)

    def put(self, keep: Bools) -> None:
        """Solve for what stays, and put the result into the layer; what was taken in remains."""
        groups, shape = self._geometry.groups, self.parameter.shape
        weight = self.parameter.detach().reshape(groups, -1, self._width).double()
        alive = torch.from_numpy(np.repeat(self.alive(keep), self._taps))
        kept = alive.nonzero()[:, 0].to(self._sum.device)
        new = torch.zeros_like(weight)
        for group in range(groups):
            left = self._sum[group][kept][:, kept]
            left.diagonal().add_(RIDGE * float(left.diagonal().mean()) + 1e-12)
            right = self._sum[group][kept] @ weight[group].T
            new[group][:, kept] = torch.linalg.solve(left, right).T
        if bool(torch.isfinite(new).all()):
            with torch.no_grad():
                self.parameter.copy_(new.reshape(shape))


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
