"""A fake runtime with a known latency and a known output, for tests of measurements.

The "model" is a small JSON file, every key optional:

    {"latency_ns": 200000, "answer": 3, "classes": 10, "fail": "out of memory", "fail_after": 20,
     "uses_gpu": true, "layers": [...]}

It always predicts class ``answer``; with ``fail`` it raises that message at call number ``fail_after``; with
``uses_gpu`` it claims to compute on a GPU; ``layers`` is its list of layers.
"""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from edgeprune_target.errors import TargetError
from edgeprune_target.runtimes.base import Runtime


class FakeRuntime(Runtime):
    """Busy-waits for a fixed time per call; a sleep would end about 50 us late, with jitter."""

    name, listed = "fake", False

    def __init__(self, model: str, threads: int, options: Any = None) -> None:
        """Store the arguments; threads and options are not used."""
        super().__init__(model, threads, options)
        self.calls = 0

    def load(self) -> None:
        """Read the file."""
        if not Path(self.model).is_file():
            raise TargetError(f"no such model file: {self.model}")
        self.settings = json.loads(Path(self.model).read_text())
        self.uses_gpu = bool(self.settings.get("uses_gpu", False))

    def free(self) -> None:
        """Drop the settings."""
        self.settings = {}

    def infer(self, feed: dict) -> dict:
        """Wait for ``latency_ns``, then return one row of logits per input row (one row without input)."""
        until = perf_counter_ns() + self.settings.get("latency_ns", 0)
        self.calls += 1
        if "fail" in self.settings and self.calls > self.settings.get("fail_after", 0):
            raise RuntimeError(self.settings["fail"])
        rows = max((len(value) for value in feed.values()), default=1)
        answer = self.settings.get("answer", 0)
        row = [float(index == answer) for index in range(self.settings.get("classes", 10))]
        while perf_counter_ns() < until:
            pass
        return {"logits": [row] * rows}

    def layers(self, _feed: dict, _seconds: float) -> list:
        """Return the layers of the file."""
        return list(self.settings.get("layers", []))

    def versions(self) -> dict:
        """Return a fixed version: a fake has no library."""
        return {"fake": "1"}
