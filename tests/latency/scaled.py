"""Boards made by hand that take a multiple of each other's times."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgeprune.bench.process import OnEvent, ignore_event
from edgeprune.devices import load_device
from edgeprune.latency.end_to_end import EndToEndTimer, PairedTimes
from latency.conftest import Board, times_of


class ScaledBoard(Board):
    """A board whose widest layers take ``factor`` times what they take on another, and whose times are scaled."""

    def __init__(self, factor: float, scale: float = 1.0) -> None:
        super().__init__()
        self.factor, self.scale, self.name = factor, scale, "made up"
        self.drift = 1.0

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        answer = super().call(verb, arguments, on_event)
        if verb == "probe":
            return {**answer, "cpu_model": self.name}
        return {"layers": self.times_of(arguments[arguments.index("--model") + 1])}

    def times_of(self, path: str) -> list[dict[str, Any]]:
        """Times of a file's layers."""
        rows = times_of(path, self.scale)
        widest = max((row["ms"] for row in rows), default=0.0)
        return [{**row, "ms": row["ms"] * (self.factor if row["ms"] == widest else 1.0)} for row in rows]

    def truth(self, path: Path) -> float:
        """What a file takes there, ms."""
        return sum(row["ms"] for row in self.times_of(str(path)))


def two_boards(monkeypatch: pytest.MonkeyPatch) -> dict[str, ScaledBoard]:
    """Return two boards by their hosts: on "b" all takes three times as long, and the widest layers twelve times.

    What is measured of a complete network is the sum of its layers.
    """
    made = {"a": ScaledBoard(1.0), "b": ScaledBoard(4.0, scale=3.0)}
    made["b"].name = "another"
    monkeypatch.setattr(
        "edgeprune.latency.bench_target.reached",
        lambda _device, host, assume: (made[host.name], load_device("cpu")),
    )

    def times(self: EndToEndTimer, pruned: Path, *_: Any) -> list[PairedTimes]:
        board = self.bench_target.transport
        base, after = board.truth(self.baseline_file), board.truth(pruned)
        return [PairedTimes(base, after, base / after, 0.99 * base / after, 1.01 * base / after, 50)]

    monkeypatch.setattr(EndToEndTimer, "_times", times)
    return made
