"""Which groups may share a variable: those whose channels' importance is spread alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import jensenshannon, pdist
from sklearn.neighbors import KernelDensity

from edgeprune.errors import SearchError
from edgeprune.graph.classes import Ints
from edgeprune.search.variables import Floats, Variables

POINTS = 1000  # of a density's grid; the source's number
NARROWEST = 3.0  # grid steps: the least bandwidth, where channels are all alike
TINY = 1e-50  # the source's: no density is 0, for logarithms


@dataclass(frozen=True)
class Dendrogram:
    """A tree of groups, cut into so many clusters as are asked for; cuts are nested.

    Attributes:
        links: (groups - 1, 4), as scipy's linkage writes them.
        names: of the groups.
    """

    links: Floats
    names: tuple[str, ...]

    @classmethod
    def of(cls, variables: Variables, distance: str = "eu") -> "Dendrogram":
        """Ward's linkage of the groups.

        Ward's criterion is about squared Euclidean distances. 'eu' and 'st' are such; the Jensen-Shannon
        distance (the root of the divergence) is, too, in some Hilbert space: Fuglede & Topsoe, 2004.

        Args:
            variables: the groups and their channels' importance.
            distance: 'eu' or 'js' between densities of importance, 'st' between structural features.
        """
        if len(variables) < 2:
            return cls(np.zeros((0, 4)), tuple(variables.names))
        return cls(linkage(distances(variables, distance), method="ward"), tuple(variables.names))

    def cut(self, clusters: int) -> tuple[int, ...]:
        """The cluster of each group, numbered by first appearance.

        There are fewer clusters where groups are at no distance from each other.

        Raises:
            SearchError: fewer groups than clusters.
        """
        check_clusters(clusters, len(self.names))
        if clusters == len(self.names):
            return tuple(range(clusters))
        found = fcluster(self.links, clusters, criterion="maxclust").tolist()
        order = list(dict.fromkeys(found))
        return tuple(order.index(label) for label in found)


def check_clusters(clusters: int, groups: int) -> None:
    """Raise SearchError for fewer groups than clusters."""
    if clusters > groups:
        raise SearchError(
            f"{clusters} clusters of {groups} groups of channels: make --clusters at most {groups}, or 0 for "
            "a variable each"
        )


def distances(variables: Variables, distance: str) -> Floats:
    """Between each two groups, condensed as scipy's pdist has it."""
    if distance == "st":
        return np.asarray(pdist(features(variables)))
    spread = densities([normalised(values) for values in variables.importance])
    return np.asarray(pdist(spread) if distance == "eu" else pdist(spread, jensenshannon))


def normalised(importance: Floats) -> Floats:
    """A group's importance about its median, in units of the median.

    The source leaves the unit out, and lays its densities on a grid from -15 to 15 that suits one network.
    Over the median it does not matter how a layer is scaled, only how unlike its channels are.
    """
    median = float(np.median(importance))
    return (importance - median) / (abs(median) or float(np.abs(importance).max(initial=0.0)) or 1.0)


def densities(groups: Sequence[Floats], points: int = POINTS) -> Floats:
    """Gaussian kernel densities on one grid that holds them all; (groups, points), each adds up to 1.

    Scott's bandwidth, sigma n^(-1/5), as the source has it, but never under a few steps of the grid.
    """
    widths = [
        float(values.std(ddof=1)) * len(values) ** -0.2 if len(values) > 1 else 0.0 for values in groups
    ]
    low, high = min(v.min() for v in groups), max(v.max() for v in groups)
    margin = 3 * max(*widths, 1e-3 * (high - low), 1e-6)
    grid = np.linspace(low - margin, high + margin, points)
    narrowest = NARROWEST * float(grid[1] - grid[0])
    found = np.stack(
        [
            np.exp(
                KernelDensity(bandwidth=max(width, narrowest)).fit(v[:, None]).score_samples(grid[:, None])
            )
            for v, width in zip(groups, widths, strict=True)
        ]
    )
    found += TINY
    return np.asarray(found / found.sum(1, keepdims=True))


def features(variables: Variables) -> Floats:
    """What a group is like, each column over its largest; (groups, 7).

    Classes, layers that write and that read them, the largest kernel of these, outputs of the readers, and
    the parameters and FLOPs that go with a class. The source's are of layers; a group may have several.
    """
    graph = variables.graph
    params, flops = graph.marginal_params(), graph.marginal_flops()
    rows = []
    for tied, classes in zip(variables.searched, variables.ranked, strict=True):
        producers = [name for group in tied.groups for name in group.producers]
        readers = [name for group in tied.groups for name in group.readers]
        weights = [graph.model.get_parameter(f"{name}.weight") for name in _weighted(variables, readers)]
        rows.append(
            [
                len(classes),
                len(producers),
                len(readers),
                max([w.shape[2:].numel() for w in weights], default=1),
                sum(w.shape[0] for w in weights),
                params[classes].mean(),
                flops[classes].mean(),
            ]
        )
    table = np.array(rows, dtype=np.float64)
    return np.asarray(table / np.maximum(np.abs(table).max(0), 1e-12))


def _weighted(variables: Variables, names: Sequence[str]) -> list[str]:
    there = {name for name, _ in variables.graph.model.named_parameters()}
    return [name for name in names if f"{name}.weight" in there]


def members(labels: Sequence[int]) -> list[Ints]:
    """The groups of each cluster."""
    found = np.asarray(labels)
    return [np.flatnonzero(found == label) for label in range(int(found.max(initial=-1)) + 1)]
