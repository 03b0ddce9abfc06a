"""Which of several measurements counts."""

import pytest
from torch import nn

from edgeprune.latency.site import Site
from edgeprune.latency.whole import Whole

QUIET = [10.0, 5.0, 2.0, 1.98, 2.02]
LOADED = [10.9, 6.4, 1.7, 1.69, 1.71]  # a narrow interval: the load was the same all the time
UNSTEADY = [10.0, 5.0, 2.0, 1.7, 2.3]


def whole_of(monkeypatch: pytest.MonkeyPatch, answers: list[list[float]]) -> tuple[Whole, list[list[float]]]:
    """One whose measurements are told beforehand, and those that were not asked for yet."""
    left = list(answers)
    monkeypatch.setattr("edgeprune.latency.whole.export_model", lambda *_: None)
    monkeypatch.setattr(Whole, "_times", lambda self, path: left.pop(0))
    site = Site(None, None, 1, 1, {})  # type: ignore[arg-type]  # nothing is measured
    return Whole(nn.Identity(), (3, 8, 8), site), left


def test_one_measurement_without_doubt_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, left = whole_of(monkeypatch, [QUIET, UNSTEADY])
    assert whole.times(nn.Identity()) == QUIET and left == [UNSTEADY]


def test_wide_intervals_are_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, left = whole_of(monkeypatch, [UNSTEADY, QUIET])
    assert whole.times(nn.Identity()) == QUIET and not left


def test_a_baseline_that_was_faster_before_shows_a_load_that_no_interval_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, left = whole_of(monkeypatch, [QUIET, LOADED, LOADED, QUIET])
    whole.times(nn.Identity())
    assert whole.times(nn.Identity()) == QUIET and not left


def test_what_was_taken_before_the_machine_grew_quiet_counts_less(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, _ = whole_of(monkeypatch, [LOADED, UNSTEADY, QUIET])
    whole.sure = 0.0
    assert whole.times(nn.Identity()) == QUIET


def test_where_all_are_doubtful_the_least_doubtful_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, left = whole_of(monkeypatch, [UNSTEADY, LOADED, UNSTEADY])
    assert whole.times(nn.Identity()) == LOADED and not left
    assert whole.fastest_ms == 10.0
