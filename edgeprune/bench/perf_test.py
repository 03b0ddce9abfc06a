"""Measure on a phone without a Python: ONNX Runtime's ``onnxruntime_perf_test`` replaces the runner.

It gives the times of single inferences, as the runner does. What it cannot give is None, with the reason.
"""

import math
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune_target.__main__ import parser
from edgeprune_target.measure import warmed_up
from edgeprune_target.scratch import scratch_folder
from edgeprune_target.sensors import first_available
from edgeprune_target.state import WATCH_S
from edgeprune_target.window import Window, energy_report

from edgeprune.bench.adb import PERF_TEST, AdbTransport
from edgeprune.bench.phone import fingerprint, state_of, tree_of
from edgeprune.bench.process import OnEvent, ignore_event, last_line
from edgeprune.errors import BenchError

WARM_UP_S = 1.0  # on top of the time asked for; what is needed of it is left out
NO_ENERGY = "a phone's battery gauge answers too seldom, in units that differ by maker: no energy"
NO_MEMORY = "onnxruntime_perf_test tells the peak of its whole process, and not what the model adds"

# One caller, one operator at a time, every optimisation, made-up input that is the same each time.
RUN = r"""
cd {folder} && chmod 755 {program} && rm -f {csv} || exit
LD_LIBRARY_PATH=. ./{program} -e cpu -m duration -t {seconds} -x {threads} -y 1 -c 1 -o 99 -S 1 -I {dims} \
  {model} {csv}
code=$?
cat {csv} 2> /dev/null; rm -f {csv}
exit $code
"""
ROW = re.compile(
    r".*,(\d[\d.e+-]*),\d+,[\d.e+-]+,(\d+)$"
)  # name, seconds, peak, processor, number of the run
LOADED = re.compile(r"Session creation time cost: ([\d.e+-]+) s")


class PerfTestTransport:
    """Answers the runner's verbs, as far as that program can."""

    why_no_accuracy = f"{PERF_TEST} gives times alone: an accuracy needs a Python on the phone"

    def __init__(self, phone: AdbTransport) -> None:
        """Wrap ``phone``, which has been inspected and has the program in its folder."""
        self.phone = phone
        self.name = phone.name
        self.sent: dict[str, Path] = {}
        self.version: str | None = None

    def send(self, path: Path) -> str:
        """Send a file to the phone's folder; return its path there."""
        remote = self.phone.send(path)
        self.sent[remote] = path
        return remote

    def remove(self, remote: str) -> None:
        """Delete a file from the phone's folder."""
        self.phone.remove(remote)

    def call(self, verb: str, arguments: Sequence[str], _on_event: OnEvent = ignore_event) -> Any:
        """Answer the verbs ``probe`` and ``measure``.

        Args:
            verb: of the runner's command line.
            arguments: after the verb.

        Raises:
            BenchError: the program failed, or cannot do what the verb needs.
        """
        if verb == "probe":
            return self.probe()
        if verb == "measure":
            options = parser().parse_args([verb, *arguments])
            if options.cool_to is not None:
                raise BenchError(
                    f"{PERF_TEST} begins at once: for --cool-to there must be a Python on the phone"
                )
            return self.measure(options)
        raise BenchError(f"{PERF_TEST} gives times alone: for {verb} there must be a Python on the phone")

    def probe(self) -> dict[str, Any]:
        """Return what the phone is; ``runtimes`` has the version of ONNX Runtime's library."""
        answer = fingerprint(self.phone)
        self.version = answer["runtimes"]["onnxruntime"]
        return answer

    def measure(self, options: Any) -> dict[str, Any]:
        """Measure one round, and return it in the runner's form."""
        name, shape, free = input_of(self.sent[options.model], options.batch)
        script = RUN.format(
            folder=self.phone.folder,
            program=PERF_TEST,
            csv="edgeprune_times.csv",
            seconds=math.ceil(options.seconds + WARM_UP_S),
            threads=options.threads,
            dims=f"-f {shlex.quote(f'{free}:{options.batch}')}" if free else "",
            model=shlex.quote(options.model),
        )
        before = self.state()
        output_lines = self.phone.run(script, f"running {PERF_TEST} on {self.name}")
        after = self.state()
        samples, warm_up = split_warm_up(times_ns(output_lines), options.seconds)
        return {
            "model": options.model,
            "runtime": options.runtime,
            "versions": {"onnxruntime": self.version},
            "batch": options.batch,
            "threads": options.threads,
            "feed": {name: shape},
            "load_ns": load_ns(output_lines),
            "warm_up": warm_up,
            "window_s": sum(samples) / 1e9,
            "samples_ns": samples,
            "memory_peak_bytes": None,
            "memory_reason": NO_MEMORY,
            "energy": no_energy(),
            "uses_gpu": False,
            "before": before,
            "watched": {"gpu_hz": [], "warmest_c": {}, "period_s": WATCH_S},
            "after": after,
        }

    def state(self) -> dict[str, Any]:
        """Return the phone's clocks, temperatures and memory, read from copies of its files."""
        with scratch_folder() as folder:
            return state_of(tree_of(self.phone, Path(folder)))


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


def no_energy() -> dict[str, Any]:
    """Return an energy report in the runner's form, without an energy."""
    sensor, _ = first_available(["none"])
    return energy_report(Window(sensor), None, [NO_ENERGY])
