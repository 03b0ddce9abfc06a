"""The folder of a search: the only place that knows its file names.

search.json     what was asked
baseline/       a run folder that ends with the baseline
study.db        the evaluated policies, unless a storage was named (search.json has its URL without secrets)
result.json     what came out so far
plan.json       the best policy, as train-prune's --plan takes it
*.png           pictures
"""

from pathlib import Path
from typing import Any

from edgeprune.errors import RunError
from edgeprune.files.paths import check_links
from edgeprune.files.writing import write_json
from edgeprune.records import check, read_record
from edgeprune.records.trust import check_options
from edgeprune.runs.folders import Kind
from edgeprune.runs.run import RUN, Run
from edgeprune.search.options import SearchOptions
from edgeprune.train_prune.options import TrainPruneOptions

SCHEMA = 1
ASKED = "search.json"
SEARCH = Kind(
    "search's folder",
    ASKED,
    (
        ASKED, "result.json", "plan.json", "study.db", "study.db-journal", "study.db-wal", "study.db-shm",
        "ratios.png", "front.png", "progress.png", "dendrogram.png", *RUN.within("baseline"),
    ),
)  # fmt: skip


class Folder:
    """One search on disk."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.baseline = self.path / "baseline"
        self.result = self.path / "result.json"
        self.plan = self.path / "plan.json"

    @property
    def storage(self) -> str:
        """The URL of the folder's own study."""
        return f"sqlite:///{(self.path / 'study.db').absolute()}"

    def picture(self, name: str) -> Path:
        """Where a picture goes."""
        return self.path / f"{name}.png"

    @classmethod
    def open(cls, path: str | Path) -> "Folder":
        """An existing one; raises RunError when ``path`` is none."""
        folder = cls(path)
        if not folder.path.exists():
            raise RunError(f"no such search: {path}; leave --resume out to begin it")
        if not (folder.path / ASKED).is_file():
            raise RunError(f"{path} is not a search's folder (no {ASKED} of edgeprune's in it)")
        check_links(folder.path)
        return folder

    def run(self) -> Run:
        """The baseline's run folder."""
        return Run.open(self.baseline)

    def keep(self, asked: dict[str, Any], storage: str | None) -> None:
        """Write what was asked; with it the folder is a search's."""
        write_json(self.path / ASKED, {"schema": SCHEMA, "storage": storage, **asked})

    def asked(self) -> tuple[SearchOptions, str]:
        """What was asked, and the storage; raises RunError when the file is of another version."""
        stored = read_record(
            self.path / ASKED,
            SearchOptions,
            schema=SCHEMA,
            hint="it is of another version of edgeprune, or was edited: start another search",
        )
        stored.pop("schema")
        try:
            storage = stored.pop("storage") or self.storage
            options = SearchOptions(**stored)
        except (AttributeError, KeyError, TypeError) as error:
            raise RunError(
                f"{self.path / ASKED} is of another version of edgeprune, or was edited ({error}): "
                "start another search"
            ) from error
        check(options.training, TrainPruneOptions, f"{self.path / ASKED} training", hint="was it edited?")
        check_options(options.training, self.path)
        return options, storage


def latest_search(runs: Path) -> Path:
    """The search under ``runs`` that was asked for last."""
    found = sorted(runs.glob(f"*/{ASKED}"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise RunError(f"no search under {runs}/ to go on with: name its folder with --out")
    return found[-1].parent
