"""ExecuTorch's ``executor_runner``: the time of each inference, or of all together in versions before it told each.

Formats: examples/portable/executor_runner/executor_runner.cpp; inputs are ones.
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from edgeprune_target.undisturbed import undisturbed

from edgeprune.bench.program import FLOAT, BenchProgram, Start, Timing, first_match
from edgeprune.errors import BenchError

EACH = re.compile(rf"Iteration (\d+) of \d+: ({FLOAT}) ms")
ALL = re.compile(rf"Model executed successfully (\d+) time\(s\) in ({FLOAT}) ms")
LOADED = re.compile(rf"Model loaded in ({FLOAT}) ms")
UNTIMED = "Model executed successfully."
NO_SINGLES = "this executor_runner tells the time of all inferences together, the slow first one included"
COLD = 2  # inferences that are left out: the first allocates


class ExecutorRunner(BenchProgram):
    """Runs .pte files, with the backends that it was built with."""

    name: ClassVar[str] = "executor_runner"
    runtime: ClassVar[str] = "executorch"
    origin: ClassVar[str] = "of ExecuTorch, built for Android with the XNNPACK backend"
    counts_runs: ClassVar[bool] = True
    no_memory: ClassVar[str] = "executor_runner tells no memory"

    def command(self, start: Start) -> str:
        """Return the command, which has some inferences more than are counted."""
        return (
            f"./{self.name} --model_path={start.model} --num_executions={start.runs + COLD} "
            f"--cpu_threads={start.threads}"
        )

    def timing(self, output_lines: Sequence[str], start: Start) -> Timing:  # noqa: ARG002
        """Read the time of each inference; where there are none, that of all.

        Args:
            output_lines: of the program.
            start: what it was asked.

        Raises:
            BenchError: it tells no times, as older versions do, or prints something else.
        """
        each = [round(float(match.group(2)) * 1e6) for match in map(EACH.search, output_lines) if match]
        total = first_match(ALL, output_lines)
        loaded = first_match(LOADED, output_lines)
        load_ns = None if loaded is None else round(float(loaded.group(1)) * 1e6)
        if len(each) > COLD:
            cold, samples = each[:COLD], each[COLD:]
            return Timing(
                samples,
                load_ns=load_ns,
                warm_up={"runs": COLD, "seconds": sum(cold) / 1e9},
                quiet_ns=undisturbed(samples),
            )
        if total is None and any(UNTIMED in line for line in output_lines):
            raise BenchError(f"this {self.name} tells no times: build that of a newer ExecuTorch")
        if total is None or float(total.group(2)) <= 0:
            raise self.no_times(output_lines)
        runs, mean_ns = int(total.group(1)), float(total.group(2)) * 1e6 / int(total.group(1))
        summary = {"runs": runs, "value": "mean", "mean_ns": mean_ns, "reason": NO_SINGLES}
        return Timing([round(mean_ns)], load_ns=load_ns, summary=summary, quiet_ns=mean_ns)
