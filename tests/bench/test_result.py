import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bench.conftest import a_round, a_state
from edgeprune.bench.result import energy, engine, machine_report, memory, model_report, why_no_energy
from edgeprune.records.bench import WarningRecord


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
    assert report.samples_ns == ([4_000_000] * 3, [6_000_000])
    assert report["latency_ms"]["mean"] == pytest.approx(4.5)
    assert report["throughput_ips"] == pytest.approx(8 / 0.018)
    assert report.load_ms == (2.0, 2.0)
    assert (report["accuracy"], report["accuracy_reason"]) == (None, "not measured yet")


def test_the_size_has_the_weights_beside_the_file(tmp_path: Path) -> None:
    weights = numpy_helper.from_array(np.ones(2000, np.float32), "w")
    path = tmp_path / "m.onnx"
    model = helper.make_model(helper.make_graph([], "g", [], [], [weights]))
    onnx.save(model, path, save_as_external_data=True, location="m.onnx.data", size_threshold=1)
    assert model_report(path, [a_round([1_000_000])], batch=1).size_bytes == path.stat().st_size + 4 * 2000


def test_memory_is_the_highest_peak() -> None:
    rounds = [{"memory_peak_bytes": value, "memory_reason": None} for value in (5, 9, 7)]
    assert memory(rounds) == {"memory_peak_bytes": 9, "memory_loaded_bytes": None, "memory_reason": None}
    loaded = [
        {**reply, "memory_loaded_bytes": value} for reply, value in zip(rounds, (3, 4, None), strict=True)
    ]
    assert memory(loaded)["memory_loaded_bytes"] == 4


def test_memory_that_no_round_saw() -> None:
    assert (
        memory([{"memory_peak_bytes": None, "memory_reason": "only Linux"}])["memory_reason"] == "only Linux"
    )


def test_energy_per_inference_over_all_rounds() -> None:
    reported = energy([powered([1] * 30, 10.0, net_j=4.0), powered([1] * 10, 2.0, net_j=2.0)])
    assert reported["energy_mj_per_inference"] == pytest.approx(300)  # 12 J over 40 inferences
    assert reported["energy_net_mj_per_inference"] == pytest.approx(150)
    assert reported["energy_reason"] is None
    assert reported["energy"]["total_kind"] == "measured_input"
    assert (reported["energy"]["samples"], reported["energy"]["rate_hz"]) == (40, pytest.approx(20))


def test_a_warm_up_inside_the_window_took_energy_too() -> None:
    """trtexec's: 10 + 30 inferences in the window of which 30 are samples."""
    reported = energy([{**powered([1] * 30, 12.0), "window_runs": 40}])
    assert reported["energy_mj_per_inference"] == pytest.approx(300)


def test_what_a_gpu_says() -> None:
    gpu = {"gpu_ns": [2_000_000] * 5, "enqueue_ns": [100_000] * 5, "engine": {"precision": "fp16"}}
    warning = {"code": "no_cuda_graph", "message": "because"}
    rounds = [{**a_round([1]), **gpu, "engine_warnings": [warning]} for _ in range(2)]
    report = engine(rounds)
    assert (report["gpu_latency_ms"]["p50"], report["enqueue_ms"]["p50"]) == (2.0, 0.1)
    assert report["engine"] == {"precision": "fp16"}
    assert report["engine_warnings"] == (WarningRecord(**warning),)
    nothing = engine([a_round([1])])
    assert nothing.pop("engine_warnings") == () and set(nothing.values()) == {None}


def test_the_gpus_own_times_say_whether_it_is_steady() -> None:
    """Latency with transfers jitters with the processor; what counts is the GPU (devices.md 3.2)."""
    jittery = [1_000_000, 2_000_000] * 20
    shaky = {**a_round(jittery), "uses_gpu": True}
    steady = {**shaky, "gpu_ns": [1_000_000] * 40}
    codes = [[w["code"] for w in machine_report([item])["warnings"]] for item in (shaky, steady)]
    assert codes == [["unstable"], []]


def test_no_sensor_is_null_and_why() -> None:
    reported = energy([a_round([1])])
    assert reported["energy_mj_per_inference"] is None
    assert reported["energy_net_mj_per_inference"] is None
    assert reported["energy_reason"] == "no sensor"
    assert reported["energy"]["rate_hz"] is None


def test_unknown_idle_gives_gross_alone() -> None:
    reported = energy([powered([1] * 10, 1.0)])
    assert reported["energy_mj_per_inference"] == pytest.approx(100)
    assert reported["energy_net_mj_per_inference"] is None


@pytest.mark.parametrize(
    ("rounds", "reason"),
    [
        ([powered([1], 1.0, window_s=0.4)] * 2, "too short"),
        ([powered([1], 1.0, samples=5)] * 3, "only 15 power readings"),
        ([powered([1], 1.0), a_round([1])], "no sensor"),
        ([powered([1], 1.0, samples=2, unit="joules")], None),
        ([powered([1], 1.0, window_s=0.5)] * 2, None),
        ([powered([1], 1.0), powered([1], 1.0, total_kind="rail_sum")], "not measured alike: one is a"),
    ],
)
def test_when_there_is_no_energy(rounds: list[dict], reason: str | None) -> None:
    result = why_no_energy([reply["energy"] for reply in rounds])
    assert result is None if reason is None else reason in str(result)


def test_every_rail_that_all_rounds_have_is_kept() -> None:
    rounds = [powered([1] * 5, 1.0, rails_j={"A": 1.0, "B": 2.0}), powered([1] * 5, 1.0, rails_j={"A": 3.0})]
    assert energy(rounds)["energy"]["rails_mj_per_inference"] == {"A": pytest.approx(400)}


def test_longest_gap_and_failed_reads_of_all_rounds() -> None:
    rounds = [powered([1], 1.0, longest_gap_s=gap, failed_reads=2) for gap in (0.1, 0.7)]
    result = energy(rounds)["energy"]
    assert (result["longest_gap_s"], result["failed_reads"]) == (0.7, 4)
    assert energy([a_round([1])])["energy"]["longest_gap_s"] is None


def test_machine_over_all_rounds_in_their_order() -> None:
    def round_of(at_s: float, degrees: float, looks: list[int]) -> dict:
        state = a_state(at_s, temperatures_c={"cpu": degrees}, gpu={"min_hz": 9, "cur_hz": 5, "max_hz": 9})
        watched = {"gpu_hz": looks, "warmest_c": {"cpu": degrees + 1}, "period_s": 1.0}
        return {**a_round([1] * 20), "before": state, "after": state, "watched": watched, "uses_gpu": True}

    report = machine_report([round_of(30, 47.0, [5, 5]), round_of(10, 40.0, [9]), round_of(20, 49.0, [5])])
    assert (report["before"]["monotonic_s"], report["after"]["monotonic_s"]) == (10, 30)
    assert report["watched"] == {"gpu_hz": [9, 5, 5, 5], "warmest_c": {"cpu": 50.0}, "period_s": 1.0}
    assert [warning["code"] for warning in report["warnings"]] == ["gpu_below_max", "warming_up"]
