from pathlib import Path
from typing import Any

import pytest
from edgeprune_target.sensors.base import Sensor
from edgeprune_target.sensors.none import NoSensor
from edgeprune_target.sensors.replay import ReplaySensor
from edgeprune_target.window import Window, energy_report


class Recorder(Sensor):
    """A sensor and a device that write down who was asked when."""

    unit, total_kind, period_s = "joules", "rail_sum", 60.0

    def __init__(self) -> None:
        super().__init__()
        self.log: list[str] = []

    def why_not(self) -> None:
        return None

    def read(self) -> dict:
        self.log.append("sensor")
        return {"A": 1.0}

    def synchronize(self) -> None:
        self.log.append("sync")


class Scripted(Sensor):
    """Gives one reading after the other."""

    name = "scripted"
    period_s = 0.1

    def __init__(self, clock: Any, readings: list[dict]) -> None:
        super().__init__(clock=clock)
        self.readings = iter(readings)

    def why_not(self) -> None:
        return None

    def read(self) -> dict:
        return next(self.readings)


class Printing(Sensor):
    """Has stamped its readings by itself."""

    name = "printing"
    period_s = 0.1

    def __init__(self, clock: Any) -> None:
        super().__init__(clock=clock)
        self.ready: list[tuple[int, dict]] = []

    def why_not(self) -> None:
        return None

    def says(self, watts: float) -> None:
        self.ready.append((self.clock(), {"VDD_IN": watts}))

    def take(self) -> list:
        taken, self.ready = self.ready, []
        return taken


VDD_IN = [("measured_input", ["VDD_IN"])]


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
    window = Window(ReplaySensor(str(five_watts), clock=clock), poll=False)
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
    assert (report["longest_gap_s"], report["failed_reads"]) == (1.0, 0)
    assert report["reason"] is None
    assert (report["total_kind"], report["total_rails"]) == ("measured_input", ["VDD_IN"])


def test_the_total_is_of_its_rails_and_every_rail_is_kept(clock: Any) -> None:
    readings = [{"VDD_IN": 5.0, "CPU": 2.0, "GPU": -0.4}] * 2
    window = Window(Scripted(clock, readings), totals=VDD_IN, poll=False)
    with window:
        clock.forward(10)
    report = energy_report(window, None, [])
    assert report["gross_j"] == pytest.approx(50.0)
    assert report["rails_j"] == pytest.approx({"VDD_IN": 50.0, "CPU": 20.0, "GPU": -4.0})


def test_rails_without_a_total_are_kept_and_the_reason_given(clock: Any) -> None:
    window = Window(Scripted(clock, [{"CPU": 2.0}] * 2), totals=VDD_IN, poll=False)
    with window:
        clock.forward(10)
    report = energy_report(window, 1.0, [])
    assert (report["gross_j"], report["net_j"], report["total_kind"]) == (None, None, "none")
    assert report["rails_j"] == {"CPU": pytest.approx(20.0)}
    assert report["reason"] == "the rails CPU have no total (wanted: VDD_IN); each is in rails_j"


def test_reading_that_failed_is_counted(clock: Any) -> None:
    readings = [{"VDD_IN": 5.0}, {}, {"VDD_IN": 5.0}]
    window = Window(Scripted(clock, readings), totals=VDD_IN, poll=False)
    with window:
        clock.forward(4)
        window.read_sensor()
        clock.forward(6)
    report = energy_report(window, None, [])
    assert report["gross_j"] == pytest.approx(50.0)
    assert (report["samples"], report["failed_reads"], report["longest_gap_s"]) == (2, 1, 10.0)


def test_rails_that_come_to_less_than_nothing(clock: Any) -> None:
    window = Window(Scripted(clock, [{"VDD_IN": -0.4}] * 2), totals=VDD_IN, poll=False)
    with window:
        clock.forward(10)
    assert "less than nothing" in energy_report(window, None, [])["reason"]


def test_lines_from_before_the_window_do_not_count_but_for_the_last(clock: Any) -> None:
    sensor = Printing(clock)
    for watts in (90.0, 90.0, 5.0):
        sensor.says(watts)
        clock.forward(0.1)
    window = Window(sensor, totals=VDD_IN, poll=False)
    with window:
        for _ in range(100):
            clock.forward(0.1)
            sensor.says(5.0)
    report = energy_report(window, None, [])
    assert report["gross_j"] == pytest.approx(50.0)
    assert report["samples"] == 101


@pytest.mark.parametrize(("lines", "known"), [(90, True), (80, False)])
def test_sensor_that_stopped_before_the_end(clock: Any, lines: int, known: bool) -> None:
    sensor = Printing(clock)
    window = Window(sensor, totals=VDD_IN, poll=False)
    sensor.says(5.0)
    with window:
        for number in range(100):
            clock.forward(0.1)
            if number < lines:
                sensor.says(5.0)
    report = energy_report(window, None, [])
    assert (report["gross_j"] is not None) == known
    assert known or report["reason"] == "the readings leave 2.0 of 10.0 s out: the sensor stopped answering"


def test_thread_polls_while_open(five_watts: Path) -> None:
    sensor = ReplaySensor(str(five_watts))
    sensor.period_s = 0.002
    with Window(sensor) as window:
        while len(window.readings) < 5:
            pass
    after = len(window.readings)
    report = energy_report(window, None, [])
    assert report["gross_j"] == pytest.approx(5.0 * window.seconds)
    assert len(window.readings) == after  # the thread has ended


def test_no_sensor_is_none_with_the_reasons_never_zero() -> None:
    with Window(NoSensor()) as window:
        pass
    report = energy_report(window, idle_w=None, reasons=["rapl: not here"])
    assert report["gross_j"] is None
    assert report["net_j"] is None
    assert report["rate_hz"] is None
    assert (report["samples"], report["failed_reads"]) == (0, 0)
    assert report["reason"] == "rapl: not here"


def test_no_idle_power_means_no_net(five_watts: Path, clock: Any) -> None:
    with Window(ReplaySensor(str(five_watts), clock=clock), poll=False) as window:
        clock.forward(2)
    report = energy_report(window, idle_w=None, reasons=[])
    assert (report["gross_j"], report["net_j"]) == (pytest.approx(10.0), None)
