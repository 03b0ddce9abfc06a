"""Measure on a phone without a Python: a runtime's own benchmark program takes the runner's place."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune_target.__main__ import parser
from edgeprune_target.errors import TargetError
from edgeprune_target.scratch import scratch_folder
from edgeprune_target.sensors import first_available
from edgeprune_target.state import WATCH_S
from edgeprune_target.window import Window, energy_report

from edgeprune.backends import runtimes
from edgeprune.bench.adb import AdbTransport
from edgeprune.bench.executorch_program import ExecutorRunner
from edgeprune.bench.litert_program import BenchmarkModel
from edgeprune.bench.ncnn_program import BenchNcnn
from edgeprune.bench.perf_test import PerfTest
from edgeprune.bench.phone import fingerprint, state_of, tree_of
from edgeprune.bench.process import OnEvent, ignore_event
from edgeprune.bench.program import BenchProgram, Start, Timing
from edgeprune.errors import BenchError

PROGRAMS: tuple[BenchProgram, ...] = (PerfTest(), BenchmarkModel(), ExecutorRunner(), BenchNcnn())
NO_ENERGY = "a phone's battery gauge answers too seldom, in units that differ by maker: no energy"
NO_PYTHON = "it needs a Python on the phone"
FIRST_RUNS = 8  # of a program that counts inferences: how many fill a round is known from them
MOST_RUNS = 100_000
QUICK_S = 0.1  # of each start where several small models are timed
PASSES = 2


class ProgramTransport:
    """Answers the runner's verbs, as far as the programs can that lie in the phone's folder."""

    def __init__(self, phone: AdbTransport) -> None:
        """Wrap ``phone``, which has been inspected and has a program in its folder."""
        self.phone = phone
        self.name = phone.name
        self.sent: dict[str, Path] = {}
        self.versions: dict[str, str | None] = {}
        self._inference_ns: dict[str, float] = {}

    @property
    def why_no_accuracy(self) -> str:
        """Why nothing is scored there."""
        names = ", ".join(program.name for program in programs_on(self.phone))
        return f"{names}: times alone; an accuracy needs a Python on the phone"

    def send(self, path: Path) -> str:
        """Send what a program takes of a file to the phone's folder; return its path there."""
        with scratch_folder() as folder:
            program = _program_of(path)
            try:
                file = path if program is None else program.sent(path, Path(folder))
            except TargetError as error:
                raise BenchError(str(error)) from error
            remote = self.phone.send(file)
        self.sent[remote] = path
        return remote

    def remove(self, remote: str) -> None:
        """Delete a file from the phone's folder."""
        self.phone.remove(remote)

    def call(self, verb: str, arguments: Sequence[str], _on_event: OnEvent = ignore_event) -> Any:
        """Answer the verbs ``probe``, ``measure`` and ``times``.

        Args:
            verb: of the runner's command line.
            arguments: after the verb.

        Raises:
            BenchError: the program is missing or failed, or cannot do what the verb needs.
        """
        if verb == "probe":
            return self.probe()
        options = parser().parse_args([verb, *arguments])
        program = self._program(getattr(options, "runtime", ""))
        if verb == "measure":
            if options.cool_to is not None:
                raise BenchError(
                    f"{program.name} begins at once: for --cool-to there must be a Python on the phone"
                )
            return self.measure(program, options)
        if verb == "times":
            return {"times_ms": self.times_ms(program, options)}
        raise BenchError(f"{program.name} gives times alone: for {verb} there must be a Python on the phone")

    def probe(self) -> dict[str, Any]:
        """Return what the phone is, with the version of each program, and what would bring the others."""
        answer = fingerprint(self.phone, programs_on(self.phone))
        self.versions = answer["runtimes"]
        reasons = dict.fromkeys(runtimes(), NO_PYTHON)
        reasons |= {program.runtime: push(self.phone, program) for program in PROGRAMS}
        return {**answer, "runtime_reasons": reasons}

    def measure(self, program: BenchProgram, options: Any) -> dict[str, Any]:
        """Measure one round, and return it in the runner's form.

        Args:
            program: of the runtime.
            options: of the verb.
        """
        path = self.sent[options.model]
        feed = program.feed_of(path, options.batch)
        before = self.state()
        timing = self._timing(program, options.model, options, options.seconds)
        after = self.state()
        return {
            "model": options.model,
            "runtime": options.runtime,
            "versions": {program.runtime: self.versions.get(program.runtime)},
            "batch": options.batch,
            "threads": options.threads,
            "feed": feed,
            "load_ns": timing.load_ns,
            "warm_up": timing.warm_up,
            "window_s": timing.window_s,
            "samples_ns": timing.samples_ns,
            "summary": timing.summary,
            "engine": {"program": program.name, "delegate": timing.delegate},
            "engine_warnings": [{"code": code, "message": text} for code, text in timing.warnings.items()],
            "memory_peak_bytes": None,
            "memory_reason": program.no_memory,
            "energy": no_energy(),
            "uses_gpu": False,
            "before": before,
            "watched": {"gpu_hz": [], "warmest_c": {}, "period_s": WATCH_S},
            "after": after,
        }

    def times_ms(self, program: BenchProgram, options: Any) -> list[float]:
        """Return what each model takes while nothing disturbs it, ms: the best of a few passes over all.

        Args:
            program: of the runtime.
            options: of the verb.
        """
        best = [math.inf] * len(options.models)
        for _ in range(PASSES):
            for number, model in enumerate(options.models):
                timing = self._timing(program, model, options, QUICK_S)
                best[number] = min(best[number], timing.quiet_ns / 1e6)
        return best

    def state(self) -> dict[str, Any]:
        """Return the phone's clocks, temperatures and memory, read from copies of its files."""
        with scratch_folder() as folder:
            return state_of(tree_of(self.phone, Path(folder)))

    def _timing(self, program: BenchProgram, model: str, options: Any, seconds: float) -> Timing:
        """Start a program for a model; one that counts inferences first, to learn how many fill the time."""
        if program.counts_runs and model not in self._inference_ns:
            self._inference_ns[model] = self._started(program, model, options, seconds, FIRST_RUNS).mean_ns
        runs = FIRST_RUNS
        if model in self._inference_ns:
            runs = min(MOST_RUNS, max(FIRST_RUNS, math.ceil(seconds * 1e9 / self._inference_ns[model])))
        return self._started(program, model, options, seconds, runs)

    def _started(self, program: BenchProgram, model: str, options: Any, seconds: float, runs: int) -> Timing:
        start = Start(
            self.phone.folder, model, self.sent[model], options.threads, options.batch, seconds, runs
        )
        script = f"cd {start.folder} && chmod 755 {program.name} || exit\n{program.command(start)} 2>&1"
        return program.timing(self.phone.run(script, f"running {program.name} on {self.name}"), start)

    def _program(self, runtime: str) -> BenchProgram:
        here = {program.runtime: program for program in programs_on(self.phone)}
        if runtime in here or not runtime:
            return here.get(runtime) or next(iter(here.values()))
        raise BenchError(f"{self.name} has no program that runs {runtime}: it has {', '.join(here)}")


def programs_on(phone: AdbTransport) -> list[BenchProgram]:
    """Return the programs that lie in a phone's folder."""
    return [program for program in PROGRAMS if program.name in phone.files]


def push(phone: AdbTransport, program: BenchProgram) -> str:
    """Return what to do for a program that a phone lacks.

    Args:
        phone: that was inspected.
        program: that is missing.
    """
    return f"push {program.name} {program.origin}: {phone.push_command([program.name, *program.libraries])}"


def no_program(phone: AdbTransport) -> str:
    """Return the message for a phone with neither a Python nor a program."""
    others = ", ".join(f"{program.name} ({program.runtime})" for program in PROGRAMS[1:])
    first = PROGRAMS[0]
    return (
        f"{phone.name} has neither a Python nor {first.name}, nor {others}: push one of these programs, as in: "
        f"{phone.push_command([first.name, *first.libraries])}"
    )


def _program_of(path: Path) -> BenchProgram | None:
    """Return the program that takes a part of such a file; None where files go as they are."""
    return next((program for program in PROGRAMS if path.name.endswith(f".{program.runtime}.zip")), None)


def no_energy() -> dict[str, Any]:
    """Return an energy report in the runner's form, without an energy."""
    sensor, _ = first_available(["none"])
    return energy_report(Window(sensor), None, [NO_ENERGY])
