"""A measurement under lasting load: when it is steady, what was lost by then, and the figures of that state."""

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boards.stand_in import build, cooling_device, lock_clocks, zones
from click.testing import CliRunner
from edgeprune_target.__main__ import parser
from edgeprune_target.cooling import cool_down
from edgeprune_target.errors import TargetError
from edgeprune_target.measure import measure

from bench.conftest import a_round, a_state
from bench.test_detect import with_fake_runtime
from edgeprune.bench import bench_run
from edgeprune.bench import run as bench_module
from edgeprune.bench.files import loose_files
from edgeprune.bench.local import LocalTransport
from edgeprune.bench.options import BenchOptions
from edgeprune.bench.process import OnEvent, ignore_event
from edgeprune.bench.sustained import first_steady_pair, last_third, sustained_report
from edgeprune.cli import main
from edgeprune.errors import BenchError
from edgeprune.records.bench import BenchResult
from edgeprune.report.blocks import Figure
from edgeprune.report.measurements import measurement
from edgeprune.reporting.course import course_table


def course(baseline_ms: list[float], pruned_ms: list[float], round_s: float = 10.0) -> Any:
    """The report of rounds whose inferences all take these times."""

    def rounds(times: list[float]) -> list[dict[str, Any]]:
        return [{**a_round([round(ms * 1e6)] * 20), "window_s": round_s} for ms in times]

    return sustained_report({"baseline": rounds(baseline_ms), "pruned": rounds(pruned_ms)}, 600)


def test_a_board_that_throttles_after_three_minutes() -> None:
    """20 s a pair: nine pairs before, 21 after; 2 ms and 1 ms become 3 ms and 2 ms."""
    report = course([2.0] * 9 + [3.0] * 21, [1.0] * 9 + [2.0] * 21)
    assert (report.steady, report.steady_pair) == (True, 9)
    assert report.steady_from_s == pytest.approx(180)
    assert report.slowdown == {"baseline": pytest.approx(1.5), "pruned": pytest.approx(2.0)}
    assert not report.ranking_changed
    assert [minute.minute for minute in report.minutes] == list(range(10))
    assert [minute.models["pruned"].p50 for minute in report.minutes] == [1.0] * 3 + [2.0] * 7


def test_another_model_is_the_faster_one_at_last() -> None:
    report = course([2.0] * 9 + [2.0] * 21, [1.0] * 9 + [2.5] * 21)
    assert report.ranking_changed and report.slowdown["baseline"] == pytest.approx(1.0)


def test_steady_from_the_start_though_a_neighbour_disturbs_two_rounds() -> None:
    times = [2.0] * 30
    times[4] = times[17] = 5.0
    report = course(times, [1.0] * 30)
    assert (report.steady, report.steady_pair, report.steady_from_s) == (True, 0, 0.0)


def test_times_that_go_on_changing_are_not_steady() -> None:
    report = course([2.0 + 0.1 * pair for pair in range(30)], [1.0] * 30)
    assert not report.steady and report.steady_pair == last_third(30) == 20


@pytest.mark.parametrize("pair", [0, 3, 9, 14, 20])
def test_the_pair_from_which_on_it_is_steady_is_found_exactly(pair: int) -> None:
    series = np.array([1.0] * pair + [1.2] * (30 - pair))
    assert first_steady_pair({"one": series}) == pair
    assert (
        first_steady_pair({"one": np.array([1.0] * 22 + [1.2] * 8)}) is None
    )  # the last third itself changes


def test_power_temperature_and_clock_of_a_minute() -> None:
    states = {
        "before": a_state(),
        "after": a_state(
            temperatures_c={"cpu": 71.0, "gpu": 69.0},
            cpu={"online": "0-1", "clocks": [{"cur_khz": 1_000_000}, {"cur_khz": 2_000_000}]},
        ),
    }
    energy = {"gross_j": 30.0, "window_s": 6.0}
    rounds = [{**a_round([2_000_000] * 3000, **energy), **states} for _ in range(24)]
    (minute, *_) = sustained_report({"baseline": rounds, "pruned": rounds}, 288).minutes
    assert minute.watts == {"baseline": 5.0, "pruned": 5.0}
    assert (minute.warmest_zone, minute.warmest_c, minute.cpu_mhz, minute.gpu_mhz) == (
        "cpu",
        71.0,
        1500.0,
        None,
    )


LATENCY_NS = {"baseline": 400_000_000, "pruned": 200_000_000}


class ThrottlingBoard(LocalTransport):
    """The runner on a made-up clock: inferences take half as long again after 150 s of load."""

    load_s = 0.0

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        if verb != "measure":
            return super().call(verb, arguments, on_event)
        options = parser().parse_args([verb, *arguments])
        hot = self.load_s >= 150
        if hot:
            zones(Path(self.root), {"cpu-thermal": 97_000, "gpu-thermal": 80_000})
            cooling_device(Path(self.root), 1, "cpufreq-cpu0", 2)
        latency_ns = round(LATENCY_NS[Path(options.model).stem] * (1.5 if hot else 1.0))
        calls = count(1)  # of the window, then of the round; after them every second one ends an inference
        reply = measure(
            options.model,
            runtime=options.runtime,
            seconds=options.seconds,
            root=self.root,
            clock=lambda: next(calls) // 2 * latency_ns,
        )
        self.load_s += options.seconds
        return reply


@pytest.fixture
def throttling(
    tmp_path: Path, fake_models: Callable[..., dict[str, Path]], monkeypatch: pytest.MonkeyPatch
) -> Path:
    """A run folder on such a board."""
    root = build("jetson-orin-nano", tmp_path / "board")
    lock_clocks(root, "jetson-orin-nano")
    monkeypatch.setattr("edgeprune_target.measure.WARM_UP_S", 0.001)
    monkeypatch.setattr("edgeprune_target.measure.IDLE_S", 0.001)
    monkeypatch.setattr("edgeprune.bench.session.MOST_PAUSED", 10.0)
    monkeypatch.setattr("edgeprune.bench.session.Session.chosen", with_fake_runtime)
    models = fake_models({"latency_ns": 0}, {"latency_ns": 0})
    monkeypatch.setattr("edgeprune.bench.files.exported_files", lambda folder: loose_files(models))
    monkeypatch.setattr(bench_module, "LocalTransport", lambda: ThrottlingBoard(root=str(root)))
    return tmp_path / "run"


def test_five_minutes_on_a_board_that_throttles(throttling: Path) -> None:
    result = bench_run(throttling, device="jetson", sustained="5m", accuracy=False, threads=1)
    report = result.sustained
    assert report is not None and report.steady and len(report.minutes) >= 5
    assert report.steady_pair == 12 and report.steady_from_s == pytest.approx(150, rel=0.1)
    assert report.slowdown == {"baseline": pytest.approx(1.5), "pruned": pytest.approx(1.5)}
    # the numbers are of the steady state alone: the samples, and the speedup of as many pairs
    pairs = [len(model.samples_ns) for model in result.models.values()]
    assert result.speedup is not None and pairs == [24 - report.steady_pair] * 2 == [result.speedup.pairs] * 2
    assert result.models["pruned"].latency_ms.p50 == pytest.approx(300.0)
    assert result.speedup.value == pytest.approx(2.0)
    codes = {warning.code for warning in result.warnings}
    assert {"slowed_down", "hot", "throttled"} <= codes and "warming_up" not in codes
    first, last = report.minutes[0], report.minutes[-1]
    assert (first.warmest_c, last.warmest_c) == (45.0, 97.0)
    assert "throttled" in last.warnings and "throttled" not in first.warnings
    heads, rows = course_table(report)
    assert [len(row) for row in rows] == [len(heads)] * len(report.minutes)
    assert any("steady from here" in row[-1] for row in rows)
    written = BenchResult.read(throttling / "bench" / f"{result.device.name}.json")
    assert written.sustained == report
    figures = [str(block.svg) for block in measurement(written).blocks if isinstance(block, Figure)]
    assert sum("minute by minute" in chart and chart.count("<circle") >= 5 for chart in figures) == 2


# --- cooling down -----------------------------------------------------------------------------------------


def test_it_waits_until_the_warmest_zone_is_cool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    degrees = iter([60_000, 52_000, 44_000])

    def sleep(_seconds: float) -> None:
        zones(tmp_path, {"cpu-thermal": next(degrees), "gpu-thermal": 40_000})

    sleep(0)
    monkeypatch.setattr("time.sleep", sleep)
    ticks = count()
    assert cool_down(45, str(tmp_path), clock=lambda: float(next(ticks))) == {
        "seconds": 3.0,
        "warmest_c": 44.0,
    }


def test_it_does_not_wait_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zones(tmp_path, {"cpu-thermal": 60_000})
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    ticks = count(step=100)
    report = cool_down(45, str(tmp_path), clock=lambda: float(next(ticks)))
    assert report == {"seconds": 600.0, "warmest_c": 60.0}


def test_a_machine_without_temperatures(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no temperatures to wait for: leave --cool-to out"):
        cool_down(45, str(tmp_path))


# --- wrong use --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sustained", "30"], "--sustained must be a time such as 90s, 30m or 1h, not 30"),
        (["--sustained", "10s"], "--sustained must be from 60 to 86400 seconds, not 10s"),
        (["--sustained", "2m", "--cool-to", "45"], "--sustained keeps the device warm and --cool-to cool"),
        (["--cool-to", "900"], "--cool-to must be at least 0 and at most 150, not 900"),
        (["--runtime", "all", "--sustained", "2m"], "without --layers, --sustained and --cool-to"),
    ],
)
def test_wrong_use_is_one_line(run_of_digits: Path, words: list[str], message: str) -> None:
    done = CliRunner().invoke(main, ["bench", str(run_of_digits), *words])
    assert done.exit_code != 0 and message in " ".join(done.output.split())
    assert not (run_of_digits / "bench").exists()


@pytest.mark.parametrize(
    ("sustained", "rounds", "seconds"), [("10m", 30, 10.0), ("1m", 24, 1.25), ("1h", 180, 10.0)]
)
def test_rounds_are_long_and_not_few(sustained: str, rounds: int, seconds: float) -> None:
    from bench.conftest import FAKE

    options = BenchOptions(FAKE, sustained=sustained)
    assert (options.round_count, options.round_seconds) == (rounds, pytest.approx(seconds))


def test_a_model_alone_is_under_load_for_as_long() -> None:
    from bench.conftest import FAKE

    alone = BenchOptions(FAKE, sustained="10m", models=1)
    assert (alone.round_count, alone.round_seconds) == (60, pytest.approx(10.0))


def test_numbers_of_options() -> None:
    from bench.conftest import FAKE

    with pytest.raises(BenchError, match="`sustained` must be a time"):
        BenchOptions(FAKE, sustained="soon")
