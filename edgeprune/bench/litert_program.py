"""LiteRT's ``benchmark_model``: the median, mean and extremes of its inferences, and which delegate computes.

Formats: tensorflow/lite/tools/benchmark (benchmark_model.cc, benchmark_tflite_model.cc) and
tensorflow/core/util/stats_calculator.h, whose ``Stat`` has no percentiles in older versions.
"""

import re
from collections.abc import Mapping, Sequence
from typing import ClassVar

from edgeprune.bench.program import FLOAT, BenchProgram, Start, Timing, first_match
from edgeprune.errors import BenchError

STATS = re.compile(rf"count=\d+ (?:\w+=-?{FLOAT}\s*)+")
STAT = re.compile(rf"(\w+)=(-?{FLOAT})")
TIMES = re.compile(
    rf"Inference timings in us: Init: ({FLOAT}), First inference: {FLOAT}, Warmup \(avg\): {FLOAT}, Inference "
)
REPLACED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\)")
APPLIED = re.compile(r"applied (\w+) delegate, and the model graph will be (partially|completely) executed")
REFUSED = re.compile(r"(\w+) delegate is explicitly applied, the model graph will not be executed")
NO_SINGLES = "benchmark_model sums its inferences up: there are no times of single ones"


class BenchmarkModel(BenchProgram):
    """Runs .tflite files on the CPU, with XNNPACK."""

    name: ClassVar[str] = "benchmark_model"
    runtime: ClassVar[str] = "litert"
    origin: ClassVar[str] = "of LiteRT, built for Android"
    no_memory: ClassVar[str] = (
        "benchmark_model tells the memory at its end, of its whole process, and not the peak"
    )

    def command(self, start: Start) -> str:
        """Return the command: XNNPACK, at least a warm-up of half a second, then for the time that is asked."""
        return (
            f"./{self.name} --graph={start.model} --num_threads={start.threads} --use_xnnpack=true --num_runs=3 "
            f"--min_secs={start.seconds:g} --warmup_runs=1 --warmup_min_secs=0.5"
        )

    def timing(self, output_lines: Sequence[str], start: Start) -> Timing:  # noqa: ARG002
        """Read the second line of statistics, in us, the first being the warm-up's; and the delegate.

        Args:
            output_lines: of the program.
            start: what it was asked.

        Raises:
            BenchError: there are no two such lines.
        """
        stats = [
            {name: float(value) for name, value in STAT.findall(match.group())}
            for match in map(STATS.search, output_lines)
            if match
        ]
        loaded = first_match(TIMES, output_lines)
        if len(stats) != 2 or loaded is None:
            raise self.no_times(output_lines)
        warm_up, timed = stats
        mean = timed.get("avg", timed["curr"])  # of one inference there is no more than that
        middle = timed.get("median", mean)
        value = "median" if "median" in timed or timed["count"] == 1 else "mean"
        if min(middle, mean) <= 0:
            raise BenchError(f"{self.name} gave a time of {middle:g} us: measure again")
        return Timing(
            [round(middle * 1e3)],
            load_ns=round(float(loaded.group(1)) * 1e3),
            warm_up={
                "runs": int(warm_up["count"]),
                "seconds": warm_up["count"] * warm_up.get("avg", warm_up["curr"]) / 1e6,
            },
            summary={
                "runs": int(timed["count"]), "value": value, "mean_ns": mean * 1e3, "reason": NO_SINGLES,
            },
            quiet_ns=timed.get("min", mean) * 1e3,
            delegate=delegate_of(output_lines),
            warnings=_fallback(output_lines),
        )  # fmt: skip


def delegate_of(output_lines: Sequence[str]) -> str:
    """Return which delegate computes how much, from the program's own lines."""
    for line in output_lines:
        if match := REPLACED.search(line):
            return f"{match.group(3)}: {match.group(1)} of {match.group(2)} nodes"
    for line in output_lines:
        if REFUSED.search(line):
            return "none: the delegate took nothing"
        if match := APPLIED.search(line):
            return f"{match.group(1)}: {match.group(2)}"
    return "none"


def _fallback(output_lines: Sequence[str]) -> Mapping[str, str]:
    if any(REFUSED.search(line) for line in output_lines) or delegate_of(output_lines) == "none":
        return {"no_delegate": "XNNPACK computes nothing of this file: LiteRT's own, slow kernels do"}
    return {}
