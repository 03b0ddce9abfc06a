from pathlib import Path

import pytest

from bench.conftest import Scripted
from edgeprune.bench import Host
from edgeprune.bench.hosts import runner_words
from edgeprune.devices import load_device
from edgeprune.errors import BenchError


@pytest.mark.parametrize(
    ("host", "requested", "profile"),
    [
        ("user@board", None, "auto"),
        ("user@board", "jetson", "jetson"),
        ("user@board", "cpu", "cpu"),
        ("adb:X", None, "android-phone"),
        ("adb:X", "auto", "android-phone"),
        ("adb:X", "cpu", "cpu"),
    ],
)
def test_profile_where_none_is_named(host: str, requested: str | None, profile: str) -> None:
    assert Host(host).device(requested) == profile


def test_mistakes_are_seen_before_anything_is_started() -> None:
    with pytest.raises(BenchError, match="--host is '-x'"):
        Host("-x").connect()
    with pytest.raises(BenchError, match="--host is 'adb:-x'"):
        Host("adb:-x").connect()


def test_profile_in_the_runners_words() -> None:
    from edgeprune_target.__main__ import parser

    device = load_device("jetson-agx-thor")
    args = parser().parse_args(["measure", "--model", "m", *runner_words(device)])
    assert args.sensors.split(",") == list(device.sensors)
    assert args.total == [(total.kind, list(total.rails)) for total in device.totals]
    assert runner_words(load_device("android-phone")) == []


def test_profile_is_left_on_hosts_alone(tmp_path: Path) -> None:
    sent: list[Path] = []
    transport = Scripted()
    transport.send = lambda path: sent.append(path) or str(path)  # type: ignore[method-assign]
    Host("board").leave_profile(load_device("cpu"), transport)
    assert sent == []
