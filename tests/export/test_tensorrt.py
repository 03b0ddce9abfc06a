import re

import pytest

from edgeprune.export import tensorrt


@pytest.mark.parametrize(
    ("cuda", "installed", "reason"),
    [
        (False, False, "no CUDA device"),
        (False, True, "no CUDA device"),
        (True, False, r"TensorRT is not installed: pip install 'edgeprune\[trt\]'"),
        (True, True, "does not build TensorRT engines yet"),
    ],
)
def test_reasons(monkeypatch: pytest.MonkeyPatch, cuda: bool, installed: bool, reason: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda)
    monkeypatch.setattr(tensorrt, "find_spec", lambda name: object() if installed else None)
    assert re.search(reason, tensorrt.skip_reason())
