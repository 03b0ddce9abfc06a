"""LiteRT's int8 files."""

from pathlib import Path

import numpy as np
import pytest
from target.runtime_files import litert_file

from edgeprune.backends import litert


def test_the_ranges_of_int8_hold_every_calibration_image(tmp_path: Path) -> None:
    """The quantizer's own calibration averages over images, which cuts the rarer large activations off."""
    pytest.importorskip("ai_edge_quantizer")
    path = litert_file(tmp_path / "means.onnx")
    images = np.random.default_rng(0).uniform(-1, 1, (6, 3, 4, 4)).astype(np.float32)
    images[2, 0, 0, 0], images[4, 0, 0, 0] = 40.0, -30.0
    ranges = litert._ranges(path, images)
    least = min(float(np.min(extremes["min"])) for extremes in ranges.values() if extremes)
    largest = max(float(np.max(extremes["max"])) for extremes in ranges.values() if extremes)
    assert (least, largest) == (-30.0, 40.0)
