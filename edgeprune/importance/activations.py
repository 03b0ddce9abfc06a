"""Criteria by the feature maps of a few batches."""

from collections.abc import Callable

import torch
from torch import Tensor

from edgeprune.graph.classes import Graph
from edgeprune.importance.batches import Batches, inputs_of
from edgeprune.importance.combine import LayerScores, Scores, check_combining, combine
from edgeprune.importance.options import checked_integer, count_or_all, number_between
from edgeprune.importance.sites import Site, as_maps, run_network, written_sites

MapMeasure = Callable[[Tensor], Tensor]

_CHUNK = 2**23  # elements of one stack of matrices: 64 MiB in float64


def hrank(
    graph: Graph,
    *,
    batches: Batches | None = None,
    limit: int | None = 5,
    reduction: str = "mean",
    normalise: str = "mean",
) -> Scores:
    """Average the rank of each (H, W) feature map over images, after the activation. Needs images.

    Source: Lin et al., HRank: Filter Pruning using High-Rank Feature Map, 2020 (5 batches). The source sets
    the share to prune for each layer by hand; here each layer is divided by its mean and all are ranked
    together.

    Args:
        graph: the traced model.
        batches: images.
        limit: largest number of batches; None for all.
        reduction: over the coupled channels of a class; see `combine`.
        normalise: of each layer's scores; see `combine`.

    Raises:
        PlanError: no batches.
    """
    return _by_map(graph, batches, "hrank", _ranks, limit, reduction, normalise)


def chip(
    graph: Graph,
    *,
    batches: Batches | None = None,
    limit: int | None = 5,
    images: int = 16,
    reduction: str = "mean",
    normalise: str = "mean",
) -> Scores:
    """Measure what each channel adds to the nuclear norm of its layer's feature maps. Needs images.

    For each image, A is (channels, H * W): CI_i = ||A||_* - ||A with row i zero||_*, mean over images.

    Source: Sui et al., CHIP: CHannel Independence-based Pruning, 2021 (5 batches with all their images;
    here the first ``images`` of each, since the cost is an eigenvalue problem for each channel and image).

    Args:
        graph: the traced model.
        batches: images.
        limit: largest number of batches; None for all.
        images: number of images used of each batch.
        reduction: over the coupled channels of a class; see `combine`.
        normalise: of each layer's scores; see `combine`.

    Raises:
        PlanError: no batches.
    """
    used = checked_integer("images", images)

    def measure(maps: Tensor) -> Tensor:
        return torch.stack([_independence(image) for image in maps[:used].flatten(2).double()])

    return _by_map(graph, batches, "chip", measure, limit, reduction, normalise)


def fma(
    graph: Graph,
    *,
    batches: Batches | None = None,
    limit: int | None = None,
    share: float = 0.01,
    reduction: str = "mean",
    normalise: str = "none",
) -> Scores:
    """Measure the part of each feature map above ``share`` of its layer's mean. Needs images.

    The feature maps are taken after the activation.

    Inspired by Li et al., Feature Map Analysis-Based Dynamic CNN Pruning and the Acceleration on FPGAs,
    2022: its idea that a sparse feature map carries little information. Its penalty formula is not known to
    us, and its search for a threshold under an accuracy limit is not implemented here.

    Args:
        graph: the traced model.
        batches: images.
        limit: largest number of batches; None for all.
        share: of the mean absolute value of the layer, in [0, 1].
        reduction: over the coupled channels of a class; see `combine`.
        normalise: of each layer's scores; see `combine`.

    Raises:
        PlanError: no batches; ``share`` is not in [0, 1].
    """
    share = number_between("share", share, 0, 1)

    def measure(maps: Tensor) -> Tensor:
        return (maps.abs() > share * maps.abs().mean()).double().mean((2, 3))

    return _by_map(graph, batches, "fma", measure, limit, reduction, normalise)


def _by_map(
    graph: Graph,
    batches: Batches | None,
    criterion: str,
    measure: MapMeasure,
    limit: int | None,
    reduction: str,
    normalise: str,
) -> Scores:
    """Average ``measure``, (N, C, H, W) -> (N, C), over images at every layer that writes channels."""
    check_combining(reduction, normalise)
    limit = count_or_all("limit", limit)
    means = [_Mean(site, measure) for site in written_sites(graph, "activation")]
    for inputs in inputs_of(batches, criterion, limit):
        with torch.no_grad():
            run_network(graph, inputs, after={mean.site.node: mean.add for mean in means})
    return combine(graph, [mean.scores() for mean in means], reduction=reduction, normalise=normalise)


class _Mean:
    """Running mean over images of a measure at one site."""

    def __init__(self, site: Site, measure: MapMeasure) -> None:
        self.site, self._measure = site, measure
        self._total: Tensor | float = 0.0
        self._images = 0

    def add(self, value: Tensor) -> None:
        """Add the value of one batch; values that are not finite give NaN, which `combine` reports."""
        maps = as_maps(value, self.site.axis)
        finite = bool(torch.isfinite(maps).all())
        measured = self._measure(maps).double() if finite else maps.new_full(maps.shape[:2], torch.nan)
        self._total = self._total + measured.sum(0)
        self._images += len(measured)

    def scores(self) -> LayerScores:
        mean = torch.as_tensor(self._total / max(1, self._images))
        return LayerScores(self.site.layer, mean.cpu().numpy(), self.site.classes)


def _ranks(maps: Tensor) -> Tensor:
    return torch.linalg.matrix_rank(maps.float())


def _independence(rows: Tensor) -> Tensor:
    """Return the (C,) independence of one image's (C, H * W), from the eigenvalues of the smaller Gram matrix."""
    channels, places = rows.shape
    wide = channels <= places
    gram = rows @ rows.T if wide else rows.T @ rows
    total_norm = _nuclear(gram[None])[0]
    size = max(1, _CHUNK // max(1, gram.numel()))
    parts = [_nuclear(_without(gram, rows, index, wide)) for index in torch.arange(channels).split(size)]
    return total_norm - torch.cat(parts)


def _without(gram: Tensor, rows: Tensor, index: Tensor, wide: bool) -> Tensor:
    """Return for each row in ``index`` the Gram matrix of the data with that row zeroed."""
    if not wide:
        return gram - rows[index][:, :, None] * rows[index][:, None, :]
    stack = gram.repeat(len(index), 1, 1)
    each = torch.arange(len(index))
    stack[each, index, :] = 0
    stack[each, :, index] = 0
    return stack


def _nuclear(grams: Tensor) -> Tensor:
    return torch.linalg.eigvalsh(grams).clamp(min=0).sqrt().sum(-1)
