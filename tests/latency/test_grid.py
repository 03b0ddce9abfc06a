"""Steps, grain and grids, on staircases made by hand."""

import math

import pytest

from edgeprune.latency.grid import (
    COARSE,
    FINE,
    Line,
    Sampling,
    find_misalignment_penalty,
    find_step,
    first_grid,
)


def stairs(step: int, slope: float = 1.0, base: float = 1.0):
    return lambda w: base + slope * math.ceil(w / step) * step


@pytest.mark.parametrize("sampling", [FINE, COARSE], ids=["fine", "coarse"])
@pytest.mark.parametrize("step", [4, 8, 16, 32])
def test_the_step_of_a_staircase(step: int, sampling: Sampling) -> None:
    times = {w: stairs(step)(w) for w in sampling.probes}
    assert find_step(times) == step
    assert find_misalignment_penalty(times, step) == pytest.approx(1.0)


def test_widths_between_steps_may_cost_more_than_the_next_one() -> None:
    times = {w: stairs(16)(w) * (1 if w % 16 == 0 else 1.7) for w in FINE.probes}
    assert find_step(times) == 16
    assert find_misalignment_penalty(times, 16) == pytest.approx(1.7)


@pytest.mark.parametrize("sampling", [FINE, COARSE], ids=["fine", "coarse"])
def test_a_straight_line_has_no_step(sampling: Sampling) -> None:
    assert find_step({w: float(w) for w in sampling.probes}) == 1


def test_noise_within_the_tolerance_hides_no_step() -> None:
    times = {w: stairs(16)(w) * (1 + 0.02 * (-1) ** w) for w in FINE.probes}
    assert find_step(times) == 16


def test_first_grid() -> None:
    assert first_grid(64, 16) == [16, 32, 64]
    assert first_grid(100, 16) == [16, 32, 64, 100]
    assert first_grid(3, 16) == [3]


def test_a_grid_grows_where_times_are_bent_and_nowhere_else() -> None:
    timed: list[int] = []
    line = Line(first_grid(512, 16), 16)
    while widths := line.pending():
        timed.extend(widths)
        line.take({w: max(1.0, w / 64) for w in widths})  # flat up to 64, then a line
    times = line.times
    assert len(timed) == len(set(timed)) == len(times) < 16  # nothing twice
    for w in range(16, 513, 16):
        low = max(a for a in times if a <= w)
        high = min(b for b in times if b >= w)
        between = times[low] + (times[high] - times[low]) * (w - low) / max(1, high - low)
        assert between == pytest.approx(max(1.0, w / 64), rel=0.05)
