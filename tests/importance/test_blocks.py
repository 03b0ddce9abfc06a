"""Blocks of pairs against the whole matrix."""

import numpy as np
import pytest
import torch
from torch import Tensor

from edgeprune.importance import blocks
from edgeprune.importance.blocks import Nearest, block_size, pairs_of_blocks, weighted_sums
from edgeprune.importance.correlation import correlations
from edgeprune.importance.geometry import _distances, _weighted_dissimilarity
from edgeprune.importance.similarity import removal_distances


@pytest.fixture(params=[1, 2, 7, 31, 200])
def rows(request: pytest.FixtureRequest) -> Tensor:
    return torch.from_numpy(np.random.default_rng(request.param).normal(size=(request.param, 5)))


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of 7 rows at most, and lists of 4 that run out."""
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * 7 * 7)
    monkeypatch.setattr(blocks, "KEPT", 4)


def test_block_size_bounds_rows_and_pairs() -> None:
    assert block_size(100, 10) == 100
    assert block_size(100_000, 10) == 2896  # 2896^2 pairs of 8 bytes are 64 MiB
    assert block_size(100_000, 2**16) == 128  # 128 rows of 2^16 numbers of 8 bytes are 64 MiB
    assert block_size(10, 2**40) == 1


def test_each_pair_of_blocks_comes_once(small_blocks: None, rows: Tensor) -> None:
    seen = torch.zeros(len(rows), len(rows))
    for first, block, second, other in pairs_of_blocks(rows):
        assert torch.equal(block, rows[first]) and torch.equal(other, rows[second])
        seen[first, second] += 1
    assert torch.equal(seen.triu(), torch.ones_like(seen).triu())


def test_sums_of_distances(small_blocks: None, rows: Tensor) -> None:
    expected = (rows[:, None] - rows[None]).norm(dim=2).sum(1)
    torch.testing.assert_close(_distances(rows), expected)


def test_weighted_dissimilarity(small_blocks: None, rows: Tensor) -> None:
    norms = rows.norm(dim=1)
    unlike = (1 - ((rows @ rows.T) / norms[:, None] / norms).abs()).clamp(min=0).fill_diagonal_(0)
    torch.testing.assert_close(_weighted_dissimilarity(rows), norms * (unlike @ norms))


def test_a_row_that_is_no_number_shows_even_alone() -> None:
    for count in (1, 3):
        rows = torch.ones(count, 2)
        rows[0, 0] = torch.nan
        assert torch.isnan(weighted_sums(rows, torch.cdist, torch.ones(count).double())).any()


def test_the_nearest_while_rows_go(small_blocks: None, rows: Tensor) -> None:
    """Against the whole matrix, through all removals, also when the lists have run out."""
    matrix = torch.cdist(rows, rows).neg().fill_diagonal_(-torch.inf).numpy()
    nearest = Nearest(rows, lambda a, b: torch.cdist(a, b).neg(), max_count=3)
    order = np.random.default_rng(0).permutation(len(rows))
    for gone in order[:-1]:
        nearest.alive[gone] = False
        matrix[gone] = matrix[:, gone] = -np.inf
        for row in np.flatnonzero(nearest.alive)[:10]:
            expected = np.sort(matrix[row])[::-1][: min(3, nearest.alive.sum() - 1)]
            values, others = nearest.closest(int(row), 3)
            np.testing.assert_allclose(values, expected)
            np.testing.assert_allclose(matrix[row, others], expected)


def test_similarity_and_correlations_do_not_depend_on_the_blocks(
    rows: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = removal_distances(rows)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * 7 * 7)
    monkeypatch.setattr(blocks, "KEPT", 4)
    np.testing.assert_allclose(removal_distances(rows), original)
    if len(rows) == 1:
        return
    from edgeprune.importance.correlation import _correlations

    matrix = correlations(rows[:, None]).numpy()
    nearest = Nearest(rows[:, None], _correlations, max_count=3)
    for row in range(len(rows)):
        values, _ = nearest.closest(row, min(3, len(rows) - 1))
        np.testing.assert_allclose(values / nearest.largest, np.sort(matrix[row])[::-1][: len(values)])
