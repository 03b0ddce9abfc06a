"""Options of a measurement, validated before anything is measured."""

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

from edgeprune.devices import Device
from edgeprune.errors import BenchError
from edgeprune.files.paths import explain_os_error, is_stream, link_target, part_name
from edgeprune.options.bounds import check_count, check_quantity

ROUND_S = 1.0  # long enough that a round's median is steady, short enough that drift within a pair is small
MIN_ROUNDS = 8  # with fewer pairs a bootstrap interval holds the truth less often than it says
MAX_ROUNDS = 20


@dataclass(frozen=True)
class BenchOptions:
    """One measurement.

    Attributes:
        device: profile of the device.
        batch: images per inference.
        threads: of the runtime; None for all physical cores that the process may use on the device.
        seconds: of timed inference per model, over all rounds; loading and warm-up are extra.
        rounds: per model; None derives them from ``seconds``.
        host: how the device is reached, as in ``user@board``; None where it is this machine.

    Raises:
        BenchError: a number is out of range.
    """

    device: Device
    batch: int = 1
    threads: int | None = None
    seconds: float = 10.0
    rounds: int | None = None
    host: str | None = None

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise BenchError(f"--batch is {self.batch}: give 1 or more images per inference")
        if self.threads is not None and self.threads < 1:
            raise BenchError(
                f"--threads is {self.threads}: give 1 or more, or leave it out for all physical cores"
            )
        if not (self.seconds > 0 and math.isfinite(self.seconds)):
            raise BenchError(
                f"--seconds is {self.seconds:g}: give the time to measure each model for, such as 10"
            )
        for name in ("batch", "threads"):
            if (value := getattr(self, name)) is not None:
                check_count(name, value, BenchError)
        check_quantity("seconds", self.seconds, BenchError)
        if self.rounds is not None and self.rounds < 2:
            raise BenchError(f"{self.rounds} rounds cannot be paired: give 2 or more")

    @property
    def round_count(self) -> int:
        """Rounds per model."""
        return self.rounds or rounds_for(self.seconds)

    @property
    def round_seconds(self) -> float:
        """Timed seconds of one round."""
        return self.seconds / self.round_count


def rounds_for(seconds: float) -> int:
    """Return an even number within the limits, about one per ``ROUND_S``: each model goes first as often."""
    even = 2 * round(seconds / ROUND_S / 2)
    return max(MIN_ROUNDS, min(MAX_ROUNDS, even))


def schedule(rounds: int, names: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the order within each pair: AB BA AB BA ..., so that a steady drift favours neither.

    >>> schedule(2, ("a", "b"))
    [('a', 'b'), ('b', 'a')]

    Args:
        rounds: number of pairs.
        names: of both models.
    """
    return [names if index % 2 == 0 else (names[1], names[0]) for index in range(rounds)]


def check_writable(path: Path) -> None:
    """Write a file beside ``path`` and remove it, so that a long measurement is not made for nothing.

    Raises:
        BenchError: the place cannot be written, or ``path`` is a folder.
    """
    if path.is_dir():
        raise BenchError(
            f"cannot write {path}: it is a folder; give a file name, such as {path / 'bench.json'}"
        )
    if is_stream(path):
        return
    trial: Path | None = None
    try:
        target = link_target(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        trial = target.with_name(part_name(target))
        trial.write_bytes(b"{}")
    except FileExistsError as error:
        raise BenchError(
            f"cannot write {path}: a part of that path is a file; choose another place"
        ) from error
    except OSError as error:
        raise BenchError(str(explain_os_error(error, path))) from error
    finally:
        if trial is not None:
            with contextlib.suppress(OSError):
                trial.unlink(missing_ok=True)
