"""The whole way on ONNX Runtime and this machine's CPU; a minute or two."""

from pathlib import Path

import numpy as np
import pytest
import torch

from edgeprune import api
from edgeprune.latency import BenchTarget, Table
from edgeprune.models import build

pytestmark = pytest.mark.slow


def test_half_the_time_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No timings are judged here: only that what was measured is what the plan and its note say."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    site = BenchTarget.reach(threads=1)
    model = build("resnet8", num_classes=10).eval()
    done = api.prune(model, torch.zeros(1, 3, 32, 32), criterion="l2", target="latency=0.6", device=site)
    table = Table.load(site.lut)
    table.check(site.conditions)
    assert all(entry.ms and min(entry.ms.values()) > 0 for entry in table.entries.values())
    original = max(table.entries["conv 3x3 on 32x32 + Relu"].ms)
    assert original == (16, 16)
    assert any(note.startswith("measured ") for note in done.report.notes)
    assert not done.plan.keep.all()
    with torch.no_grad():
        assert torch.isfinite(done.model(torch.from_numpy(np.ones((2, 3, 32, 32), np.float32)))).all()
