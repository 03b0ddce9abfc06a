"""Criteria that look at feature maps, by hand."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgeprune.graph.classes import build_graph
from edgeprune.importance import score
from edgeprune.importance.activations import _independence


def passing(channels: int) -> nn.Sequential:
    """A convolution that copies its input channels, a ReLU, and a reader."""
    model = nn.Sequential(
        nn.Conv2d(channels, channels, 1, bias=False), nn.ReLU(True), nn.Conv2d(channels, 1, 1)
    )
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(channels)[:, :, None, None])
    return model.eval()


MAPS = torch.tensor(
    [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],  # rank 3
        [[1.0, 2.0, 3.0], [2.0, 4.0, 6.0], [-1.0, -2.0, -3.0]],  # rank 1
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [-1.0, -1.0, -1.0]],  # rank 2 after the ReLU, and before it
        [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, -1.0]],  # rank 3, but the ReLU leaves nothing
    ]
)


def test_hrank_is_the_mean_rank_after_the_activation() -> None:
    graph = build_graph(passing(4), MAPS[None])
    np.testing.assert_allclose(score(graph, "hrank", batches=[MAPS[None]], normalise="none"), [3, 1, 2, 0])
    swapped = torch.stack([MAPS, MAPS[[1, 0, 2, 3]]])
    np.testing.assert_allclose(score(graph, "hrank", batches=[swapped], normalise="none"), [2, 2, 2, 0])
    np.testing.assert_allclose(score(graph, "hrank", batches=[swapped]), np.array([2, 2, 2, 0]) / 1.5)


def test_the_limit_is_in_batches() -> None:
    graph = build_graph(passing(4), MAPS[None])
    seen = []

    def batches() -> object:
        for _ in range(9):
            seen.append(1)
            yield MAPS[None]

    score(graph, "hrank", batches=batches)
    assert len(seen) == 5
    score(graph, "hrank", batches=batches, limit=None)
    assert len(seen) == 5 + 9


def test_fma_counts_what_is_above_a_share_of_the_mean() -> None:
    maps = torch.tensor([[[0.0, 4.0]], [[0.1, 0.1]], [[0.0, -3.0]]])[None]  # mean after the ReLU: 0.7
    graph = build_graph(passing(3), maps)
    np.testing.assert_allclose(score(graph, "fma", batches=[maps]), [0.5, 1, 0])
    np.testing.assert_allclose(score(graph, "fma", batches=[maps], share=0.2), [0.5, 0, 0])  # above 0.14


def test_chip_by_hand() -> None:
    """Orthogonal rows: the nuclear norm is the sum of their lengths, and each takes its own away."""
    maps = torch.tensor([[[3.0, 4.0, 0.0, 0.0]], [[0.0, 0.0, 1.0, 0.0]], [[0.0, 0.0, 0.0, 2.0]]])[None]
    graph = build_graph(passing(3), maps)
    np.testing.assert_allclose(score(graph, "chip", batches=[maps], normalise="none"), [5, 1, 2], rtol=1e-6)
    # Two equal rows v: together sqrt(2) |v|, alone |v|.
    maps = torch.tensor([[[3.0, 4.0, 0.0, 0.0]], [[3.0, 4.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 2.0]]])[None]
    expected = [5 * (2**0.5 - 1)] * 2 + [2]
    np.testing.assert_allclose(score(graph, "chip", batches=[maps], normalise="none"), expected, rtol=1e-6)


def test_chip_looks_at_the_first_images() -> None:
    torch.manual_seed(0)
    images = torch.rand(6, 3, 4, 4)
    graph = build_graph(passing(3), images)
    np.testing.assert_array_equal(
        score(graph, "chip", batches=[images], images=2), score(graph, "chip", batches=[images[:2]])
    )


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5), (1, 3), (3, 1)])
def test_chip_by_eigenvalues_is_chip_by_singular_values(shape: tuple[int, int]) -> None:
    rows = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))

    def nuclear(matrix: Tensor) -> Tensor:
        return torch.linalg.svdvals(matrix).sum()

    expected = []
    for channel in range(shape[0]):
        without = rows.clone()
        without[channel] = 0
        expected.append(nuclear(rows) - nuclear(without))
    # Where a singular value is 0 its square is known to 1e-16 only, and itself to 1e-8.
    torch.testing.assert_close(_independence(rows), torch.stack(expected), atol=1e-6, rtol=0)
