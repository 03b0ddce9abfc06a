"""ThiNet and the lasso by hand, against brute force and against scikit-learn."""

import numpy as np
import pytest
import torch
from torch import nn

from edgeprune.graph.classes import build_graph
from edgeprune.importance import score
from edgeprune.importance.reconstruction import greedy_errors, path_entries


def test_layers_that_are_not_looked_at_keep_their_channels() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1), nn.ConvTranspose2d(5, 2, 2)).eval()
    graph = build_graph(model, torch.zeros(1, 3, 4, 4))
    scores = score(graph, "thinet", batches=[torch.randn(2, 3, 4, 4)])
    first, second = (next(g for g in graph.groups if g.name == name).classes for name in ("0", "1"))
    assert (scores[second] == scores[first].max() + 1).all()


def test_thinet_removes_what_changes_the_output_least() -> None:
    # Contributions over two outputs: (1, 0), (-1, 0), (0, 3), (2, 0): the sum is (2, 3), of energy 13.
    parts = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 3.0], [2.0, 0.0]])
    scores = greedy_errors(parts @ parts.T, 13.0)
    # First the 1 (error 1), then the -1 that undoes it (0), then the 2 (4), last the 3 (13); none falls.
    np.testing.assert_allclose(scores, [1 / 13, 1 / 13, 1, 4 / 13], atol=1e-8)
    assert np.argsort(scores).tolist() == [0, 1, 3, 2]


def test_thinet_is_greedy_over_all_sets() -> None:
    parts = np.random.default_rng(0).normal(size=(5, 7))
    gram, removed = parts @ parts.T, []
    while len(removed) < 5:
        left = [c for c in range(5) if c not in removed]
        removed.append(min(left, key=lambda c: float(np.square(parts[[*removed, c]].sum(0)).sum())))
    assert np.argsort(greedy_errors(gram, float(np.square(parts.sum(0)).sum()))).tolist() == removed


@pytest.mark.parametrize("penalty", [0.9, 0.5, 0.2, 0.05, 0.01])
def test_the_lasso_keeps_what_sklearn_keeps(penalty: float) -> None:
    """The channels that entered before a penalty are those a fit at it uses (none leaves on this data)."""
    from sklearn.linear_model import Lasso

    rng = np.random.default_rng(2)
    parts = rng.normal(size=(6, 200)) * np.array([5, 4, 3, 2, 1, 0.5])[:, None]
    entries = path_entries(parts @ parts.T)
    largest = np.abs(parts @ parts.sum(0)).max() / 200
    fit = Lasso(alpha=penalty * largest, fit_intercept=False, tol=1e-10, max_iter=100_000).fit(
        parts.T, parts.sum(0)
    )
    assert (entries > penalty).tolist() == (fit.coef_ != 0).tolist()
    assert entries.max() == 1


def test_the_lasso_takes_one_of_two_equal_channels() -> None:
    parts = np.random.default_rng(0).normal(size=(3, 50))
    parts = np.vstack([parts, parts[:1]])
    entries = path_entries(parts @ parts.T)
    assert (entries[[0, 3]] == 0).sum() == 1 and (entries[[1, 2]] > 0).all()


def test_channels_that_give_nothing_score_nothing() -> None:
    assert path_entries(np.zeros((3, 3))).tolist() == [0, 0, 0]
    np.testing.assert_allclose(greedy_errors(np.zeros((3, 3)), 0.0), 0, atol=1e-8)


@pytest.mark.parametrize("name", ["thinet", "lasso"])
def test_a_dead_channel_goes_first_and_the_seed_decides_the_places(name: str) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 1), nn.ReLU(), nn.Conv2d(6, 4, 3)).eval()
    with torch.no_grad():
        model[2].weight[:, 2] = 0
    batches = [torch.randn(8, 3, 9, 9)]
    graph = build_graph(model, batches[0])
    item, same, other = (score(graph, name, batches=batches, seed=s) for s in (1, 1, 2))
    assert np.argmin(item) == np.argmin(other) == 2
    assert (item == same).all() and (item != other).any()
