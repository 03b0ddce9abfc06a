from pathlib import Path

import pytest
from boards.stand_in import build, write
from edgeprune_target.powermode import parse_mode, power_mode

CONF = """\
< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >
"""


# Everything that nvpmodel -q was seen to print (devices.md 3.1).
@pytest.mark.parametrize(
    ("message", "name", "number"),
    [
        ("NV Power Mode: MAXN\n0\n", "MAXN", 0),
        ("NVPM WARN: fan mode is not set!\nNV Power Mode: MAXN\n0\n", "MAXN", 0),
        ("NV Power Mode: 5W\n1\n", "5W", 1),
        ("NV Power Mode: MODE_30W_2CORE\n2\n", "MODE_30W_2CORE", 2),
        ("NV Power Mode: MAXN_SUPER\n2\n", "MAXN_SUPER", 2),
        ("NV Power Mode: 120W\n1\n", "120W", 1),
        ("NVPM VERB: Current mode: NV Power Mode: MAXN\n0\n", "MAXN", 0),
        ("NV Power Mode: MAXN\n", "MAXN", None),
        ("", None, None),
    ],
)
def test_parse(message: str, name: str | None, number: int | None) -> None:
    assert parse_mode(message) == {"name": name, "id": number}


def test_of_a_board_with_its_list(tmp_path: Path) -> None:
    root = build("jetson-orin-nano", tmp_path)
    write(root, "etc/nvpmodel.conf", CONF)
    assert power_mode(str(root)) == {
        "name": "25W",
        "id": 1,
        "modes": {"0": "15W", "1": "25W", "2": "MAXN_SUPER"},
        "reason": None,
    }
    assert not (root / "CHANGED").exists()


def test_program_that_names_no_mode(tmp_path: Path) -> None:
    root = build("jetson-nano", tmp_path)
    write(root, "usr/sbin/nvpmodel", "#!/bin/sh\necho 'NVPM ERROR: failed to parse'\n").chmod(0o755)
    assert power_mode(str(root))["reason"] == "nvpmodel -q names no mode: NVPM ERROR: failed to parse"


def test_machine_without_modes(tmp_path: Path) -> None:
    assert "no program nvpmodel" in power_mode(str(tmp_path))["reason"]
