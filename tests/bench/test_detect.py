"""The whole way through the runner's process, on stand-in boards."""

import json
from pathlib import Path

import pytest
from boards.stand_in import BOARDS, build, write

from bench.conftest import Scripted
from edgeprune.bench import bench_run
from edgeprune.bench import run as bench_module
from edgeprune.bench.detect import detect_report, find_device
from edgeprune.bench.files import loose_files
from edgeprune.bench.local import LocalTransport
from edgeprune.errors import BenchError


def board(name: str, folder: Path) -> LocalTransport:
    return LocalTransport(root=str(build(name, folder)))


@pytest.mark.parametrize(
    ("name", "sensors", "kind"),
    [
        ("jetson-agx-xavier", [False, True, True], "rail_sum"),
        ("jetson-agx-thor", [True, True, True], "measured_input"),
        ("raspberry-pi-5", [True], "rail_sum"),
    ],
)
def test_report_of_a_board(tmp_path: Path, name: str, sensors: list[bool], kind: str) -> None:
    report = detect_report(board(name, tmp_path))
    assert (report["device"], report["reason"]) == (name, None)
    assert report["runtime"] == "onnxruntime"
    assert [sensor["answers"] for sensor in report["sensors"]] == sensors
    assert all(sensor["answers"] == (sensor["reason"] is None) for sensor in report["sensors"])
    assert report["total_kind"] == kind
    assert report["board"]["model"] == BOARDS[name].model
    codes = [warning["code"] for warning in report["warnings"]]
    assert codes == (["clocks_not_locked"] if BOARDS[name].driver else [])
    json.dumps(report, allow_nan=False)


def test_report_of_this_machine() -> None:
    report = detect_report()
    assert report["schema"] == 1
    assert report["device"] in ("cpu", "x86-nvidia", None, *BOARDS)
    assert all(sensor["answers"] or sensor["reason"] for sensor in report["sensors"])


def test_report_of_a_board_without_a_profile(tmp_path: Path) -> None:
    write(tmp_path, "proc/device-tree/model", "Radxa ROCK 5\0")
    report = detect_report(LocalTransport(root=str(tmp_path)))
    assert (report["device"], report["sensors"], report["total_kind"]) == (None, [], "none")
    assert report["reason"] == "no profile is for Radxa ROCK 5: name the nearest one with --device"


@pytest.mark.parametrize(
    ("requested", "seen"), [("jetson", "jetson-nano"), ("auto", "jetson-nano"), ("cpu", "cpu")]
)
def test_names(tmp_path: Path, requested: str, seen: str) -> None:
    assert find_device(requested, board("jetson-nano", tmp_path)).name == seen


def test_the_profile_of_any_machine_asks_nobody() -> None:
    transport = Scripted()
    assert find_device("cpu", transport).name == "cpu"
    assert transport.asked == []


def test_a_named_profile_is_confirmed_by_the_machine(tmp_path: Path) -> None:
    nano = board("jetson-nano", tmp_path)
    assert find_device("jetson-nano", nano).assumed is None
    with pytest.raises(BenchError, match="`device=jetson-agx-orin` is not what this is: NVIDIA Jetson Nano"):
        find_device("jetson-agx-orin", nano)
    assumed = find_device("jetson-agx-orin", nano, assume=True)
    assert assumed.name == "jetson-agx-orin"
    assert assumed.assumed == "NVIDIA Jetson Nano Developer Kit (NVIDIA Jetson Nano)"


def test_no_jetson() -> None:
    with pytest.raises(
        BenchError,
        match="this is not a Jetson but a machine .*`device=cpu`, or reach the board by `host=user@board`",
    ):
        find_device("jetson", Scripted())


def test_bench_on_the_jetson_that_is_here(
    tmp_path: Path, fake_models, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--device jetson, from the probe to the energy, on a stand-in Thor: 5 W in each of its windows."""
    made = board("jetson-agx-thor", tmp_path / "board")
    monkeypatch.setattr(bench_module, "LocalTransport", lambda: made)
    monkeypatch.setattr("edgeprune.bench.session.Session.chosen", with_fake_runtime)
    monkeypatch.setattr("edgeprune.bench.options.MIN_ROUNDS", 2)
    models = fake_models({"latency_ns": 2_000_000}, {"latency_ns": 1_000_000})
    monkeypatch.setattr("edgeprune.bench.files.exported_files", lambda folder: loose_files(models))
    result = bench_run(tmp_path / "run", device="jetson", seconds=1.6, accuracy=False, threads=1)
    assert result["device"]["name"] == "jetson-agx-thor"
    assert (tmp_path / "run/bench/jetson-agx-thor.json").is_file()
    for model in result["models"].values():
        energy = model["energy"]
        inferences = sum(len(samples) for samples in model["samples_ns"])
        assert (energy["total_kind"], energy["total_rails"]) == ("measured_input", ("VIN",))
        assert model["energy_mj_per_inference"] == pytest.approx(5000 * energy["window_s"] / inferences)
        assert energy["rails_mj_per_inference"]["VDD_CPU_SOC_MSS"] == pytest.approx(
            1500 * energy["window_s"] / inferences
        )
    assert result["machine"]["before"]["power_mode"]["name"] == "120W"
    codes = [warning["code"] for warning in result["warnings"]]
    assert "clocks_not_locked" in codes
    assert "short_energy" in codes
    assert "governor" not in codes


def with_fake_runtime(session, fingerprint):
    from dataclasses import replace

    device = replace(session.options.device, runtime="fake", precision="fp32")
    return replace(session, options=replace(session.options, device=device))
