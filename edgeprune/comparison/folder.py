"""The folder of a comparison: the only place that knows its file names.

compare.json     the options
baseline/        a run folder that ends with the baseline (not with --moments)
rows/NAME/       a run folder for each row
rows/NAME.txt    the traceback of a row that failed because of a bug
attempts.jsonl   the beginning and end of each row, one JSON object a line
result.json      the results so far
accuracy.png     accuracy over FLOPs
"""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeprune.comparison.options import CompareOptions
from edgeprune.errors import RunError
from edgeprune.files.paths import check_links, explained
from edgeprune.files.writing import append_line, write_bytes, write_json
from edgeprune.records import check, good_lines, read_record
from edgeprune.records.checking import read_value
from edgeprune.records.comparison import AttemptLine
from edgeprune.records.trust import check_options
from edgeprune.runs.folders import Kind, check_folder_free, folder_aside
from edgeprune.runs.run import RUN
from edgeprune.train_prune.options import TrainPruneOptions

SCHEMA = 1
OPTIONS_FILE = "compare.json"
COMPARISON = Kind(
    "comparison's folder",
    OPTIONS_FILE,
    (
        OPTIONS_FILE, "attempts.jsonl", "result.json", "accuracy.png", "rows/*.txt",
        *RUN.within("baseline"), *RUN.within("rows/*"),
    ),
)  # fmt: skip


class ComparisonFolder:
    """The folder of one comparison. `create` makes a new one, `open` opens an existing one."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.baseline = self.path / "baseline"
        self.result = self.path / "result.json"
        self.plot = self.path / "accuracy.png"

    @classmethod
    def open(cls, path: str | Path) -> "ComparisonFolder":
        """Open the folder of an existing comparison; raises RunError when ``path`` is not one."""
        folder = cls(path)
        if not folder.path.exists():
            raise RunError(f"no such comparison: {path}; leave --resume out to begin it")
        if not (folder.path / OPTIONS_FILE).is_file():
            raise RunError(f"{path} is not a comparison's folder (no {OPTIONS_FILE} of edgeprune's in it)")
        check_links(folder.path)
        return folder

    @classmethod
    @contextmanager
    def create(
        cls, path: str | Path, options: CompareOptions, *, force: bool, storage: str | None = None
    ) -> Iterator["ComparisonFolder"]:
        """Create a new folder beside ``path``, renamed to it when the block ends without an error.

        Args:
            path: of the folder.
            options: of the comparison.
            force: replace a comparison at ``path``.
            storage: URL of the storage that workers share, without secrets.

        Raises:
            RunError: something else is at ``path``, or a comparison and ``force`` is off.
        """
        with folder_aside(Path(path), COMPARISON, force=force, inputs=options.inputs) as aside:
            write_json(aside / OPTIONS_FILE, {"schema": SCHEMA, "storage": storage, **asdict(options)})
            yield cls(aside)

    @classmethod
    def check_free(cls, path: Path, *, force: bool, inputs: Iterable[str | None] = ()) -> None:
        """Raise RunError unless `create` can create a comparison at ``path``; changes nothing.

        Args:
            path: of the folder.
            force: allow replacing a comparison.
            inputs: paths that are read, which must not be in the folder.
        """
        check_folder_free(path, COMPARISON, force=force, inputs=inputs)

    def read_options(self) -> CompareOptions:
        """Read the options; raises RunError when the file is of another version or was edited."""
        stored = read_record(
            self.path / OPTIONS_FILE,
            CompareOptions,
            schema=SCHEMA,
            hint="it is of another version of edgeprune, or was edited: start another comparison",
        )
        stored.pop("schema")
        stored.pop("storage", None)
        try:
            stored |= {name: tuple(stored[name]) for name in ("methods", "moments")}
            options = CompareOptions(**stored)
        except (AttributeError, KeyError, TypeError) as error:
            raise RunError(
                f"{self.path / OPTIONS_FILE} is of another version of edgeprune, or was edited ({error}): "
                "start another comparison"
            ) from error
        check(
            options.training, TrainPruneOptions, f"{self.path / OPTIONS_FILE} training", hint="was it edited?"
        )
        check_options(options.training, self.path)
        return options

    def read_storage(self) -> str | None:
        """Read the URL of the storage that workers share, without secrets; None where they share none."""
        storage = read_value(self.path / OPTIONS_FILE).get("storage")
        return storage if isinstance(storage, str) else None

    def write_storage(self, storage: str) -> None:
        """Write another URL of the storage, without secrets."""
        write_json(self.path / OPTIONS_FILE, {**read_value(self.path / OPTIONS_FILE), "storage": storage})

    def row(self, name: str) -> Path:
        """Return the run folder of a row."""
        return self.path / "rows" / name

    def drop_baseline(self) -> None:
        """Delete the baseline, where the rows do not need one."""
        with explained(self.baseline):
            shutil.rmtree(self.baseline)

    def keep_traceback(self, name: str, text: str) -> None:
        """Write the traceback of a bug that stopped a row."""
        write_bytes(self.row(f"{name}.txt"), text.encode())

    def log(self, name: str, event: str, **more: Any) -> None:
        """Log an event of a row or of the baseline.

        Args:
            name: of the row, or "baseline".
            event: "began", "ended" or "measured".
            more: further fields of the event.
        """
        append_line(self.path / "attempts.jsonl", {"row": name, "event": event, **more})

    def attempts(self, name: str) -> list[dict[str, Any]]:
        """Return all events of a row so far, oldest first."""
        return [line for line in good_lines(self.path / "attempts.jsonl", AttemptLine) if line["row"] == name]


def latest_comparison(runs: Path) -> Path:
    """Return the folder of the comparison under ``runs`` that was begun last."""
    option_files = sorted(runs.glob(f"*/{OPTIONS_FILE}"), key=lambda path: path.stat().st_mtime_ns)
    if not option_files:
        raise RunError(f"no comparison under {runs}/ to go on with: name its folder with --out")
    return option_files[-1].parent
