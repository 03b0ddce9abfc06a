"""Engines on the target: what they depend on, how much memory they may take, what int8 is calibrated on."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from boards.stand_in import build as build_board
from edgeprune_target.errors import TargetError
from edgeprune_target.trt.making import device_key, engine_for, images_of, workspace_bytes
from edgeprune_target.trt.options import EngineOptions
from trt.fixtures import small_cnn
from trt.names import VERSIONS

GB, MB = 1 << 30, 1 << 20


@pytest.mark.parametrize(
    ("seen", "board", "requested", "expected"),
    [
        ((8, 2, 1), "", None, GB),  # no /proc/meminfo below an empty root
        ((8, 2, 1), "jetson-nano", None, GB),  # a quarter of 8 GB would be more than it needs
        ((8, 6, 1), "jetson-nano", None, 8_000_000 * 1024 // 4),
        ((10, 3, 0), "", None, None),
        ((10, 3, 0), "raspberry-pi-5", None, None),
        ((10, 3, 0), "jetson-orin-nano", 300, 300 * MB),
    ],
)
def test_workspace(
    tmp_path: Path, seen: tuple, board: str, requested: int | None, expected: int | None
) -> None:
    root = build_board(board, tmp_path) if board else tmp_path
    assert workspace_bytes(seen, EngineOptions(workspace_mb=requested, root=str(root))) == expected


def test_the_device_is_the_board_and_its_release(tmp_path: Path) -> None:
    class Gpu:
        def compute(self) -> str:
            return "8.7"

    assert device_key(Gpu(), str(build_board("jetson-orin-nano", tmp_path))) == {
        "compute": "8.7",
        "gpu": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        "soc": "tegra234",
        "l4t": "36.4.3",
    }


@pytest.mark.parametrize("version", [version for version in VERSIONS if not version.startswith("11")])
def test_int8_is_calibrated_on_the_target(
    tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path, version: str
) -> None:
    trt, path = tensorrt(version), str(small_cnn(tmp_path / "m.onnx"))
    images = np.random.default_rng(0).normal(size=(16, 3, 6, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", images)
    options = EngineOptions("int8", calibration=str(tmp_path / "x.npy"))
    _, record = engine_for(trt, path, options)
    assert (record["calibration_images"], record["built_now"]) == (16, True)
    assert [warning["code"] for warning in record["warnings"]] == ["slow_precision"]
    assert engine_for(trt, path, options)[1]["built_now"] is False
    np.save(tmp_path / "x.npy", 2 * images)  # other images, other scales
    assert engine_for(trt, path, options)[1]["built_now"] is True


def test_images_that_are_none(tmp_path: Path) -> None:
    assert images_of(None) is None
    np.save(tmp_path / "flat.npy", np.zeros((4, 27)))
    (tmp_path / "text.npy").write_text("no images")
    for name, reason in (
        ("flat", "N x C x H x W"),
        ("text", "not a .npy file"),
        ("absent", "not a .npy file"),
    ):
        with pytest.raises(TargetError, match=reason):
            images_of(str(tmp_path / f"{name}.npy"))


def test_nothing_is_left_on_the_device_when_a_build_fails(
    tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path
) -> None:
    """The fixture for the device checks it."""
    path = tmp_path / "m.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(TargetError, match="cannot read m.onnx"):
        engine_for(tensorrt("10.3.0"), str(path), EngineOptions())
    assert not engines.exists()
