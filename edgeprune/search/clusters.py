"""Clusters of groups that may share a variable, since their importance has a similar distribution."""

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
NARROWEST = 3.0  # grid steps: the smallest bandwidth, for channels of equal importance
TINY = 1e-50  # the source's: no density is 0, for logarithms


@dataclass(frozen=True)
class Dendrogram:
    """A tree of groups that can be cut into any number of clusters; cuts are nested.

    Attributes:
        links: (groups - 1, 4), in the format of scipy's linkage.
        names: names of the groups.
    """

    links: Floats
    names: tuple[str, ...]

    @classmethod
    def of(cls, variables: Variables, distance: str = "eu") -> "Dendrogram":
        """Build the tree by Ward's linkage.

        Ward's criterion needs Euclidean distances. 'eu' and 'st' are Euclidean; so is the Jensen-Shannon
        distance (the root of the divergence), in a Hilbert space: Fuglede & Topsoe, 2004.

        Args:
            variables: the groups and their channels' importance.
            distance: 'eu' or 'js' between densities of importance, 'st' between structural features.
        """
        if len(variables) < 2:
            return cls(np.zeros((0, 4)), tuple(variables.names))
        return cls(linkage(distances(variables, distance), method="ward"), tuple(variables.names))

    def cut(self, clusters: int) -> tuple[int, ...]:
        """Return the cluster of each group, numbered by first appearance.

        There are fewer clusters than requested where groups have no distance from each other.

        Raises:
            SearchError: fewer groups than clusters.
        """
        check_clusters(clusters, len(self.names))
        if clusters == len(self.names):
            return tuple(range(clusters))
        labels = fcluster(self.links, clusters, criterion="maxclust").tolist()
        order = list(dict.fromkeys(labels))
        return tuple(order.index(label) for label in labels)


def check_clusters(clusters: int, groups: int) -> None:
    """Raise SearchError for fewer groups than clusters."""
    if clusters > groups:
        raise SearchError(
            f"{clusters} clusters of {groups} groups of channels: make `clusters` at most {groups}, or 0 for "
            "a variable each"
        )


def distances(variables: Variables, distance: str) -> Floats:
    """Return the distance between each two groups, condensed as by scipy's pdist.

    Args:
        variables: the groups and their channels' importance.
        distance: 'eu', 'js' or 'st'; see `Dendrogram.of`.
    """
    if distance == "st":
        return np.asarray(pdist(features(variables)))
    spread = densities([median_scaled(values) for values in variables.importance])
    return np.asarray(pdist(spread) if distance == "eu" else pdist(spread, jensenshannon))


def median_scaled(importance: Floats) -> Floats:
    """Centre a group's importance on its median and divide it by the median.

    The source does not divide, and uses a grid from -15 to 15 that suits one network. After the division the
    scale of a layer has no effect; only the differences between its channels count.
    """
    median = float(np.median(importance))
    return (importance - median) / (abs(median) or float(np.abs(importance).max(initial=0.0)) or 1.0)


def densities(groups: Sequence[Floats], points: int = POINTS) -> Floats:
    """Estimate Gaussian kernel densities on a common grid; (groups, points), each row sums to 1.

    The bandwidth is Scott's, sigma n^(-1/5), as in the source, but at least a few steps of the grid.

    Args:
        groups: scaled importance of each group's channels.
        points: points of the grid.
    """
    widths = [
        float(values.std(ddof=1)) * len(values) ** -0.2 if len(values) > 1 else 0.0 for values in groups
    ]
    low, high = min(v.min() for v in groups), max(v.max() for v in groups)
    margin = 3 * max(*widths, 1e-3 * (high - low), 1e-6)
    grid = np.linspace(low - margin, high + margin, points)
    narrowest = NARROWEST * float(grid[1] - grid[0])
    density = np.stack(
        [
            np.exp(
                KernelDensity(bandwidth=max(width, narrowest)).fit(v[:, None]).score_samples(grid[:, None])
            )
            for v, width in zip(groups, widths, strict=True)
        ]
    )
    density += TINY
    return np.asarray(density / density.sum(1, keepdims=True))


def features(variables: Variables) -> Floats:
    """Return the structural features of each group, each column divided by its maximum; (groups, 7).

    The columns: classes, layers that produce and that read them, the consumers' largest kernel and their output
    channels, and the parameters and FLOPs that go with a class. The source describes single layers; a group
    may have several.
    """
    graph = variables.graph
    params, flops = graph.marginal_params(), graph.marginal_flops()
    rows = []
    for tied, classes in zip(variables.searched, variables.ranked, strict=True):
        producers = [name for group in tied.groups for name in group.producers]
        consumers = [name for group in tied.groups for name in group.consumers]
        weights = [graph.model.get_parameter(f"{name}.weight") for name in _weighted(variables, consumers)]
        rows.append(
            [
                len(classes),
                len(producers),
                len(consumers),
                max([w.shape[2:].numel() for w in weights], default=1),
                sum(w.shape[0] for w in weights),
                params[classes].mean(),
                flops[classes].mean(),
            ]
        )
    table = np.array(rows, dtype=np.float64)
    return np.asarray(table / np.maximum(np.abs(table).max(0), 1e-12))


def _weighted(variables: Variables, names: Sequence[str]) -> list[str]:
    parameters = {name for name, _ in variables.graph.model.named_parameters()}
    return [name for name in names if f"{name}.weight" in parameters]


def members(labels: Sequence[int]) -> list[Ints]:
    """Return the indices of the groups in each cluster."""
    clusters = np.asarray(labels)
    return [np.flatnonzero(clusters == label) for label in range(int(clusters.max(initial=-1)) + 1)]
