from pathlib import Path
from typing import Any

import pytest
from edgeprune_target.sensors.none import NoSensor
from edgeprune_target.sensors.replay import Replay
from edgeprune_target.window import Window, energy_report


class Recorder:
    """A sensor, a clock and a device that write down who was asked when."""

    unit, total_kind, period_s = "joules", "rail_sum", 60.0

    def __init__(self) -> None:
        self.log: list[str] = []

    def why_not(self) -> None:
        return None

    def read(self) -> dict:
        self.log.append("sensor")
        return {"A": 1.0}

    def synchronize(self) -> None:
        self.log.append("sync")


def test_order_of_the_window() -> None:
    recorder = Recorder()
    with Window(recorder, recorder.synchronize, poll=False):
        recorder.log.append("work")
    assert recorder.log == ["sync", "sensor", "work", "sync", "sensor"]


def test_work_that_fails_is_not_waited_for() -> None:
    recorder = Recorder()
    with pytest.raises(ZeroDivisionError), Window(recorder, recorder.synchronize, poll=False):
        raise ZeroDivisionError
    assert recorder.log == ["sync", "sensor", "sensor"]


def test_five_watts_for_ten_seconds_are_fifty_joules(five_watts: Path, clock: Any) -> None:
    window = Window(Replay(str(five_watts), clock=clock), clock=clock, poll=False)
    with window:
        for _ in range(10):
            clock.forward(1)
            window.read_sensor()
    report = energy_report(window, idle_w=2.0, reasons=[])
    assert window.seconds == 10.0
    assert report["gross_j"] == pytest.approx(50.0)
    assert report["net_j"] == pytest.approx(30.0)
    assert report["rails_j"] == {"VDD_IN": pytest.approx(50.0)}
    assert (report["samples"], report["rate_hz"]) == (12, pytest.approx(1.1))
    assert report["reason"] is None
    assert report["total_kind"] == "measured_input"


def test_thread_polls_while_open(five_watts: Path) -> None:
    sensor = Replay(str(five_watts))
    sensor.period_s = 0.002
    with Window(sensor) as window:
        while len(window.readings) < 5:
            pass
    after = len(window.readings)
    assert window.watts() == pytest.approx(5.0)
    assert len(window.readings) == after  # the thread has ended


def test_no_sensor_is_none_with_the_reasons_never_zero() -> None:
    with Window(NoSensor()) as window:
        pass
    report = energy_report(window, idle_w=None, reasons=["rapl: not here"])
    assert report["gross_j"] is None
    assert report["net_j"] is None
    assert report["rate_hz"] is None
    assert report["reason"] == "rapl: not here"
    assert window.watts() is None


def test_no_idle_power_means_no_net(five_watts: Path, clock: Any) -> None:
    with Window(Replay(str(five_watts), clock=clock), clock=clock, poll=False) as window:
        clock.forward(2)
    report = energy_report(window, idle_w=None, reasons=[])
    assert (report["gross_j"], report["net_j"]) == (pytest.approx(10.0), None)
