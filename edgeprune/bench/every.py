"""Measure a run with every runtime, in every precision that was exported: one row each, and why others have none."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeprune import backends
from edgeprune.backends import Backend, ExportRecord
from edgeprune.backends.record import FILE, export_command, is_exported
from edgeprune.bench.run import bench_run
from edgeprune.errors import BenchError, ConnectionLost, EdgePruneError
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.bench import RuntimeRow, RuntimesTable, SkippedRuntime

ALL = "all"  # in place of a runtime's name


@dataclass(frozen=True)
class Kind:
    """A runtime in a precision.

    Attributes:
        runtime: of the runner.
        precision: of the numbers.
        backend: whose files it runs.
    """

    runtime: str
    precision: str
    backend: Backend


def kinds(precision: str | None = None) -> Iterator[Kind]:
    """Yield every runtime in each of its precisions, or in one alone."""
    pairs: dict[tuple[str, str], None] = {}
    for kind in map(backends.get, backends.names()):
        pairs |= dict.fromkeys((kind.runtime, numbers) for numbers in kind.precisions)
    for runtime, numbers in pairs:
        backend = backends.for_runtime(runtime, numbers)
        if backend is not None and precision in (None, numbers):
            yield Kind(runtime, numbers, backend)


def why_not(kind: Kind, record: ExportRecord, run: Path) -> str | None:
    """Return why a run's files cannot be measured with a runtime; None where they can, or the board must tell.

    Args:
        kind: the runtime in its precision.
        record: of the run's export.
        run: its folder.
    """
    if kind.backend.why_not_measured:
        return kind.backend.why_not_measured
    if kind.backend.builds_on_target:
        return None
    artifacts = record.of(kind.backend).values()
    if not artifacts:
        return f"it was not exported: {export_command(run, kind.backend)}"
    return next((artifact.skipped_because for artifact in artifacts if artifact.skipped_because), None)


def bench_every(
    run: Path,
    *,
    precision: str | None = None,
    json_path: str | Path | None = None,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> RuntimesTable:
    """Measure a run with every runtime whose files it has; each measurement is kept as `bench_run` keeps it.

    With ``resume``, what was measured of the same files and settings is not measured again; all else is, also what was
    measured with other settings.

    Args:
        run: its folder; it has been exported.
        precision: to measure alone; None for all.
        json_path: a place for the table.
        progress: called with ``(done, total, text)``.
        options: of `bench_run`.

    Raises:
        BenchError: nothing was exported, or nothing could be measured.
    """
    chosen, record = _kinds_of(run, precision)
    report = progress or no_progress
    rows: list[RuntimeRow] = []
    skipped: list[SkippedRuntime] = []
    for index, kind in enumerate(chosen):
        reason = why_not(kind, record, run)
        if reason is None:
            on_progress = _part_of(report, index, len(chosen), f"{kind.runtime} {kind.precision}")
            try:
                result = bench_run(
                    run, runtime=kind.runtime, precision=kind.precision, of_several=True, progress=on_progress,
                    **options,
                )  # fmt: skip
            except ConnectionLost:
                raise
            except EdgePruneError as error:
                reason = str(error)
            else:
                rows.append(RuntimeRow(kind.runtime, kind.precision, result))
        if reason is not None:
            skipped.append(SkippedRuntime(kind.runtime, kind.precision, reason))
    if not rows:
        raise BenchError(f"nothing could be measured: {skipped[0].runtime}: {skipped[0].why}")
    rows.sort(key=lambda row: row.result.models["pruned"].latency_ms.p50)
    table = RuntimesTable(str(run), tuple(rows), tuple(skipped))
    if json_path is not None:
        table.write(Path(json_path))
    return table


def _kinds_of(run: Path, precision: str | None) -> tuple[list[Kind], ExportRecord]:
    """Return what there is to measure, and the record of the run's export.

    Raises:
        BenchError: nothing was exported, or no runtime has the precision.
    """
    if not is_exported(run):
        raise BenchError(f"{run} has no export/{FILE}: make it with: edgeprune export {run}")
    chosen = list(kinds(precision))
    if not chosen:
        known = sorted({kind.precision for kind in kinds()})
        raise BenchError(f"unknown precision {precision!r}: known are {', '.join(known)}")
    return chosen, ExportRecord.read(run / "export", error=BenchError, hint=f"edgeprune export {run}")


def _part_of(report: ProgressCallback, index: int, count: int, name: str) -> ProgressCallback:
    """Return a callback that reports one of several measurements as a part of the whole."""

    def on_progress(done: float, total: float, text: str) -> None:
        report(index + done / max(total, 1), count, f"{name}: {text}")

    return on_progress
