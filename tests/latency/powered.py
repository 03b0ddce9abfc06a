"""A board made by hand whose power is known, too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from bench.conftest import a_round

from edgeprune.bench.process import OnEvent, ignore_event
from latency.conftest import Board, times_of

HOT_W, COOL_W = 8.0, 2.0
QUIET = {"cores_online": 2, "governors": ["performance"], "load_average": [0.0] * 3, "busy_cores": 0.0}


class PoweredBoard(Board):
    """Takes as long for a convolution of 3x3 as for one of 1x1, and draws `HOT_W` meanwhile, `COOL_W` otherwise.

    What it draws for a whole model is `other` times that, as if something else were drawing, too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.drift = 1.0
        self.windows: list[tuple[str, float]] = []  # (file, seconds)
        self.sensor = {"sensor": "rapl", "total_kind": "rail_sum", "total_rails": ["package-0"]}
        self.ends_after: int | None = None  # windows, until the sensor stops
        self.stops_at: str | None = None  # a file at which the sensor stops
        self.other = 1.0

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        if verb != "measure":
            answer = super().call(verb, arguments, on_event)
            return {**answer, **QUIET} if verb == "probe" else answer
        words = list(arguments)
        path, seconds = (words[words.index(word) + 1] for word in ("--model", "--seconds"))
        assert words[words.index("--sensors") + 1] == "rapl" and "rail_sum=*" in words
        self.windows.append((Path(path).stem, float(seconds)))
        return self.window(path, float(seconds))

    def window(self, path: str, seconds: float) -> Any:
        """A round of the length that is asked for, with its energy."""
        ms, mj = taken(Path(path))
        runs = seconds * 1000 / ms
        reply = a_round([round(ms * 1e6)] * 50)
        gone = Path(path).stem == self.stops_at
        gone |= self.ends_after is not None and len(self.windows) > self.ends_after
        factor = 1.0 if Path(path).stem == "layer" else self.other
        known = {
            "unit": "watts",
            "gross_j": factor * runs * mj / 1000,
            "idle_w": 1.0,
            "samples": 100,
            "reason": None,
        }
        energy = {"reason": "the sensor stopped answering"} if gone else known
        energy = {**energy, **self.sensor, "window_s": seconds}
        reply["energy"] = {**reply["energy"], **energy}
        return {**reply, "window_runs": round(runs), "window_s": seconds}


def taken(path: Path) -> tuple[float, float]:
    """What an inference of a file takes on the board: ms, mJ."""
    rows = {row["name"]: row["ms"] for row in times_of(str(path), 1.0)}
    hot = {
        node.name
        for node in onnx.load(path).graph.node
        for attribute in node.attribute
        if attribute.name == "kernel_shape" and list(attribute.ints) == [3, 3] and node.op_type == "Conv"
    }
    mj = sum(ms * (HOT_W if name in hot else COOL_W) for name, ms in rows.items())
    return sum(rows.values()), mj
