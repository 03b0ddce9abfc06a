"""The folder of a comparison: the only place that knows its file names.

compare.json     what was asked
baseline/        a run folder that ends with the baseline (not with --moments)
rows/NAME/       a run folder for each row
rows/NAME.txt    the traceback of a row that failed by a bug
attempts.jsonl   when a row began and ended, one JSON object a line
result.json      what came out so far
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
from edgeprune.records.comparison import AttemptLine
from edgeprune.records.trust import check_options
from edgeprune.runs.folders import Kind, check_folder_free, folder_aside
from edgeprune.runs.run import RUN
from edgeprune.train_prune.options import TrainPruneOptions

SCHEMA = 1
ASKED = "compare.json"
COMPARISON = Kind(
    "comparison's folder",
    ASKED,
    (
        ASKED, "attempts.jsonl", "result.json", "accuracy.png", "rows/*.txt",
        *RUN.within("baseline"), *RUN.within("rows/*"),
    ),
)  # fmt: skip


class Folder:
    """One comparison on disk. Make it with `create`, find it with `open`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.baseline = self.path / "baseline"
        self.result = self.path / "result.json"
        self.plot = self.path / "accuracy.png"

    @classmethod
    def open(cls, path: str | Path) -> "Folder":
        """An existing one; raises RunError when ``path`` is none."""
        folder = cls(path)
        if not folder.path.exists():
            raise RunError(f"no such comparison: {path}; leave --resume out to begin it")
        if not (folder.path / ASKED).is_file():
            raise RunError(f"{path} is not a comparison's folder (no {ASKED} of edgeprune's in it)")
        check_links(folder.path)
        return folder

    @classmethod
    @contextmanager
    def create(cls, path: str | Path, options: CompareOptions, *, force: bool) -> Iterator["Folder"]:
        """A new one, made beside ``path`` and renamed into place when the block ends without an error.

        Raises:
            RunError: there is one and ``force`` is off, or something else is there.
        """
        with folder_aside(Path(path), COMPARISON, force=force, inputs=options.inputs) as aside:
            write_json(aside / ASKED, {"schema": SCHEMA, **asdict(options)})
            yield cls(aside)

    @classmethod
    def check_free(cls, path: Path, *, force: bool, inputs: Iterable[str | None] = ()) -> None:
        """Raise RunError unless `create` may make a comparison at ``path``; nothing is changed.

        Args:
            path: of the folder.
            force: whether a comparison may be replaced.
            inputs: paths that are read: they must not lie in it.
        """
        check_folder_free(path, COMPARISON, force=force, inputs=inputs)

    def options(self) -> CompareOptions:
        """What was asked; raises RunError when the file is of another version or was edited."""
        stored = read_record(
            self.path / ASKED,
            CompareOptions,
            schema=SCHEMA,
            hint="it is of another version of edgeprune, or was edited: start another comparison",
        )
        stored.pop("schema")
        try:
            stored |= {name: tuple(stored[name]) for name in ("methods", "moments")}
            options = CompareOptions(**stored)
        except (AttributeError, KeyError, TypeError) as error:
            raise RunError(
                f"{self.path / ASKED} is of another version of edgeprune, or was edited ({error}): "
                "start another comparison"
            ) from error
        check(options.training, TrainPruneOptions, f"{self.path / ASKED} training", hint="was it edited?")
        check_options(options.training, self.path)
        return options

    def row(self, name: str) -> Path:
        """The run folder of a row."""
        return self.path / "rows" / name

    def drop_baseline(self) -> None:
        """There is to be none."""
        with explained(self.baseline):
            shutil.rmtree(self.baseline)

    def keep_traceback(self, name: str, text: str) -> None:
        """Of a bug that stopped a row."""
        write_bytes(self.row(f"{name}.txt"), text.encode())

    def log(self, name: str, event: str, **more: Any) -> None:
        """Keep that a row (or the baseline) began or ended."""
        append_line(self.path / "attempts.jsonl", {"row": name, "event": event, **more})

    def attempts(self, name: str) -> list[dict[str, Any]]:
        """All events of a row so far, oldest first."""
        return [line for line in good_lines(self.path / "attempts.jsonl", AttemptLine) if line["row"] == name]


def latest_comparison(runs: Path) -> Path:
    """The comparison under ``runs`` that was asked for last."""
    found = sorted(runs.glob(f"*/{ASKED}"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise RunError(f"no comparison under {runs}/ to go on with: name its folder with --out")
    return found[-1].parent
