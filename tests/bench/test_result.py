import hashlib
from pathlib import Path
from typing import Any

import pytest

from bench.conftest import a_round
from edgeprune.bench.result import energy, memory, model_report, why_no_energy


def powered(
    samples_ns: list[int], gross_j: float, window_s: float = 1.0, samples: int = 20, **more: Any
) -> dict:
    parts = {"sensor": "replay", "total_kind": "measured_input", "total_rails": ["VDD_IN"], "reason": None}
    return a_round(samples_ns, gross_j=gross_j, window_s=window_s, samples=samples, **{**parts, **more})


def test_report_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"model")
    report = model_report(path, [a_round([4_000_000] * 3), a_round([6_000_000])], batch=2)
    assert report["size_bytes"] == 5
    assert report["sha256"] == hashlib.sha256(b"model").hexdigest()
    assert report["samples_ns"] == [[4_000_000] * 3, [6_000_000]]
    assert report["latency_ms"]["mean"] == pytest.approx(4.5)
    assert report["throughput_ips"] == pytest.approx(8 / 0.018)
    assert report["load_ms"] == [2.0, 2.0]
    assert (report["accuracy"], report["accuracy_reason"]) == (None, "not measured yet")


def test_memory_is_the_highest_peak() -> None:
    rounds = [{"memory_peak_bytes": value, "memory_reason": None} for value in (5, 9, 7)]
    assert memory(rounds) == {"memory_peak_bytes": 9, "memory_reason": None}


def test_memory_that_no_round_saw() -> None:
    assert (
        memory([{"memory_peak_bytes": None, "memory_reason": "only Linux"}])["memory_reason"] == "only Linux"
    )


def test_energy_per_inference_over_all_rounds() -> None:
    found = energy([powered([1] * 30, 10.0, net_j=4.0), powered([1] * 10, 2.0, net_j=2.0)])
    assert found["energy_mj_per_inference"] == pytest.approx(300)  # 12 J over 40 inferences
    assert found["energy_net_mj_per_inference"] == pytest.approx(150)
    assert found["energy_reason"] is None
    assert found["energy"]["total_kind"] == "measured_input"
    assert (found["energy"]["samples"], found["energy"]["rate_hz"]) == (40, pytest.approx(20))


def test_no_sensor_is_null_and_why() -> None:
    found = energy([a_round([1])])
    assert found["energy_mj_per_inference"] is None
    assert found["energy_net_mj_per_inference"] is None
    assert found["energy_reason"] == "no sensor"
    assert found["energy"]["rate_hz"] is None


def test_unknown_idle_gives_gross_alone() -> None:
    found = energy([powered([1] * 10, 1.0)])
    assert found["energy_mj_per_inference"] == pytest.approx(100)
    assert found["energy_net_mj_per_inference"] is None


@pytest.mark.parametrize(
    ("rounds", "reason"),
    [
        ([powered([1], 1.0, window_s=0.4)] * 2, "too short"),
        ([powered([1], 1.0, samples=5)] * 3, "only 15 power readings"),
        ([powered([1], 1.0), a_round([1])], "no sensor"),
        ([powered([1], 1.0, samples=2, unit="joules")], None),
        ([powered([1], 1.0, window_s=0.5)] * 2, None),
    ],
)
def test_when_there_is_no_energy(rounds: list[dict], reason: str | None) -> None:
    found = why_no_energy([one["energy"] for one in rounds])
    assert found is None if reason is None else reason in str(found)
