"""Run folders near a path that is not one: what was probably meant, for messages."""

from pathlib import Path

from edgeprune.errors import near_miss
from edgeprune.runs.folders import Kind

CONFIG = "config.json"
DEPTH = 3  # folders within a run: points/1/export

_RUN = Kind("run folder", CONFIG, ())


def similar_run(path: Path) -> str:
    """Return " (did you mean 'runs/mine'?)" for a missing folder beside a run of a similar name; else ''."""
    return near_miss(str(path), [str(run) for run in _runs_in(path.parent)])


def run_near(path: Path) -> Path | None:
    """Return the run that a folder is a part of, else the latest run in it; None without either."""
    around = [parent for parent in list(path.parents)[:DEPTH] if _RUN.matches(parent)]
    return around[0] if around else max(_runs_in(path), key=_changed, default=None)


def _runs_in(folder: Path) -> list[Path]:
    return [config.parent for config in sorted(folder.glob(f"*/{CONFIG}")) if _RUN.matches(config.parent)]


def _changed(run: Path) -> int:
    return (run / CONFIG).stat().st_mtime_ns
