"""The same ranking as Torch-Pruning 1.6.1 gives, on the same layer."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeprune.graph.classes import build_graph
from edgeprune.importance import score

pytest.importorskip(
    "torch_pruning", reason="torch-pruning is the extra 'compare': pip install 'edgeprune[compare]'"
)

X = torch.zeros(1, 3, 8, 8)


def model() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 12, 3, bias=False), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 5, 1), nn.Flatten(),
        nn.Linear(5 * 36, 4)
    ).eval()  # fmt: skip
    nn.init.uniform_(net[1].weight, -2, 2)
    return net


def theirs(net: nn.Sequential, importance: Any) -> np.ndarray:
    """Their importance of the first layer's filters."""
    import torch_pruning as tp

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph = tp.DependencyGraph().build_dependency(net, example_inputs=X)
        group = graph.get_pruning_group(net[0], tp.prune_conv_out_channels, idxs=list(range(12)))
        return importance(group).detach().numpy()


def ours(net: nn.Sequential, name: str, **options: Any) -> np.ndarray:
    graph = build_graph(net, X)
    return score(graph, name, **options)[next(g for g in graph.groups if g.name == "0").classes]


def of_filters(kind: str, **options: Any) -> Any:
    """One of their criteria, of the first convolution's filters alone: the first of the group."""
    from torch_pruning.pruner import importance

    return getattr(importance, kind)(group_reduction="first", normalizer="mean", **options)


@pytest.mark.parametrize(("name", "p"), [("l1", 1), ("l2", 2)])
def test_magnitudes(name: str, p: int) -> None:
    net = model()
    own, others = ours(net, name), theirs(net, of_filters("MagnitudeImportance", p=p))
    np.testing.assert_array_equal(np.argsort(own), np.argsort(others))
    others = others ** (1 / p)  # they leave the square root out
    np.testing.assert_allclose(own, others / others.mean(), rtol=1e-5)


def test_fpgm() -> None:
    """They take distances between |w|, not w: on positive weights the two agree."""
    net = model()
    with torch.no_grad():
        net[0].weight.abs_()
    own, others = ours(net, "fpgm"), theirs(net, of_filters("FPGMImportance", p=1))
    np.testing.assert_array_equal(np.argsort(own), np.argsort(others))
    np.testing.assert_allclose(own, others, rtol=1e-4)


def test_bn_scale() -> None:
    from torch_pruning.pruner.importance import BNScaleImportance

    net = model()
    own, others = ours(net, "bn-scale"), theirs(net, BNScaleImportance(normalizer=None))
    np.testing.assert_array_equal(np.argsort(own), np.argsort(others))
    np.testing.assert_allclose(own, others, rtol=1e-6)


def test_taylor() -> None:
    """Theirs is |sum w dL/dw|: the gate's gradient without BatchNorm and bias; ours is its square."""
    net = model()
    net = nn.Sequential(net[0], *net[2:])
    batch: tuple[Tensor, Tensor] = (torch.randn(6, 3, 8, 8), torch.randint(4, (6,)))
    F.cross_entropy(net(batch[0]), batch[1]).backward()
    others = theirs(net, of_filters("TaylorImportance", multivariable=True))
    own = ours(net, "taylor", batches=[batch])
    np.testing.assert_array_equal(np.argsort(own), np.argsort(others))
    np.testing.assert_allclose(np.sqrt(own) / np.sqrt(own).mean(), others, rtol=1e-3)
