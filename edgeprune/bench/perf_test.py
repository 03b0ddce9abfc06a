"""ONNX Runtime's ``onnxruntime_perf_test``: the time of each inference.

Formats: onnxruntime/test/perftest (command_args_parser.cc, performance_runner.cc).
"""

import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from edgeprune_target.measure import warmed_up
from edgeprune_target.undisturbed import undisturbed

from edgeprune.bench.process import last_line
from edgeprune.bench.program import FLOAT, UNKNOWN, BenchProgram, Start, Timing
from edgeprune.errors import BenchError

PERF_TEST = "onnxruntime_perf_test"
WARM_UP_S = 1.0  # on top of the time asked for; what is needed of it is left out
TABLE = "edgeprune_times.csv"

# One caller, one operator at a time, every optimisation, made-up input that is the same each time.
RUN = r"""
rm -f {csv} || exit
LD_LIBRARY_PATH=. ./{program} -e cpu -m duration -t {seconds} -x {threads} -y 1 -c 1 -o 99 -S 1 -I {dims} \
  {model} {csv}
code=$?
cat {csv} 2> /dev/null; rm -f {csv}
exit $code
"""
ROW = re.compile(
    r".*,(\d[\d.e+-]*),\d+,[\d.e+-]+,(\d+)$"
)  # name, seconds, peak, processor, number of the run
LOADED = re.compile(rf"Session creation time cost: ({FLOAT}) s")


class PerfTest(BenchProgram):
    """Runs ONNX files on the CPU."""

    name: ClassVar[str] = PERF_TEST
    runtime: ClassVar[str] = "onnxruntime"
    libraries: ClassVar[tuple[str, ...]] = ("libonnxruntime.so",)
    origin: ClassVar[str] = "of an ONNX Runtime built for Android, with its library"
    no_memory: ClassVar[str] = f"{PERF_TEST} tells the peak of its whole process, and not what the model adds"

    def version_script(self) -> str:
        """Return the script that prints the library's symbol version, such as VERS_1.23.2."""
        return "grep -s -a -o -m 1 'VERS_[0-9.]*[0-9]' libonnxruntime.so | head -n 1"

    def version(self, printed: str) -> str:
        """Return ``1.23.2`` for ``VERS_1.23.2``; without one, "unknown"."""
        return printed.removeprefix("VERS_") or f"{UNKNOWN} ({PERF_TEST})"

    def feed_of(self, path: Path, batch: int) -> dict[str, list[int]]:
        """Return the shape of the model's only input."""
        name, shape, _ = input_of(path, batch)
        return {name: shape}

    def command(self, start: Start) -> str:
        """Return the script that runs it, prints its table and removes that."""
        free = input_of(start.path, start.batch)[2]
        return RUN.format(
            program=PERF_TEST,
            csv=TABLE,
            seconds=math.ceil(start.seconds + WARM_UP_S),
            threads=start.threads,
            dims=f"-f {shlex.quote(f'{free}:{start.batch}')}" if free else "",
            model=shlex.quote(start.model),
        )

    def timing(self, output_lines: Sequence[str], start: Start) -> Timing:
        """Read the rows of the table; the first of them are left out as warm-up.

        Args:
            output_lines: of the program.
            start: what it was asked.

        Raises:
            BenchError: there are no rows, too few, or not what loading took.
        """
        samples, warm_up = split_warm_up(times_ns(output_lines), start.seconds)
        return Timing(samples, load_ns=load_ns(output_lines), warm_up=warm_up, quiet_ns=undisturbed(samples))


def input_of(path: Path, batch: int) -> tuple[str, list[int], str | None]:
    """Return (name, shape, name of a free first size or None) of the model's only input.

    Args:
        path: of the ONNX file.
        batch: images per inference.

    Raises:
        BenchError: the model has another batch, several inputs, or other free sizes.
    """
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    inputs = [tensor for tensor in graph.input if tensor.name not in weights]
    sizes = [
        (size.dim_param, size.dim_value) for tensor in inputs for size in tensor.type.tensor_type.shape.dim
    ]
    if len(inputs) != 1 or any(value < 1 for _, value in sizes[1:]):
        raise BenchError(f"{path.name} has several inputs or free sizes, which {PERF_TEST} cannot set")
    free, fixed = sizes[0]
    if fixed not in (0, batch):
        raise BenchError(f"{path.name} has the fixed batch {fixed}: measure with that batch, not {batch}")
    return inputs[0].name, [batch, *(value for _, value in sizes[1:])], free or None


def times_ns(output_lines: Sequence[str]) -> list[int]:
    """Return the time of each inference in ns, in order, from the rows of the table.

    Raises:
        BenchError: there are no rows.
    """
    rows = [match for match in map(ROW.match, output_lines) if match]
    if not rows:
        raise BenchError(f"{PERF_TEST} gave no times: {last_line(output_lines)}")
    rows.sort(key=lambda row: int(row.group(2)))
    return [round(float(row.group(1)) * 1e9) for row in rows]


def split_warm_up(times: Sequence[int], seconds: float) -> tuple[list[int], dict[str, Any]]:
    """Return the samples, and how much was left out as warm-up by the runner's rule.

    Args:
        times: of all inferences, ns.
        seconds: of samples to keep.

    Raises:
        BenchError: nothing is left.
    """
    runs, elapsed_s = 0, 0.0
    while runs < len(times) and not warmed_up(elapsed_s, runs):
        elapsed_s += times[runs] / 1e9
        runs += 1
    samples: list[int] = []
    for time in times[runs:]:
        if sum(samples) >= seconds * 1e9:
            break
        samples.append(time)
    if not samples:
        raise BenchError(
            f"an inference takes {times[-1] / 1e9:.1f} s, too long for a round: measure longer with --seconds"
        )
    return samples, {"runs": runs, "seconds": elapsed_s}


def load_ns(output_lines: Sequence[str]) -> int:
    """Return the time that creating the session took, ns.

    Raises:
        BenchError: the program did not print it.
    """
    match = next((line_match for line_match in map(LOADED.search, output_lines) if line_match), None)
    if match is None:
        raise BenchError(f"{PERF_TEST} did not print how long loading took: {last_line(output_lines)}")
    return round(float(match.group(1)) * 1e9)
