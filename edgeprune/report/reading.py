"""Read what a report shows: files of a folder, checked."""

from pathlib import Path
from typing import Any

from edgeprune.backends.record import FILE as EXPORT_FILE
from edgeprune.errors import RunError
from edgeprune.files.reading import read_json
from edgeprune.records import read_record
from edgeprune.records.bench import BenchResult
from edgeprune.records.export import read_export
from edgeprune.records.results import schema_of
from edgeprune.runs.run import Run


def measurements(run: Run) -> list[dict[str, Any]]:
    """Return the finished measurements of a run, by the name of the device.

    Raises:
        RunError: a file is damaged.
    """
    paths = sorted((run.path / "bench").glob("*.json"))
    results = [
        read_record(
            path, BenchResult, hint=f"measure again with: edgeprune bench {run.path} --device {path.stem}"
        )
        for path in paths
    ]
    return [result for result in results if result.get("complete") is not False]


def export_record(run: Run) -> dict[str, Any] | None:
    """Return a run's export.json; None where nothing was exported.

    Raises:
        RunError: it is damaged.
    """
    path = run.path / "export" / EXPORT_FILE
    return (
        read_export(path, hint=f"export again with: edgeprune export {run.path}") if path.is_file() else None
    )


def read_result(path: Path) -> dict[str, Any]:
    """Return the result of a comparison or a search.

    Raises:
        RunError: it is damaged.
    """
    return read_record(path, schema_of(read_json(path)), error=RunError, hint="run it again with --resume")
