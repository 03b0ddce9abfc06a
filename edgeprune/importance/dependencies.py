"""A criterion by linear dependency: what a channel gives that the others do not already."""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edgeprune.graph.classes import Graph
from edgeprune.importance.batches import Batches, inputs_of
from edgeprune.importance.combine import LayerScores, Scores, check_combining, combine
from edgeprune.importance.contributions import samples_of
from edgeprune.importance.options import checked_integer, count_or_all
from edgeprune.importance.sites import Site, as_maps, run_network, written_sites


def lindeps(
    graph: Graph,
    *,
    batches: Batches | None = None,
    limit: int | None = None,
    positions: int = 32,
    seed: int = 0,
    reduction: str = "mean",
    normalise: str = "max",
) -> Scores:
    """Rank a layer's channels by QR with column pivoting of its feature maps, after the activation. Needs images.

    The columns of X are channels, its rows sampled positions of images. In each step the channel with the largest
    part that the chosen ones do not give by any linear combination is chosen, and scores the norm of that part, |R_kk|:
    0 for one that others can replace wholly. The fit 'fold' then replaces it.

    Source: Henry, Iurada, Hengchun, LinDeps: A Fine-tuning Free Post-Pruning Method to Remove Layer-Wise Linear
    Dependencies with Guaranteed Performance Preservation, 2025 (arXiv 2507.21573), which removes dependent channels
    after another method has pruned; here they are ranked, for a target.

    Args:
        graph: the traced model.
        batches: images.
        limit: largest number of batches; None for all.
        positions: number of sampled positions of each image's feature maps.
        seed: of that sampling.
        reduction: over the coupled channels of a class; see `combine`.
        normalise: of each layer's scores; see `combine`.

    Raises:
        PlanError: no batches, or a number out of range.
    """
    check_combining(reduction, normalise)
    limit, positions = count_or_all("limit", limit), checked_integer("positions", positions)
    generator = torch.Generator().manual_seed(checked_integer("seed", seed, least=0))
    sites = written_sites(graph, "activation")
    sums = [_Products(site, positions, generator) for site in sites]
    taps: dict[object, Callable[[Tensor], None]] = {each.site.node: each.add for each in sums}
    for inputs in inputs_of(batches, "lindeps", limit):
        with torch.no_grad():
            run_network(graph, inputs, after=taps)  # type: ignore[arg-type]
    layers = [each.scores() for each in sums]
    return combine(graph, layers, reduction=reduction, normalise=normalise)


class _Products:
    """The products of the channels' values at one site, X^T X."""

    def __init__(self, site: Site, positions: int, generator: torch.Generator) -> None:
        self.site = site
        self._draw = partial(samples_of, positions=positions, generator=generator)
        self._sum: Tensor | float = 0.0

    def add(self, value: Tensor) -> None:
        """Add the value of one batch."""
        rows = self._draw(as_maps(value.detach(), self.site.axis).flatten(2)).double()
        self._sum = self._sum + rows.T @ rows

    def scores(self) -> LayerScores:
        products = torch.as_tensor(self._sum).cpu().numpy()
        return LayerScores(self.site.layer, pivoted_norms(products), self.site.classes)


def pivoted_norms(products: NDArray[np.float64]) -> Scores:
    """Return |R_kk| of each column in the QR factorisation of X with column pivoting, from X^T X.

    Column pivoting of X is the pivoted Cholesky factorisation of X^T X (Golub & Van Loan, Matrix Computations, 5.4).

    Args:
        products: X^T X, (columns, columns).

    Returns:
        (columns,); numbers that are not finite stay so.
    """
    from scipy.linalg import lapack

    count = len(products)
    if not np.isfinite(products).all():
        return np.full(count, np.nan)
    rounding = 1e-12 * max(products.max(initial=0.0), 1e-300)
    triangle, order, rank, _ = lapack.dpstrf(products, tol=rounding)
    scores = np.zeros(count)
    scores[order[:rank] - 1] = np.diag(triangle)[:rank]  # LAPACK counts from 1
    return scores
