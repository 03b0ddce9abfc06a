from typing import Any

import pytest
from measured import changed

from edgeprune.bench.warnings import warnings_for


def test_a_good_measurement_has_none() -> None:
    assert warnings_for(changed()) == ()


def test_noise_comes_with_what_is_left_without_it() -> None:
    undisturbed_range = {"value": 1.55, "low": 1.53, "high": 1.57}
    result = changed("models.pruned.round_spread", 0.08, "speedup_undisturbed", undisturbed_range)
    noisy, undisturbed = warnings_for(result)
    assert (noisy.code, undisturbed.code) == ("noisy", "undisturbed")
    assert "1.55x (1.53 to 1.57)" in undisturbed.message


def test_what_is_less_sure_than_the_medians_is_not_said() -> None:
    undisturbed_range = {"value": 1.55, "low": 1.2, "high": 1.9}
    result = changed("models.pruned.round_spread", 0.08, "speedup_undisturbed", undisturbed_range)
    assert [warning.code for warning in warnings_for(result)] == ["noisy"]


MACHINE = "device.fingerprint"


@pytest.mark.parametrize(
    ("path", "value", "code", "words"),
    [
        ("models.pruned.round_spread", 0.08, "noisy", "pruned: p50 varies by 8 %"),
        ("models.baseline.samples_ns", [[1] * 99], "few_samples", "baseline: only 99"),
        ("speedup", {"value": 0.86, "low": 0.8, "high": 0.9}, "not_faster", "slower (0.86 times"),
        ("speedup", {"value": 1.01, "low": 0.99, "high": 1.03}, "not_faster", "0.990 to 1.030 contains 1"),
        ("speedup", {"value": 1.01, "low": 1.0, "high": 1.03}, "not_faster", "contains 1"),
        ("speedup", {"value": 0.86, "low": 0.8, "high": 0.9}, "not_faster", "--target-device jetson"),
        ("models.baseline.denormal_weights", 1000, "denormal_weights", "1,000 weights of baseline"),
        (f"{MACHINE}.busy_cores", 1.2, "machine_loaded", "1.2 of 4 cores"),
        ("settings.threads", 5, "too_many_threads", "--threads 4"),
        ("settings.stretches", 3, "resumed", "measured in 3 segments"),
        (f"{MACHINE}.governors", ["powersave"], "governor", "powersave"),
        (f"{MACHINE}.governors", ["performance", "powersave"], "governor", "cpupower"),
        ("models.pruned.energy_reason", "rapl: not here", "energy_unavailable", "rapl: not here"),
        ("models.pruned.energy.window_s", 9.0, "short_energy", "pruned: the energy is of 9.0 s"),
        ("models.pruned.energy.longest_gap_s", 2.5, "energy_gap", "nothing for 2.5 s"),
        ("settings.runtime_wished", "tensorrt", "other_runtime", "tensorrt is not on this device"),
        (
            "models.pruned.engine_warnings",
            [{"code": "enqueue_bound", "message": "the processor"}],
            "enqueue_bound",
            "pruned: the processor",
        ),
        ("machine.warnings", [{"code": "hot", "message": "zone cpu"}], "hot", "zone cpu"),
    ],
)
def test_each_warning(path: str, value: Any, code: str, words: str) -> None:
    result = warnings_for(changed(path, value))
    assert [warning.code for warning in result] == [code]
    assert words in result[0].message


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("models.pruned.round_spread", None),
        ("speedup", None),
        ("speedup", {"value": 1.1, "low": 1.001, "high": 1.2}),
        (f"{MACHINE}.busy_cores", 1.0),  # three of four cores were free
        (f"{MACHINE}.governors", None),
        ("models.pruned.energy.longest_gap_s", None),
    ],
)
def test_no_warning(path: str, value: Any) -> None:
    assert warnings_for(changed(path, value)) == ()


def test_what_is_pruned_for_the_device_instead() -> None:
    (warning,) = warnings_for(changed("speedup", {"value": 0.86, "low": 0.8, "high": 0.9}), "net.onnx")
    assert "edgeprune prune net.onnx --target latency=0.7 --device jetson" in warning.message


def test_load_average_stands_in_where_the_load_cannot_be_seen() -> None:
    result = warnings_for(changed(f"{MACHINE}.busy_cores", None))
    assert [warning.code for warning in result] == ["machine_loaded"]
    assert "load average 3.0" in result[0].message


def test_both_unknown_is_no_warning() -> None:
    result = changed(f"{MACHINE}.busy_cores", None, f"{MACHINE}.load_average", None)
    assert warnings_for(result) == ()


@pytest.mark.parametrize(
    ("reason", "codes"), [("the disk is full", ["accuracy_unavailable"]), ("not asked for", [])]
)
def test_accuracy_that_failed_is_told_apart_from_one_not_asked_for(reason: str, codes: list[str]) -> None:
    result = changed("models.pruned.accuracy", None, "models.pruned.accuracy_reason", reason)
    assert [warning.code for warning in warnings_for(result)] == codes


def test_one_reason_of_both_models_is_said_once() -> None:
    missing = [f"models.{name}.accuracy" for name in ("baseline", "pruned")]
    nulls = [part for place in missing for part in (place, None, f"{place}_reason", "no images are known")]
    assert [warning.message for warning in warnings_for(changed(*nulls))] == [
        "no accuracy: no images are known"
    ]


def test_governor_has_no_say_where_the_clock_is_held() -> None:
    governors = (f"{MACHINE}.governors", ["schedutil"])
    cpu = {"cpu": 0, "governor": "schedutil", "min_khz": 5, "cur_khz": 5, "max_khz": 5}
    clocks = "machine.before.cpu.clocks"
    assert warnings_for(changed(*governors, clocks, [cpu])) == ()
    moving = changed(*governors, clocks, [cpu, {**cpu, "min_khz": 1}])
    assert [warning.code for warning in warnings_for(moving)] == ["governor"]


def test_jetson_is_told_of_jetson_clocks_and_not_of_cpupower() -> None:
    events = [{"code": "clocks_not_locked", "message": "sudo jetson_clocks"}]
    result = changed(f"{MACHINE}.governors", ["schedutil"], "machine.warnings", events)
    assert [warning.code for warning in warnings_for(result)] == ["clocks_not_locked"]


def test_counter_of_joules_has_no_gaps() -> None:
    result = changed("models.pruned.energy", {"window_s": 10.0, "unit": "joules", "longest_gap_s": 5.0})
    assert warnings_for(result) == ()


@pytest.mark.parametrize(("baseline", "pruned"), [(999, 0), (3000, 2000), (5000, 5000)])
def test_a_few_denormal_weights_or_as_many_in_both_are_no_warning(baseline: int, pruned: int) -> None:
    counts = "models.baseline.denormal_weights", baseline, "models.pruned.denormal_weights", pruned
    assert warnings_for(changed(*counts)) == ()
