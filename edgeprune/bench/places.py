"""Where a measurement is kept: its result, what is known so far, and the rounds to resume from."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from msgspec import UnsetType

from edgeprune.bench.copies import changed_since
from edgeprune.bench.journal import Journal
from edgeprune.bench.options import BenchOptions, check_writable
from edgeprune.files.paths import explained, is_stream
from edgeprune.records.bench import BenchResult


@dataclass(frozen=True)
class Places:
    """The files of one measurement.

    Attributes:
        paths: of the result: in the folder of what is measured, where the user says, or both.
    """

    paths: tuple[Path, ...]

    @classmethod
    def of(cls, folder: Path | None, label: str, json_path: str | Path | None) -> "Places":
        """Return the places of a measurement, all of which can be written.

        Args:
            folder: of what is measured; None where nothing keeps it.
            label: of the device, the runtime and the precision, which the file in ``folder`` is named after.
            json_path: a second place.

        Raises:
            BenchError: one cannot be written.
        """
        inside = () if folder is None else (folder / "bench" / f"{label}.json",)
        places = cls(inside if json_path is None else (*inside, Path(json_path)))
        for path in places.paths:
            check_writable(path)
        return places

    @property
    def kept(self) -> Path | None:
        """The first that is a file, beside which the measurement in progress is kept."""
        return next((path for path in self.paths if not is_stream(path)), None)

    @property
    def partial(self) -> Path | None:
        """The file of what is known so far."""
        return self.kept and self.kept.with_name(f"{self.kept.name}.partial")

    @property
    def saving(self) -> Callable[[BenchResult], None] | None:
        """What writes the result so far; None where nothing keeps it."""
        partial = self.partial
        return None if partial is None else lambda so_far: so_far.write(partial)

    @property
    def begun(self) -> bool:
        """Whether there are rounds of a measurement in progress."""
        kept = self.kept
        return kept is not None and _rounds_beside(kept).is_file()

    def finished(self, options: BenchOptions, *, scored: bool) -> BenchResult | None:
        """Return the complete result of these options and of the files as they are now; None where there is none.

        Args:
            options: of the measurement.
            scored: whether it is to have scores on test images.

        Raises:
            RunError: the result's file is damaged.
        """
        if self.begun or self.kept is None or not self.kept.is_file():
            return None
        result = BenchResult.read(self.kept)
        settings, seconds = result.settings, options.model_seconds
        has_scores = not isinstance(result.metric, UnsetType)
        same = (settings.batch, settings.seconds, result.sustained is None, has_scores) == (
            options.batch, seconds, options.sustained is None, scored,
        )  # fmt: skip
        same = same and options.threads in (None, settings.threads)
        files = {name: Path(model.file) for name, model in result.models.items()}
        changed = changed_since(files, {name: model.sha256 for name, model in result.models.items()})
        return result if result.complete and same and not changed else None

    def journal(self, resume: bool, *, or_anew: bool = False) -> Journal | None:
        """Return the file of rounds, to start or to continue; None where nothing keeps it.

        Args:
            resume: continue it.
            or_anew: see `Journal`.
        """
        kept = self.kept
        return None if kept is None else Journal(_rounds_beside(kept), resume, or_anew=or_anew)

    def publish(self, result: BenchResult, journal: Journal | None) -> None:
        """Write a complete result to all places, and remove what is kept of the measurement in progress."""
        for path in self.paths:
            result.write(path)
        if self.partial and journal:
            with explained(self.partial):
                self.partial.unlink(missing_ok=True)
            journal.drop()


def _rounds_beside(kept: Path) -> Path:
    """Return the file of rounds that belongs to a result's."""
    return kept.with_name(f"{kept.stem}.rounds.jsonl")
