"""The commands of docs/onnx.md, as they stand there."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from onnx_graph import networks
from onnx_graph.networks import exported
from PIL import Image

from edgeprune.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"
COMMANDS = re.findall(r"^edgeprune (.*)$", PAGE.read_text(), re.M)


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported(networks.Residual, tmp_path / "model.onnx", dynamic_axes={"in0": {0: "batch"}})
    rng = np.random.default_rng(0)
    np.save(tmp_path / "inputs.npy", rng.standard_normal((40, 3, 8, 8)).astype(np.float32))
    (tmp_path / "photos").mkdir()
    for number in range(12):
        pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{number}.png")
    (tmp_path / "small_nets.py").write_text(
        "from onnx_graph import networks\n\n\ndef make(num_classes=4):\n    return networks.Residual().eval()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert len(COMMANDS) == 11
    for command in COMMANDS:
        if (
            command.startswith("bench") or "latency" in command
        ):  # tests/post_training/test_runs.py, test_latency.py
            continue
        for name in ("smaller.onnx", "smaller.safetensors"):
            Path(name).unlink(missing_ok=True)
        result = CliRunner().invoke(main, shlex.split(command.replace("DIR", "runs/learned")))
        assert result.exit_code == 0, result.output
        shown = ("runs/learned/export/pruned.onnx", "top-1 agreement")
        written = Path(command.split()[-1])
        assert written.exists() or any(text in result.output for text in shown)
