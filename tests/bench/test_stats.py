import math

import numpy as np
import pytest

from edgeprune.bench import stats

MS = 1_000_000


def test_quantiles_of_one_to_a_hundred_and_one() -> None:
    result = stats.latency_ms([[value * MS for value in range(1, 51)], [v * MS for v in range(51, 102)]])
    # 101 values: quantile q lies at place 100 q, which is the value 1 + 100 q.
    assert result == pytest.approx({"p10": 11.0, "p50": 51.0, "p90": 91.0, "p99": 100.0, "mean": 51.0})


def test_quantile_between_two_values() -> None:
    assert stats.latency_ms([[1 * MS, 2 * MS]])["p90"] == pytest.approx(1.9)


@pytest.mark.parametrize(("batch", "expected"), [(1, 100.0), (8, 800.0)])
def test_throughput_counts_images(batch: int, expected: float) -> None:
    assert stats.throughput_ips([[5 * MS, 15 * MS], [10 * MS]], batch) == pytest.approx(expected)


def test_round_spread() -> None:
    # medians 9, 10, 11: mean 10, standard deviation 1
    assert stats.round_spread([[9, 9, 99], [10], [11, 1, 11]]) == pytest.approx(0.1)
    assert stats.round_spread([[5, 6]]) is None


def test_speedup_of_steady_rounds_is_exact() -> None:
    result = stats.speedup([[30]] * 8, [[20]] * 8)
    assert (result.value, result.low, result.high) == (1.5, 1.5, 1.5)
    assert (result.confidence, result.pairs) == (0.95, 8)


def test_energies_are_compared_round_by_round() -> None:
    result = stats.energy_ratio([3.0, 6.0, 30.0, 12.0], [2.0, 4.0, 10.0, 8.0])  # one disturbed pair of four
    assert result.value == 1.5 and result.low == 1.5 and result.pairs == 4
    assert "energy per inference" in str(result.method)
    with pytest.raises(ValueError, match="two or more pairs"):
        stats.energy_ratio([3.0], [2.0])


def test_drift_cancels_because_rounds_are_paired() -> None:
    drift = [100 * (1 + index) for index in range(8)]
    result = stats.speedup([[2 * value] for value in drift], [[value] for value in drift])
    assert (result.low, result.high) == (2.0, 2.0)


def test_one_disturbed_round_does_not_move_the_value() -> None:
    result = stats.speedup([[100]] * 9 + [[1000]], [[100]] * 10)
    assert result.value == 1.0
    assert result.low == 1.0


def test_interval_lies_within_the_ratios_and_holds_the_value() -> None:
    baseline = [[value] for value in (102, 98, 101, 99, 103, 97, 100, 100)]
    result = stats.speedup(baseline, [[50]] * 8)
    assert 1.94 <= result.low < result.value < result.high <= 2.06
    assert result.value == 2.0


def test_same_seed_same_interval() -> None:
    baseline, pruned = [[value] for value in range(100, 110)], [[70]] * 10
    assert stats.speedup(baseline, pruned) == stats.speedup(baseline, pruned)


def test_swapping_the_models_inverts_the_interval() -> None:
    first, second = [[value] for value in (10, 12, 11, 13, 10)], [[value] for value in (20, 22, 21, 25, 23)]
    present, back = stats.speedup(first, second), stats.speedup(second, first)
    assert present.value == pytest.approx(1 / back.value)


@pytest.mark.parametrize(("baseline", "pruned"), [([[1]], [[1]]), ([[1], [1]], [[1]]), ([], [])])
def test_too_few_pairs(baseline: list, pruned: list) -> None:
    with pytest.raises(ValueError, match="two or more pairs"):
        stats.speedup(baseline, pruned)


def test_expanded_tail_is_smaller_and_tends_to_the_plain_one() -> None:
    # n = 10: t(9, 0.975) = 2.262; Phi(-sqrt(10 / 9) 2.262) = Phi(-2.384) = 0.00855
    assert stats.expanded_tail(10, 0.95) == pytest.approx(0.00855, abs=2e-5)
    assert stats.expanded_tail(100_000, 0.95) == pytest.approx(0.025, abs=1e-4)


def test_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    held, trials = 0, 300
    for _ in range(trials):
        noise = random.normal(0, 0.01, (2, 10)) + random.normal(0, 0.1, (2, 10)) * (
            random.random((2, 10)) < 0.1
        )
        baseline, pruned = (1e6 * np.exp(noise)).round()[..., None].tolist()
        result = stats.speedup(baseline, pruned, draws=1000)
        held += result.low <= 1.0 <= result.high
    # Expected 0.95 to 0.98; three standard deviations of a share of 300 below 0.95 are 0.038.
    assert held / trials > 0.95 - 3 * math.sqrt(0.95 * 0.05 / trials)


def disturbed(rng: np.random.Generator, ms: float, rounds: int) -> list[list[float]]:
    """Rounds of a model beside a neighbour that is there for a share of each, up to all of it."""
    collected = []
    for _ in range(rounds):
        slow = rng.random(100) < rng.choice([0.1, 0.5, 0.9, 1.0])
        collected.append(list(ms * MS * rng.normal(1, 0.01, 100) * np.where(slow, 1.4, 1.0)))
    return collected


def test_neighbours_spoil_medians_and_leave_the_fast_samples() -> None:
    pairs = [
        (stats.speedup(base, pruned), stats.undisturbed_speedup(base, pruned))
        for rng in map(np.random.default_rng, range(20))
        for base, pruned in [(disturbed(rng, 2.0, 12), disturbed(rng, 1.0, 12))]
    ]
    off = np.array([[item.value / 2 - 1 for item in pair] for pair in pairs])
    assert np.abs(off[:, 0]).max() > 0.05 and np.abs(off[:, 1]).max() < 0.02
    inside = [fast.low <= 2.0 <= fast.high for _, fast in pairs]
    assert sum(inside) >= 17
    slow, fast = (sum(item.high - item.low for item in kind) for kind in zip(*pairs, strict=True))
    assert fast < slow / 2


def test_undisturbed_without_any_noise_is_the_ratio() -> None:
    result = stats.undisturbed_speedup([[30] * 5] * 8, [[20] * 5] * 8)
    assert (result.value, result.low, result.high, result.pairs) == (1.5, 1.5, 1.5, 8)


def test_undisturbed_is_the_tenth_percentile_of_all_samples() -> None:
    rounds = [[value * MS for value in range(index, 101, 4)] for index in range(1, 5)]
    assert stats.undisturbed_speedup(rounds, [[5 * MS]] * 4).value == pytest.approx(2.0)


def test_a_clock_that_changes_once_shows_in_the_interval() -> None:
    """The fast end is of one round only, and whether that is drawn decides."""
    result = stats.undisturbed_speedup([[70] * 10] + [[100] * 10] * 7, [[50] * 10] * 8)
    assert result.low == 1.4 and result.high == 2.0


def test_undisturbed_needs_pairs() -> None:
    with pytest.raises(ValueError, match="two or more pairs"):
        stats.undisturbed_speedup([[1]], [[1]])
