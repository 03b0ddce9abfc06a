"""Which of several measurements counts."""

from pathlib import Path

import pytest
import torch
from measured import MODEL, changed
from torch import Tensor, nn

from edgeprune.bench.options import BenchOptions
from edgeprune.devices import load_device
from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.end_to_end import SLOW_EXPORT_S, EndToEndTimer, Look, PairedTimes
from edgeprune.records.bench import BenchResult

QUIET = PairedTimes(10.0, 5.0, 2.0, 1.98, 2.02, 50)
LOADED = PairedTimes(10.9, 6.4, 1.7, 1.69, 1.71, 50)  # a narrow interval: the load was the same all the time
UNSTEADY = PairedTimes(10.0, 5.0, 2.0, 1.7, 2.3, 50)


def whole_of(
    monkeypatch: pytest.MonkeyPatch, answers: list[PairedTimes]
) -> tuple[EndToEndTimer, list[PairedTimes]]:
    """One whose measurements are told beforehand, and those that were not asked for yet."""
    left = list(answers)
    monkeypatch.setattr("edgeprune.latency.model_files.export_model", lambda *_, **__: None)
    monkeypatch.setattr(EndToEndTimer, "_times", lambda self, *_: [left.pop(0)])
    site = BenchTarget(None, load_device("cpu"), 1, 1, {})  # type: ignore[arg-type]  # nothing is measured
    return EndToEndTimer(nn.Identity(), (3, 8, 8), site, tries=3), left


def test_one_measurement_without_doubt_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    original, left = whole_of(monkeypatch, [QUIET, UNSTEADY])
    assert original.times(nn.Identity()) == QUIET and left == [UNSTEADY]


def test_wide_intervals_are_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    original, left = whole_of(monkeypatch, [UNSTEADY, QUIET])
    assert original.times(nn.Identity()) == QUIET and not left


def test_a_baseline_that_was_faster_before_shows_a_load_that_no_interval_shows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    original, left = whole_of(monkeypatch, [QUIET, LOADED, LOADED, QUIET])
    original.times(nn.Identity())
    assert original.times(nn.Identity()) == QUIET and not left


def test_what_was_taken_before_the_machine_grew_quiet_counts_less(monkeypatch: pytest.MonkeyPatch) -> None:
    original, _ = whole_of(monkeypatch, [LOADED, UNSTEADY, QUIET])
    original.sure = 0.0
    assert original.times(nn.Identity()) == QUIET


def test_where_all_are_doubtful_the_least_doubtful_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    original, left = whole_of(monkeypatch, [UNSTEADY, LOADED, UNSTEADY])
    assert original.times(nn.Identity()) == LOADED and not left
    assert original.fastest_ms == 10.0


def test_fast_samples_show_a_load_that_all_medians_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """On two cores, medians were 11 % slower for minutes, in intervals of 2 %."""
    fast = QUIET._replace(percentile=10)
    original, left = whole_of(monkeypatch, [fast, LOADED, LOADED, QUIET])
    assert original.times(nn.Identity()) == fast
    assert original.times(nn.Identity()) == QUIET and not left


@pytest.mark.parametrize(("width", "percentile"), [(0.01, 50), (0.2, 10)])
def test_the_surer_of_medians_and_fast_samples_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, width: float, percentile: int
) -> None:
    """Whatever it says."""

    def bench(files: object, *, options: BenchOptions, **_: object) -> BenchResult:
        assert options.round_count >= 8
        model = {**MODEL, "latency_ms": {"p10": 9.9, "p50": 10.0, "p90": 11.0, "p99": 12.0}}
        return changed(
            *("models", {"baseline": model, "pruned": model}),
            *("speedup", {"value": 2.0, "low": 2 - width, "high": 2 + width}),
            *("speedup_undisturbed", {"value": 1.9, "low": 1.85, "high": 1.95}),  # 5 % wide
        )

    monkeypatch.setattr("edgeprune.latency.end_to_end.bench_models", bench)
    monkeypatch.setattr("edgeprune.latency.model_files.export_model", lambda *_, **__: None)
    site = BenchTarget(None, load_device("cpu"), 1, 1, {})  # type: ignore[arg-type]
    result = EndToEndTimer(nn.Identity(), (3, 8, 8), site).times(nn.Identity())
    assert result.percentile == percentile and result.baseline_ms == (10.0 if percentile == 50 else 9.9)
    assert result.value == (2.0 if percentile == 50 else 1.9)


FAR, NEAR = Look(lambda times: True), Look(lambda times: False)


def test_a_plan_far_from_the_target_is_glanced_at(monkeypatch: pytest.MonkeyPatch) -> None:
    timer, left = whole_of(monkeypatch, [UNSTEADY, QUIET])
    assert timer.times(nn.Identity(), FAR) == UNSTEADY._replace(glance=True) and left == [QUIET]


def test_a_plan_near_the_target_is_measured_after_the_glance(monkeypatch: pytest.MonkeyPatch) -> None:
    timer, left = whole_of(monkeypatch, [UNSTEADY, QUIET])
    assert timer.times(nn.Identity(), NEAR) == QUIET and not left


def test_a_plan_that_is_measured_again_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    timer, left = whole_of(monkeypatch, [UNSTEADY, QUIET])
    assert timer.times(nn.Identity(), Look(glance=False)) == UNSTEADY and left == [QUIET]


def test_what_surely_misses_the_target_is_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    timer, left = whole_of(monkeypatch, [QUIET, UNSTEADY, QUIET])
    assert timer.times(nn.Identity(), Look(is_missed=lambda times: times == UNSTEADY)) == UNSTEADY
    assert left == [QUIET]


def test_no_further_try_begins_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([5.0, -1.0])
    timer, left = whole_of(monkeypatch, [QUIET, UNSTEADY, QUIET])
    assert timer.times(nn.Identity(), Look(left_s=lambda: next(seconds))) == UNSTEADY
    assert left == [QUIET]


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).mean((2, 3))


class Unwritable(Small):
    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing():
            raise TypeError("not by that exporter")
        return super().forward(x)


@pytest.mark.parametrize(
    ("took_s", "network", "suffix"),
    [(0.1, Small, ""), (SLOW_EXPORT_S + 1, Small, "-in-haste"), (SLOW_EXPORT_S + 1, Unwritable, "")],
)
def test_where_exports_take_long_a_glance_is_at_files_written_in_haste(
    monkeypatch: pytest.MonkeyPatch, took_s: float, network: type[nn.Module], suffix: str
) -> None:
    """Both of the same kind, and what counts in the end is measured with the real files."""
    pairs: list[tuple[str, str]] = []

    def times(self: EndToEndTimer, pruned: Path, *rest: object) -> list[PairedTimes]:
        pairs.append((rest[-1].stem, pruned.stem))  # type: ignore[attr-defined]
        return [QUIET]

    monkeypatch.setattr("edgeprune.latency.model_files.export_model", lambda *_, **__: None)
    monkeypatch.setattr(EndToEndTimer, "_times", times)
    site = BenchTarget(None, load_device("cpu"), 2, 1, {})  # type: ignore[arg-type]
    timer = EndToEndTimer(network(), (3, 8, 8), site)
    _ = timer.baseline_file
    timer.export_s = took_s
    monkeypatch.setattr(EndToEndTimer, "baseline_file", timer.path("baseline"))
    timer.times(network(), NEAR)
    assert pairs == [(f"baseline{suffix}", f"pruned{suffix}"), ("baseline", "pruned")]
