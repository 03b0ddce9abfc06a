"""A board made by hand that throttles under lasting load."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.conftest import a_round, a_state

from edgeprune.bench.process import OnEvent, ignore_event
from latency.conftest import Board, times_of

COLD_AFTER_S = 30.0  # without load
PAUSE_S = 40.0  # in which a plan is exported


class ThrottlingBoard(Board):
    """After 150 s of load its convolutions take twice as long; after `COLD_AFTER_S` without load it is cool again.

    Its clock is made up: a round takes what it was asked to take, and the test moves it on for pauses.
    """

    def __init__(self) -> None:
        super().__init__()
        self.drift = 1.0
        self.now = self.load_s = self.last_load = 0.0
        self.hot_s = 150.0  # of load, until it throttles
        self.degrees: list[float] | None = None  # after each round, then the last one
        self.rounds: list[tuple[str, bool, float]] = []  # (model, whether hot, seconds)

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        if verb != "measure":
            answer = super().call(verb, arguments, on_event)
            quiet = {
                "cores_online": 2,
                "governors": ["performance"],
                "load_average": [0.0] * 3,
                "busy_cores": 0.0,
            }
            return {**answer, **quiet} if verb == "probe" else answer
        path, seconds = (arguments[arguments.index(word) + 1] for word in ("--model", "--seconds"))
        return self.round_of(path, float(seconds))

    def round_of(self, path: str, seconds: float) -> Any:
        """A round of the length that is asked for."""
        if self.now - self.last_load > COLD_AFTER_S:
            self.load_s = max(0.0, self.hot_s - 20.0) if self.load_s >= self.hot_s else 0.0
        hot = self.load_s >= self.hot_s
        ms = sum(
            row["ms"] * (2 if hot and row["kind"] in ("Conv", "Gemm") else 1) for row in times_of(path, 1.0)
        )
        self.rounds.append((Path(path).stem, hot, seconds))
        self.now += seconds + 1.0
        self.last_load, self.load_s = self.now, self.load_s + seconds
        reply = {**a_round([round(ms * 1e6)] * 50), "window_s": seconds}
        if self.degrees:
            warm = self.degrees.pop(0) if len(self.degrees) > 1 else self.degrees[0]
            reply["after"] = a_state(temperatures_c={"cpu": warm})
        return reply

    def cool_and_hot(self, path: Path) -> tuple[float, float]:
        """What a file takes, ms."""
        rows = times_of(str(path), 1.0)
        cool, hot = (
            sum(row["ms"] * (f if row["kind"] in ("Conv", "Gemm") else 1) for row in rows) for f in (1, 2)
        )
        return cool, hot
