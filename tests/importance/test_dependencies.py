"""Linear dependency of channels: pivoted QR by hand and by scipy's own."""

import numpy as np
import pytest
import scipy.linalg
import torch
from torch import nn

from edgeprune.errors import PlanError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.importance import score
from edgeprune.importance.dependencies import pivoted_norms


def test_norms_by_hand() -> None:
    """Columns (3, 0, 0), (0, 2, 0), (3, 2, 0): the sum comes first, with the norm of root 13.

    Of (3, 0, 0) the part beside it is 6 / root 13, of (0, 2, 0) as much; of the one that comes last nothing is left.
    """
    columns = np.array([[3.0, 0, 3], [0, 2, 2], [0, 0, 0]])
    norms = pivoted_norms(columns.T @ columns)
    assert norms[2] == pytest.approx(13**0.5)
    assert sorted(norms[:2]) == pytest.approx([0, 6 / 13**0.5], abs=1e-7)


def test_norms_are_those_of_a_factorisation_with_pivoting() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 6)) * [1, 5, 2, 4, 3, 6]
    _, triangle, order = scipy.linalg.qr(rows, mode="economic", pivoting=True)
    expected = np.zeros(6)
    expected[order] = np.abs(np.diag(triangle))
    np.testing.assert_allclose(pivoted_norms(rows.T @ rows), expected, rtol=1e-6)


def dependent() -> Graph:
    """Four hidden channels: the third is the sum of the first two, the fourth half of the first."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 1, bias=False), nn.Conv2d(4, 2, 1, bias=False)).eval()
    with torch.no_grad():
        first, second = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 2.0])
        model[0].weight.copy_(torch.stack([first, second, first + second, first / 2])[:, :, None, None])
    return build_graph(model, torch.zeros(1, 2, 4, 4))


def test_channels_that_others_give_score_nothing() -> None:
    images = torch.randn(16, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    scores = score(dependent(), "lindeps", batches=[images], normalise="none")
    assert int((scores > 1e-3).sum()) == 2
    assert scores.argmax() == 2  # the sum is the longest
    assert scores[3] == pytest.approx(0, abs=1e-3)


def test_all_positions_of_few_are_used_as_they_are() -> None:
    """One image of 2 x 2 is four samples: the norm of the first choice is that of its values."""
    images = torch.arange(8.0).view(1, 2, 2, 2)
    graph = dependent()
    scores = score(graph, "lindeps", batches=[images], normalise="none")
    with torch.no_grad():
        maps = graph.model.get_submodule("0")(images)
    assert scores.max() == pytest.approx(float(maps[0, 2].norm()), rel=1e-6)


def test_mistakes() -> None:
    with pytest.raises(PlanError, match="needs data"):
        score(dependent(), "lindeps")
    with pytest.raises(PlanError, match="positions is 0"):
        score(dependent(), "lindeps", batches=[torch.zeros(1, 2, 4, 4)], positions=0)
