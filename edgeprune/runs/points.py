"""The networks that a run with a largest drop tried: max_drop.json, and the run of each in points/N."""

import shutil
from collections.abc import Iterator

from edgeprune.files.writing import written_aside
from edgeprune.processes.distributed import world
from edgeprune.records.max_drop import MaxDropRecord
from edgeprune.runs.run import Run

FILE = "max_drop.json"
FOLDER = "points"
ADOPTED = ("latency.json", "settled.safetensors", "pruned.safetensors", "model.json")


def read_max_drop(run: Run) -> MaxDropRecord | None:
    """Return what `write_max_drop` wrote; None for a run that tried no networks.

    Raises:
        RunError: the file is damaged.
    """
    path = run.path / FILE
    return MaxDropRecord.read(path) if path.is_file() else None


def write_max_drop(run: Run, record: MaxDropRecord) -> None:
    """Write max_drop.json."""
    if world().is_main:
        record.write(run.path / FILE)
    world().wait()


def runs_of_points(run: Run) -> Iterator[Run]:
    """Yield the runs of the networks that were tried, in order."""
    record = read_max_drop(run)
    for point in record.points if record else ():
        yield Run.open(run.path / point.run)


def adopt(run: Run, point: Run) -> None:
    """Make the pruned network of a point that of the run.

    Args:
        run: that tried it.
        point: the finished run of the network.
    """
    if world().is_main:
        for name in ADOPTED:
            if point.has(name):
                with written_aside(run.path / name) as aside:
                    shutil.copyfile(point.path / name, aside)
    world().wait()
