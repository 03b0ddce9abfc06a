"""`bench --device jetson` on every stand-in board: the right rails, total, energy and warnings.

The runner's clock goes 20 times as fast as ours, so that 10 s of measuring take half of one.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter_ns
from typing import Any

import pytest
from boards.stand_in import (
    BOARDS,
    JETSONS,
    build,
    cooling_device,
    line_of,
    lock_clocks,
    over_current,
    tegrastats,
    write,
    zones,
)
from edgeprune_target import measure as measuring
from edgeprune_target.__main__ import parser
from edgeprune_target.measure import measure

from bench.test_detect import with_fake_runtime
from edgeprune.bench import bench_run
from edgeprune.bench import run as bench_module
from edgeprune.bench.files import loose_files
from edgeprune.bench.local import LocalTransport
from edgeprune.bench.process import OnEvent, ignore_event
from edgeprune.devices import load_device

FASTER = 20
WATTS = 5.0  # of every stand-in board


class FastBoard(LocalTransport):
    """The runner in this process, on the fast clock; ``between`` is called before each round."""

    def __init__(self, root: Path) -> None:
        super().__init__(root=str(root))
        self.between: Callable[[], None] = lambda: None

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        if verb != "measure":
            return super().call(verb, arguments, on_event)
        self.between()
        return self.measured(verb, arguments, lambda: perf_counter_ns() * FASTER)

    def measured(self, verb: str, arguments: Sequence[str], clock: Callable[[], int]) -> Any:
        """A round on a clock."""
        options = parser().parse_args([verb, *arguments])
        return measure(
            options.model,
            runtime=options.runtime,
            seconds=options.seconds,
            sensors=options.sensors.split(","),
            totals=options.total,
            root=self.root,
            clock=clock,
        )


@pytest.fixture
def bench(
    request: pytest.FixtureRequest, tmp_path: Path, fake_models, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., dict]:
    """Measures a board, made by ``build`` unless given, for 10 s of its clock per model."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(
        0.0005
    )  # the made-up model keeps Python busy, and the sensor's thread wants its turn
    request.addfinalizer(lambda: sys.setswitchinterval(usual))
    monkeypatch.setattr(measuring, "WARM_UP_S", 0.01)
    monkeypatch.setattr(measuring, "IDLE_S", 0.05)
    monkeypatch.setattr("edgeprune_target.sensors.base.Sensor.period_s", 0.01)
    monkeypatch.setattr("edgeprune_target.sensors.tegrastats.INTERVAL_MS", 20)
    monkeypatch.setattr("edgeprune_target.sensors.tegrastats.Tegrastats.period_s", 0.02)
    # readings come in our time, of which there is little, and the machine of tests may be busy
    monkeypatch.setattr("edgeprune_target.window.UNCOVERED_SHARE", 0.5)
    monkeypatch.setattr("edgeprune.bench.result.MIN_POWER_SAMPLES", 5)
    # on this clock the scheduler's pauses of some milliseconds are 20 times as long
    monkeypatch.setattr("edgeprune.bench.session.MOST_PAUSED", 10.0)
    monkeypatch.setattr("edgeprune.bench.options.MIN_ROUNDS", 2)
    monkeypatch.setattr("edgeprune.bench.options.ROUND_S", 5.0)
    monkeypatch.setattr("edgeprune.bench.session.Session.chosen", with_fake_runtime)
    models = fake_models({"latency_ns": 400_000}, {"latency_ns": 200_000})
    monkeypatch.setattr("edgeprune.bench.files.exported_files", lambda folder: loose_files(models))

    def run(root: Path, device: str = "jetson", between: Callable[[], None] | None = None) -> dict:
        transport = FastBoard(root)
        transport.between = between or transport.between
        monkeypatch.setattr(bench_module, "LocalTransport", lambda: transport)
        result = bench_run(tmp_path / "run", device=device, seconds=10, accuracy=False, threads=1)
        assert not (root / "CHANGED").exists()
        return result

    return run


def codes(result: dict) -> set[str]:
    """Of the warnings that the board gives rise to, not this machine."""
    ours = {"noisy", "machine_loaded", "not_faster", "other_runtime", "few_samples", "energy_gap"}
    return {warning["code"] for warning in result["warnings"]} - ours


def joules(model: dict) -> float:
    """Of all inferences of one model."""
    assert model["energy_reason"] is None, (model["energy_reason"], model["energy"])
    return model["energy_mj_per_inference"] * sum(map(len, model["samples_ns"])) / 1000


# Boards whose sensors are read like those of a board that is always tried.
ALIKE = {"jetson-orin-nx", "jetson-xavier-nx", "jetson-agx-orin", "jetson-agx-xavier", "jetson-tx2"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ALIKE)) for name in sorted(BOARDS)]
)
def test_ten_seconds_of_five_watts_are_fifty_joules(tmp_path: Path, bench, name: str) -> None:
    root = build(name, tmp_path / "board")
    result = bench(root, "jetson" if name in JETSONS else "auto")
    device = load_device(name)
    assert (result["device"]["name"], result["device"]["title"]) == (name, device.title)
    for model in result["models"].values():
        energy = model["energy"]
        assert energy["window_s"] == pytest.approx(10, rel=0.1)  # the last inference may end late
        assert joules(model) == pytest.approx(WATTS * energy["window_s"])
        assert energy["total_kind"] == device.totals[0].kind
        assert model["energy_net_mj_per_inference"] == pytest.approx(0, abs=1e-6)
        if name != "raspberry-pi-5":  # its stand-in prints two of twelve outputs
            assert [*energy["total_rails"]] == list(device.totals[0].rails)
            assert list(energy["rails_mj_per_inference"]) == list(device.rails)
    machine = result["machine"]["before"]
    if name in JETSONS:
        assert machine["power_mode"]["name"] in BOARDS[name].mode
        assert machine["gpu"]["name"] == BOARDS[name].gpu
        assert result["device"]["fingerprint"]["board"]["jetpack"] == BOARDS[name].jetpack
    assert machine["temperatures_c"] == {"cpu": 45.0, "gpu": 44.0}  # no PMIC, no gated zone of -256 C
    assert codes(result) == ({"clocks_not_locked"} if name in JETSONS else {"governor"})


@pytest.mark.parametrize(
    "name",
    [
        "jetson-nano",
        "jetson-agx-thor",
        pytest.param("jetson-agx-xavier", marks=pytest.mark.slow),
        pytest.param("jetson-agx-orin", marks=pytest.mark.slow),
    ],
)
def test_the_same_by_tegrastats_alone(tmp_path: Path, bench, name: str) -> None:
    """As in a container that has the program but not the files of the sensors; some lines are cut or odd."""
    root = build(name, tmp_path / "board")
    (root / "sys/bus").rename(root / "away")
    (root / "sys/class/hwmon").rename(root / "away2")
    line = line_of(BOARDS[name])
    tegrastats(root, [line, line, line[: len(line) // 2], "WARNING: no fan", line, line])
    result = bench(root)
    for model in result["models"].values():
        assert model["energy"]["sensor"] == "tegrastats"
        assert [*model["energy"]["total_rails"]] == list(load_device(name).totals[0].rails)
        assert joules(model) == pytest.approx(WATTS * model["energy"]["window_s"], rel=0.05)


def test_user_for_whom_tegrastats_prints_no_rails(tmp_path: Path, bench) -> None:
    root = build("jetson-orin-nano", tmp_path / "board")
    (root / "sys/bus").rename(root / "away")
    (root / "sys/class/hwmon").rename(root / "away2")
    tegrastats(root, [line_of(BOARDS["jetson-orin-nano"], root=False).split(" VDD_IN")[0]])
    result = bench(root)
    assert result["models"]["pruned"]["energy_mj_per_inference"] is None
    assert (
        "prints no power rails here (none on this board, or only for root)"
        in (result["models"]["pruned"]["energy_reason"])
    )
    assert codes(result) == {"clocks_not_locked", "energy_unavailable"}


def test_board_without_the_rail_of_the_total(tmp_path: Path, bench) -> None:
    root = build("jetson-orin-nano", tmp_path / "board")
    for label in root.glob("sys/devices/**/in1_label"):
        label.unlink()
    result = bench(root)
    model = result["models"]["pruned"]
    assert model["energy_mj_per_inference"] is None
    assert "have no total (wanted: VDD_IN)" in model["energy_reason"]
    assert set(model["energy"]["rails_mj_per_inference"]) == {"VDD_CPU_GPU_CV", "VDD_SOC"}
    assert model["energy"]["rails_mj_per_inference"]["VDD_SOC"] > 0


def test_board_whose_clocks_are_locked_and_which_is_quiet(tmp_path: Path, bench) -> None:
    root = build("jetson-agx-orin", tmp_path / "board")
    lock_clocks(root, "jetson-agx-orin")
    assert codes(bench(root)) == set()


def test_board_that_is_hot_held_down_and_short_of_current(tmp_path: Path, bench) -> None:
    root = build("jetson-orin-nx", tmp_path / "board")
    lock_clocks(root, "jetson-orin-nx")
    write(root, "etc/nvpmodel.conf", "< POWER_MODEL ID=0 NAME=MAXN >\n< POWER_MODEL ID=3 NAME=10W >\n")
    write(root, "usr/sbin/nvpmodel", "#!/bin/sh\nprintf 'NV Power Mode: 10W\\n3\\n'\n")
    zones(root, {"cpu-thermal": 96_000, "gpu-thermal": 60_000, "cv0-thermal": -256_000})
    (root / "sys/class/thermal/thermal_zone4/temp").mkdir(parents=True)  # reading it fails, as with EAGAIN
    cooling_device(root, 0, "pwm-fan", 3)
    cooling_device(root, 1, "cpufreq-cpu0", 2)
    events = iter(range(8, 100))
    result = bench(root, between=lambda: over_current(root, next(events)))
    assert codes(result) == {"hot", "throttled", "over_current", "power_mode"}
    message = {warning["code"]: warning["message"] for warning in result["warnings"]}
    assert "zone cpu reached 96 C, and from 95 C on" in message["hot"]
    assert "cpufreq-cpu0" in message["throttled"]
    assert "3 over-current events (oc3)" in message["over_current"]
    assert "sudo nvpmodel -m 0" in message["power_mode"]


def test_board_that_is_no_jetson(tmp_path: Path, bench) -> None:
    from edgeprune.errors import BenchError

    root = build("raspberry-pi-5", tmp_path / "board")
    with pytest.raises(
        BenchError, match="this is not a Jetson but Raspberry Pi 5 .*`device=raspberry-pi-5`$"
    ):
        bench(root)
