"""Read what a report shows: files of a folder, checked."""

from pathlib import Path

from edgeprune.backends.record import FILE as EXPORT_FILE
from edgeprune.backends.record import ExportRecord
from edgeprune.records.bench import BenchResult
from edgeprune.records.checking import read_value
from edgeprune.records.comparison import ComparisonResult
from edgeprune.records.search import SearchResult
from edgeprune.runs.file_runs import FileRun
from edgeprune.runs.run import Run


def measurements(run: Run | FileRun) -> list[BenchResult]:
    """Return the finished measurements of a run, by the name of the device.

    Raises:
        RunError: a file is damaged.
    """
    paths = sorted((run.path / "bench").glob("*.json"))
    results = [
        BenchResult.read(path, hint=f"measure again with: edgeprune bench {run.path} --device {path.stem}")
        for path in paths
    ]
    return [result for result in results if result.complete and result.speedup is not None]


def export_record(run: Run | FileRun) -> ExportRecord | None:
    """Return a run's export.json; None where nothing was exported.

    Raises:
        RunError: it is damaged.
    """
    path = run.path / "export" / EXPORT_FILE
    return (
        ExportRecord.read(path.parent, hint=f"export again with: edgeprune export {run.path}")
        if path.is_file()
        else None
    )


def read_result(path: Path) -> ComparisonResult | SearchResult:
    """Return the result of a comparison or a search.

    Raises:
        RunError: it is damaged.
    """
    hint = "run it again with --resume"
    value = read_value(path, hint=hint)
    kind = SearchResult if isinstance(value, dict) and "trials" in value else ComparisonResult
    return kind.from_dict(value, path, hint=hint)
