"""Measure a finished row beside the baseline with ONNX Runtime on this machine's CPU."""

from pathlib import Path

from msgspec import UNSET
from msgspec.structs import replace

from edgeprune.backends import export_run
from edgeprune.backends.record import is_exported
from edgeprune.bench import bench_run
from edgeprune.errors import EdgePruneError, MovedError, StorageError
from edgeprune.processes.progress import ProgressCallback
from edgeprune.records.bench import BenchResult
from edgeprune.records.comparison import RowLatency

DEVICE = "cpu"


def is_measured(row: Path) -> bool:
    """Return whether the row has a complete measurement."""
    return _result(row).is_file()


def measure_row(row: Path, seconds: float, progress: ProgressCallback) -> str | None:
    """Export a row and measure it.

    Args:
        row: the row's run folder.
        seconds: of timed inference per model.
        progress: called with (done, total, text).

    Returns:
        None, or the reason why the row could not be measured.
    """
    try:
        if not is_exported(row):
            export_run(row, progress=progress)
        bench_run(row, device=DEVICE, seconds=seconds, accuracy=False, progress=progress)
    except (MovedError, StorageError):
        raise
    except EdgePruneError as error:
        return str(error)
    return None


def measured(row: Path) -> RowLatency:
    """Summarise the measurement of a row."""
    result = BenchResult.read(_result(row), hint="remove it, and --resume measures the row again")
    models, settings = result.models, result.settings
    assert result.speedup is not None
    return RowLatency(
        baseline_ms=models["baseline"].latency_ms.p50,
        pruned_ms=models["pruned"].latency_ms.p50,
        speedup=replace(result.speedup, method=UNSET),
        batch=settings.batch,
        threads=settings.threads,
        seconds=settings.seconds,
        runtime=settings.runtime,
        versions=models["baseline"].versions,
        cpu=result.device.fingerprint.get("cpu_model"),
        warnings=tuple(warning.code for warning in result.warnings),
    )


def _result(row: Path) -> Path:
    return row / "bench" / f"{DEVICE}.json"
