"""Options of a measurement, checked before anything is measured. Nothing heavy is imported."""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.errors import BenchError
from edgeprune.options.bounds import CELSIUS, IMAGES_PER_BATCH, LASTING, SECONDS, THREADS
from edgeprune.options.checks import Count, seconds_of
from edgeprune.options.fields import check_fields, option

if TYPE_CHECKING:
    from edgeprune.devices import Device

ROUND_S = 1.0  # long enough that a round's median is steady, short enough that drift within a pair is small
MIN_ROUNDS = 8  # with fewer pairs a bootstrap interval holds the truth less often than it says
MAX_ROUNDS = 20
LASTING_ROUND_S = 10.0  # of a sustained measurement: a board cools down between rounds, so that there are few
MIN_LASTING_ROUNDS = 24  # whose last third still gives an interval


@dataclass(frozen=True)
class BenchOptions:
    """One measurement.

    Raises:
        BenchError: a number that cannot be measured with; names the field.
    """

    device: "Device"
    batch: int = option(1, "Run this many images per inference.", "measurement", IMAGES_PER_BATCH, main=True)
    threads: int | None = option(
        None,
        "Use this many threads of the runtime.",
        "measurement",
        THREADS,
        main=True,
        unset="all physical cores",
    )
    seconds: float = option(
        10.0,
        "Time each model for this long; loading and warm-up come on top.",
        "measurement",
        SECONDS,
        main=True,
    )
    sustained: str | None = option(
        None,
        "Keep the device under load for this long, both models in turn, as 30m or 1h: its course minute by minute, and "
        "all numbers of the steady state. Takes the place of --seconds.",
        "measurement",
        LASTING,
        metavar="TIME",
    )
    cool_to: float | None = option(
        None,
        "Wait before each round until the warmest zone of the device has cooled down to this, in degrees Celsius.",
        "measurement",
        CELSIUS,
    )
    rounds: int | None = option(
        None, "Split the time into this many rounds per model.", "measurement", Count(2, 10_000), typed=False
    )
    models: int = option(2, "Measure this many models in turn.", "measurement", Count(1, 2), typed=False)
    host: str | None = option(None, "Reach the device there, as user@board.", "target", typed=False)

    def __post_init__(self) -> None:
        check_fields(self, BenchError)
        if self.sustained is not None and self.cool_to is not None:
            raise BenchError("`sustained` keeps the device warm and `cool_to` cool: leave one of them out")

    @property
    def model_seconds(self) -> float:
        """Timed seconds of each model."""
        return self.seconds if self.sustained is None else seconds_of(self.sustained) / self.models

    @property
    def round_count(self) -> int:
        """Rounds per model."""
        if self.rounds or self.sustained is None:
            return self.rounds or rounds_for(self.seconds)
        return max(MIN_LASTING_ROUNDS, 2 * round(self.model_seconds / LASTING_ROUND_S / 2))

    @property
    def round_seconds(self) -> float:
        """Timed seconds of one round."""
        return self.model_seconds / self.round_count


def rounds_for(seconds: float) -> int:
    """Return an even number within the limits, about one per ``ROUND_S``: each model goes first as often."""
    even = 2 * round(seconds / ROUND_S / 2)
    return max(MIN_ROUNDS, min(MAX_ROUNDS, even))


def schedule(rounds: int, names: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the order within each pair: AB BA AB BA ..., so that a steady drift favours neither; A A for one model.

    >>> schedule(2, ("a", "b"))
    [('a', 'b'), ('b', 'a')]

    Args:
        rounds: number of pairs.
        names: of both models, or of one.
    """
    return [names if index % 2 == 0 else names[::-1] for index in range(rounds)]


def check_writable(path: Path) -> None:
    """Write a file beside ``path`` and remove it, so that a long measurement is not made for nothing.

    Raises:
        BenchError: the place cannot be written, or ``path`` is a folder.
    """
    from edgeprune.files.paths import explain_os_error, is_stream, link_target, part_name

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
