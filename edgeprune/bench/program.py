"""What a runtime's own benchmark program is asked and gives, on a phone without a Python.

A program is started anew for each round. What it does not give stays None, with the reason.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from edgeprune.bench.process import last_line
from edgeprune.errors import BenchError

FLOAT = r"[\d.]+(?:e[+-]?\d+)?"
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Start:
    """One start of a program.

    Attributes:
        folder: on the phone, with the program in it.
        model: what was sent of the model, on the phone.
        path: of the model's file here.
        threads: of the runtime.
        batch: images per inference.
        seconds: of timed inference.
        runs: timed inferences, for a program that counts them.
    """

    folder: str
    model: str
    path: Path
    threads: int
    batch: int
    seconds: float
    runs: int


@dataclass(frozen=True)
class Timing:
    """What a program printed.

    Attributes:
        samples_ns: of single inferences; or the one value that sums them up, if there is a ``summary``.
        load_ns: that loading took; None where the program does not tell.
        warm_up: inferences that are in no sample, with their seconds; None where the program does not tell.
        summary: number of inferences, what the one value is of them, their mean, and why there are no others.
        quiet_ns: of an inference that nothing disturbed, by the fastest ones.
        delegate: what computed, in the program's words; None where it does not tell.
        warnings: what a reader of these times should know, by code.
    """

    samples_ns: list[int]
    load_ns: int | None = None
    warm_up: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None
    quiet_ns: float = 0.0
    delegate: str | None = None
    warnings: Mapping[str, str] = field(default_factory=dict)

    @property
    def window_s(self) -> float:
        """Seconds of timed inference."""
        if self.summary is not None:
            return float(self.summary["runs"] * self.summary["mean_ns"] / 1e9)
        return sum(self.samples_ns) / 1e9

    @property
    def mean_ns(self) -> float:
        """The mean of all timed inferences."""
        if self.summary is not None:
            return float(self.summary["mean_ns"])
        return sum(self.samples_ns) / len(self.samples_ns)


def first_match(pattern: "re.Pattern[str]", lines: Iterable[str]) -> "re.Match[str] | None":
    """Return the first match of a pattern in some lines; None without one."""
    return next((match for match in map(pattern.search, lines) if match), None)


class BenchProgram(ABC):
    """A program that runs and times the files of one runtime.

    Class attributes:
        name: of the program's file.
        runtime: of the runner, whose files it takes.
        libraries: that are pushed beside it.
        origin: where the program comes from, for messages.
        counts_runs: whether it is told a number of inferences, and not for how long.
        no_memory: why there is no memory.
    """

    name: ClassVar[str]
    runtime: ClassVar[str]
    libraries: ClassVar[tuple[str, ...]] = ()
    origin: ClassVar[str]
    counts_runs: ClassVar[bool] = False
    no_memory: ClassVar[str]

    def sent(self, path: Path, folder: Path) -> Path:  # noqa: ARG002
        """Return the file that the program takes of a model's file.

        Args:
            path: of the model's file.
            folder: for what is made of it.
        """
        return path

    def version_script(self) -> str:
        """Return the script of ``sh`` that prints the version, or a digest of the program, in its folder."""
        return f"sha256sum {self.name} 2> /dev/null | head -c 12"

    def version(self, printed: str) -> str:
        """Return the version from what that script printed."""
        return f"{UNKNOWN} ({self.name}{f', sha256 {printed}' if printed else ''})"

    def feed_of(self, path: Path, batch: int) -> dict[str, list[int]]:
        """Return {input: shape} of what the program makes up; nothing where the file does not tell.

        Args:
            path: of the model's file.
            batch: images per inference.

        Raises:
            BenchError: the program cannot feed that.
        """
        if batch != 1:
            raise BenchError(
                f"{path.name} has a batch of 1, and {self.name} takes that: leave --batch {batch} out"
            )
        return {}

    @abstractmethod
    def command(self, start: Start) -> str:
        """Return the command that runs it, in its folder."""

    @abstractmethod
    def timing(self, output_lines: Sequence[str], start: Start) -> Timing:
        """Read what it printed.

        Args:
            output_lines: of standard output and error.
            start: what it was asked.

        Raises:
            BenchError: that is not what this program prints.
        """

    def no_times(self, output_lines: Sequence[str]) -> BenchError:
        """Return the error for output without times, of another version or another program."""
        return BenchError(
            f"{self.name} gave no times that edgeprune knows ({last_line(output_lines)}): it may be of another "
            "version"
        )
