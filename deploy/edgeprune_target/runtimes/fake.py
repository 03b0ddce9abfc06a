"""A stand-in runtime: a known latency and a known answer, for tests of whatever measures.

The "model" is a small JSON file, every key optional:

    {"latency_ns": 200000, "answer": 3, "classes": 10, "fail": "out of memory", "fail_after": 20,
     "uses_gpu": true, "layers": [...]}

It always answers class ``answer``; with ``fail`` it raises that message at call number ``fail_after``; with
``uses_gpu`` it says that it computes on a GPU; ``layers`` are what it says of its layers.
"""

from __future__ import annotations

import json
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from edgeprune_target.errors import TargetError
from edgeprune_target.runtimes.base import Runtime


class FakeRuntime(Runtime):
    """Busy for a fixed time per call. Not asleep: a sleep ends some 50 us late, and not evenly."""

    name, listed = "fake", False

    def __init__(self, model: str, threads: int, options: Any = None) -> None:
        """Threads and options are taken and not used."""
        super().__init__(model, threads, options)
        self.calls = 0

    def load(self) -> None:
        """Read the file."""
        if not Path(self.model).is_file():
            raise TargetError(f"no such model file: {self.model}")
        self.settings = json.loads(Path(self.model).read_text())
        self.uses_gpu = bool(self.settings.get("uses_gpu", False))

    def free(self) -> None:
        """Forget what the file says."""
        self.settings = {}

    def infer(self, feed: dict) -> dict:
        """Take ``latency_ns``, then give one row of logits for each row fed (one row for no feed)."""
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
        """As the file says."""
        return list(self.settings.get("layers", []))

    def versions(self) -> dict:
        """A stand-in has no library."""
        return {"fake": "1"}
