"""A phone without a Python: ONNX Runtime's ``onnxruntime_perf_test`` in the runner's place.

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
from edgeprune_target.sensors import first_that_answers
from edgeprune_target.state import WATCH_S
from edgeprune_target.window import Window, energy_report

from edgeprune.bench.adb import PERF_TEST, AdbTransport
from edgeprune.bench.phone import fingerprint, state_of, tree_of
from edgeprune.bench.process import OnEvent, ignore_event, last_of
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
    """Answers the runner's questions, as far as that program can."""

    why_no_accuracy = f"{PERF_TEST} gives times alone: an accuracy needs a Python on the phone"

    def __init__(self, phone: AdbTransport) -> None:
        """``phone`` has been looked at, and has the program in its folder."""
        self.phone = phone
        self.name = phone.name
        self.sent: dict[str, Path] = {}
        self.version: str | None = None

    def send(self, path: Path) -> str:
        """To the phone's folder."""
        remote = self.phone.send(path)
        self.sent[remote] = path
        return remote

    def remove(self, remote: str) -> None:
        """From it."""
        self.phone.remove(remote)

    def call(self, verb: str, arguments: Sequence[str], _on_event: OnEvent = ignore_event) -> Any:
        """The verbs ``probe`` and ``measure``.

        Raises:
            BenchError: the program failed, or cannot do what is asked.
        """
        if verb == "probe":
            return self.probe()
        if verb == "measure":
            return self.measure(parser().parse_args([verb, *arguments]))
        raise BenchError(f"{PERF_TEST} gives times alone: for {verb} there must be a Python on the phone")

    def probe(self) -> dict[str, Any]:
        """What the phone is; ``runtimes`` has ONNX Runtime's version as its library says it."""
        found = fingerprint(self.phone)
        self.version = found["runtimes"]["onnxruntime"]
        return found

    def measure(self, options: Any) -> dict[str, Any]:
        """One round, in the runner's form."""
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
        said = self.phone.run(script, f"running {PERF_TEST} on {self.name}")
        after = self.state()
        samples, warm_up = split_warm_up(times_ns(said), options.seconds)
        return {
            "model": options.model,
            "runtime": options.runtime,
            "versions": {"onnxruntime": self.version},
            "batch": options.batch,
            "threads": options.threads,
            "feed": {name: shape},
            "load_ns": load_ns(said),
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
        """The phone's clocks, temperatures and memory, read from copies of its files."""
        with scratch_folder() as folder:
            return state_of(tree_of(self.phone, Path(folder)))


def input_of(path: Path, batch: int) -> tuple[str, list[int], str | None]:
    """(name, shape, name of a free first size or None) of the model's only input, fed with ``batch`` images.

    Raises:
        BenchError: the model has another batch, several inputs, or sizes that nobody gave.
    """
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [one for one in graph.input if one.name not in weights]
    sizes = [(size.dim_param, size.dim_value) for one in inputs for size in one.type.tensor_type.shape.dim]
    if len(inputs) != 1 or any(value < 1 for _, value in sizes[1:]):
        raise BenchError(f"{path.name} has several inputs or free sizes: {PERF_TEST} cannot be told them")
    free, fixed = sizes[0]
    if fixed not in (0, batch):
        raise BenchError(f"{path.name} has the fixed batch {fixed}: measure with that batch, not {batch}")
    return inputs[0].name, [batch, *(value for _, value in sizes[1:])], free or None


def times_ns(said: Sequence[str]) -> list[int]:
    """Of each inference, in order, from the rows of the table.

    Raises:
        BenchError: there are no rows.
    """
    rows = [found for found in map(ROW.match, said) if found]
    if not rows:
        raise BenchError(f"{PERF_TEST} gave no times: {last_of(said)}")
    rows.sort(key=lambda row: int(row.group(2)))
    return [round(float(row.group(1)) * 1e9) for row in rows]


def split_warm_up(times: Sequence[int], seconds: float) -> tuple[list[int], dict[str, Any]]:
    """(samples, what was left out as warm-up, by the runner's rule); samples stop at ``seconds``.

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


def load_ns(said: Sequence[str]) -> int:
    """What making the session took.

    Raises:
        BenchError: it was not said.
    """
    found = next((match for match in map(LOADED.search, said) if match), None)
    if found is None:
        raise BenchError(f"{PERF_TEST} did not say how long loading took: {last_of(said)}")
    return round(float(found.group(1)) * 1e9)


def no_energy() -> dict[str, Any]:
    """In the runner's form."""
    sensor, _ = first_that_answers(["none"])
    return energy_report(Window(sensor), None, [NO_ENERGY])
