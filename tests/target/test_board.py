from pathlib import Path

import pytest
from boards.stand_in import BOARDS, build, program, write
from edgeprune_target.board import board, jetpack, l4t


@pytest.mark.parametrize("name", sorted(BOARDS))
def test_stand_in_boards(tmp_path: Path, name: str) -> None:
    expected = BOARDS[name]
    result = board(str(build(name, tmp_path)))
    assert (result["model"], result["compatible"]) == (expected.model, list(expected.compatible))
    assert (result["l4t"], result["jetpack"]) == (expected.l4t, expected.jetpack)
    assert result["soc"] == (expected.compatible[-1].split(",")[1] if expected.driver else None)


def test_machine_that_is_no_board(tmp_path: Path) -> None:
    nothing = {"model": None, "compatible": [], "soc": None, "l4t": None, "jetpack": None}
    assert board(str(tmp_path)) == {**nothing, "android": False, "gpus": []}


def test_container_with_the_device_tree_in_sys_alone(tmp_path: Path) -> None:
    write(tmp_path, "sys/firmware/devicetree/base/model", "NVIDIA Jetson Orin Nano\0")
    assert board(str(tmp_path))["model"] == "NVIDIA Jetson Orin Nano"


def test_release_by_its_package(tmp_path: Path) -> None:
    script = "#!/bin/sh\nprintf 'nvidia-l4t-core\\t36.4.4-20250616085344\\n'\n"
    program(tmp_path, "usr/bin/dpkg-query", script)
    assert l4t(str(tmp_path)) == "36.4.4"


def test_phone(tmp_path: Path) -> None:
    write(tmp_path, "system/build.prop", "ro.product.cpu.abi=arm64-v8a\n")
    assert board(str(tmp_path))["android"] is True


# devices.md 4, both ends of each line of the table
@pytest.mark.parametrize(
    ("release", "name"),
    [
        ("32.6.1", "4.6"),
        ("32.7.1", "4.6.1"),
        ("35.1.0", "5.0.2"),
        ("35.4.1", "5.1.2"),
        ("35.6.2", "5.1.5"),
        ("36.3.0", "6.0"),
        ("36.4.0", "6.1"),
        ("36.4.3", "6.2"),
        ("36.4.7", "6.2.1"),
        ("36.5.0", "6.2.2"),
        ("38.2.2", "7.0"),
        ("38.4.0", "7.1"),
        ("39.2.0", "7.2"),
        ("39.2.2", "7.2.2"),
        ("99.1.0", None),
        (None, None),
    ],
)
def test_jetpack(release: str | None, name: str | None) -> None:
    assert jetpack(release) == name
