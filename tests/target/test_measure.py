from pathlib import Path
from typing import Any

import pytest
from edgeprune_target.measure import MIN_SAMPLES, measure, timed, warm, warmed_up


class Engine:
    """Takes ``infer_s`` to start and ``wait_s`` to finish, on a clock that only it moves."""

    def __init__(self, clock: Any, infer_s: float, wait_s: float = 0.0) -> None:
        self.clock, self.infer_s, self.wait_s = clock, infer_s, wait_s

    def infer(self, feed: dict) -> dict:
        self.clock.forward(self.infer_s)
        return {}

    def synchronize(self) -> None:
        self.clock.forward(self.wait_s)


def test_a_sample_has_the_wait_in_it(clock: Any) -> None:
    samples = timed(Engine(clock, 0.010, 0.015), {}, seconds=0.1, clock=clock)
    assert samples == [25_000_000] * 4


def test_slow_model_gets_its_least_samples(clock: Any) -> None:
    assert len(timed(Engine(clock, 7.0), {}, seconds=0.1, clock=clock)) == MIN_SAMPLES


@pytest.mark.parametrize(
    ("elapsed_s", "runs", "over"),
    [(0.0, 0, False), (0.3, 9, False), (0.1, 500, False), (0.2, 10, True), (1.0, 1, False), (1.1, 2, True)],
)
def test_when_a_warm_up_ends(elapsed_s: float, runs: int, over: bool) -> None:
    assert warmed_up(elapsed_s, runs) is over


def test_warm_up_counts_its_runs(clock: Any) -> None:
    assert warm(Engine(clock, 0.05), {}, clock=clock) == {"runs": 10, "seconds": pytest.approx(0.5)}


def test_measure_of_an_onnx_file(onnx_file: Path) -> None:
    result = measure(str(onnx_file), batch=2, seconds=0.02)
    assert result["feed"] == {"input": [2, 3, 4, 4]}
    assert all(isinstance(sample, int) and sample > 0 for sample in result["samples_ns"])
    assert sum(result["samples_ns"]) <= result["window_s"] * 1e9
    assert result["warm_up"]["runs"] >= 10
    assert result["energy"]["gross_j"] is None
    assert result["energy"]["reason"]


def test_measure_with_a_sensor(fake_file: Path, five_watts: Path) -> None:
    result = measure(str(fake_file), runtime="fake", seconds=0.2, sensors=[f"replay:{five_watts}"])
    energy = result["energy"]
    assert energy["gross_j"] == pytest.approx(5 * energy["window_s"])
    assert energy["idle_w"] == pytest.approx(5.0)
    assert energy["net_j"] == pytest.approx(0.0, abs=1e-9)  # the machine took as much when idle
    assert energy["window_s"] >= result["window_s"]


def test_fake_runtime_takes_the_time_it_says(fake_file: Path) -> None:
    samples = sorted(measure(str(fake_file), runtime="fake", seconds=0.05)["samples_ns"])
    assert 100_000 <= samples[len(samples) // 2] <= 150_000
