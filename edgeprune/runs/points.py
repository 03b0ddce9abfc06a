"""The networks that a run or a search with a largest drop tried: max_drop.json, and a folder of each in points/N."""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from edgeprune.files.writing import written_aside
from edgeprune.processes.distributed import world
from edgeprune.records.max_drop import MaxDropRecord
from edgeprune.runs.run import Run

FILE = "max_drop.json"
FOLDER = "points"


def read_max_drop(folder: Path) -> MaxDropRecord | None:
    """Return what `write_max_drop` wrote; None for a folder of a run or a search that tried no networks.

    Raises:
        RunError: the file is damaged.
    """
    path = folder / FILE
    return MaxDropRecord.read(path) if path.is_file() else None


def write_max_drop(folder: Path, record: MaxDropRecord) -> None:
    """Write max_drop.json."""
    if world().is_main:
        record.write(folder / FILE)
    world().wait()


def runs_of_points(run: Run) -> Iterator[Run]:
    """Yield the runs of the networks that were tried, in order."""
    record = read_max_drop(run.path)
    for point in record.points if record else ():
        yield Run.open(run.path / point.run)


def adopt(folder: Path, point: Path, names: Iterable[str]) -> None:
    """Copy files of the network that was chosen into the folder of the whole.

    Args:
        folder: of the run or the search.
        point: the folder of the network.
        names: of the files; those that are missing are left out.
    """
    if world().is_main:
        for name in names:
            if (point / name).is_file():
                with written_aside(folder / name) as aside:
                    shutil.copyfile(point / name, aside)
    world().wait()
