"""The folder of a search: the only place that knows its file names.

search.json     the options
baseline/       a run folder that ends with the baseline
study.db        the evaluated policies, unless a storage was named (search.json has its URL without secrets)
result.json     the results so far
plan.json       the best policy, as train-prune's --plan takes it
*.png           plots
max_drop.json   the networks that were tried with a largest drop
points/N/       a search's folder for each of them
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeprune.errors import RunError
from edgeprune.files.paths import check_links
from edgeprune.files.writing import write_json
from edgeprune.records import check, read_record
from edgeprune.records.trust import check_options
from edgeprune.runs.folders import Kind
from edgeprune.runs.points import FILE as MAX_DROP
from edgeprune.runs.points import FOLDER as POINTS
from edgeprune.runs.run import RUN, Run
from edgeprune.search.options import SearchOptions
from edgeprune.train_prune.options import TrainPruneOptions

SCHEMA = 1
OPTIONS_FILE = "search.json"
_ALONE = Kind(
    "search's folder",
    OPTIONS_FILE,
    (
        OPTIONS_FILE, "result.json", "plan.json", "study.db", "study.db-journal", "study.db-wal", "study.db-shm",
        "ratios.png", "front.png", "progress.png", "dendrogram.png", "report.html", *RUN.within("baseline"),
    ),
)  # fmt: skip
SEARCH = replace(_ALONE, own=(*_ALONE.own, MAX_DROP, *_ALONE.within(f"{POINTS}/*")))


class SearchFolder:
    """The folder of one search."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.baseline = self.path / "baseline"
        self.result = self.path / "result.json"
        self.plan = self.path / "plan.json"

    @property
    def storage(self) -> str:
        """The URL of the folder's own study."""
        return f"sqlite:///{(self.path / 'study.db').absolute()}"

    @property
    def has_policies(self) -> bool:
        """Whether policies were evaluated, for one target or for one of several."""
        return self.plan.exists() or any((self.path / POINTS).glob(f"*/{self.plan.name}"))

    def point(self, number: int) -> "SearchFolder":
        """Return the folder of one of the networks that are tried with a largest drop, by its number from 1."""
        return SearchFolder(self.path / POINTS / str(number))

    def picture(self, name: str) -> Path:
        """Return the path of a plot."""
        return self.path / f"{name}.png"

    @classmethod
    def open(cls, path: str | Path) -> "SearchFolder":
        """Open the folder of an existing search; raises RunError when ``path`` is not one."""
        folder = cls(path)
        if not folder.path.exists():
            raise RunError(f"no such search: {path}; leave --resume out to begin it")
        if not (folder.path / OPTIONS_FILE).is_file():
            raise RunError(f"{path} is not a search's folder (no {OPTIONS_FILE} of edgeprune's in it)")
        check_links(folder.path)
        return folder

    def run(self) -> Run:
        """Return the baseline's run folder."""
        return Run.open(self.baseline)

    def write_options(self, options: dict[str, Any], storage: str | None) -> None:
        """Write the options, which make the folder a search's."""
        write_json(self.path / OPTIONS_FILE, {"schema": SCHEMA, "storage": storage, **options})

    def read_options(self) -> tuple[SearchOptions, str]:
        """Read the options and the storage's URL; raises RunError when the file is of another version."""
        stored = read_record(
            self.path / OPTIONS_FILE,
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
                f"{self.path / OPTIONS_FILE} is of another version of edgeprune, or was edited ({error}): "
                "start another search"
            ) from error
        check(
            options.training, TrainPruneOptions, f"{self.path / OPTIONS_FILE} training", hint="was it edited?"
        )
        check_options(options.training, self.path)
        return options, storage


def latest_search(runs: Path) -> Path:
    """Return the folder of the search under ``runs`` that was begun last."""
    option_files = sorted(runs.glob(f"*/{OPTIONS_FILE}"), key=lambda path: path.stat().st_mtime_ns)
    if not option_files:
        raise RunError(f"no search under {runs}/ to go on with: name its folder with --out")
    return option_files[-1].parent
