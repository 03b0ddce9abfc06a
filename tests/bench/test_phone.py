from pathlib import Path

import pytest
from boards.phone import build

from edgeprune.bench.adb import AdbTransport
from edgeprune.bench.phone import fingerprint, state_of, tree_of


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AdbTransport:
    made = build(tmp_path / "adb")
    monkeypatch.setenv("PATH", f"{made.folder / 'bin'}:/usr/bin:/bin")
    transport = AdbTransport()
    transport.look()
    return transport


def test_copies_of_its_files_are_read_like_a_boards(phone: AdbTransport, tmp_path: Path) -> None:
    state = state_of(tree_of(phone, tmp_path / "copy"))
    assert state["temperatures_c"] == {"cpu-0-0": 41.0, "battery": 30.0}
    assert state["passive_trips_c"]["cpu-0-0"] == 95.0
    assert [cpu["governor"] for cpu in state["cpu"]["clocks"]] == ["schedutil", "schedutil"]
    assert state["swap_used_bytes"] == 0
    assert state["gpu"] is None


def test_fingerprint(phone: AdbTransport) -> None:
    facts = fingerprint(phone, [])
    assert facts["board"]["android"] is True
    assert facts["load_average"] == [11.5, 11.2, 11.0]
    assert facts["busy_cores"] is None  # the stand-in's /proc/stat stands still
    assert facts["governors"] == ["schedutil"]
