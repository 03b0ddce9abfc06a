"""Measure on several boards at once: each on its own, in a thread; one that fails stops none of the others."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from edgeprune.backends.subjects import Subjects, run_subjects
from edgeprune.bench.hosts import Host
from edgeprune.bench.options import check_writable
from edgeprune.bench.run import bench_run
from edgeprune.errors import BenchError, EdgePruneError
from edgeprune.files.locks import held
from edgeprune.files.paths import file_word
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.bench import BenchResult, BoardRow, FailedBoard, FleetTable


class _Stopped(Exception):
    """The user stopped all boards."""


def bench_fleet(
    subjects: str | Path | Subjects,
    hosts: Sequence[Host],
    *,
    json_path: str | Path | None = None,
    progress: ProgressCallback | None = None,
    **options: Any,
) -> FleetTable:
    """Measure a run, or other subjects, on several boards at once.

    Each board's result is a file of its own, ``bench/DEVICE.HOST.json``, kept as `bench_run` keeps it. With ``resume``
    a board that has a complete result of the same files and settings is not measured again.

    Args:
        subjects: see `bench_run`.
        hosts: of the boards.
        json_path: a place for the table.
        progress: called with ``(done, total, text)`` from several threads; texts begin with the board's name.
        options: of `bench_run`, the same for all boards.

    Returns:
        What was measured, and which boards failed.

    Raises:
        BenchError: a board is named twice, or the table's place cannot be written. InUseError: another process works
            on the run.
    """
    subjects = subjects if isinstance(subjects, Subjects) else run_subjects(Path(subjects))
    names = _names(hosts)
    if json_path is not None:
        check_writable(Path(json_path))
    with nullcontext() if subjects.folder is None else held(subjects.folder):
        outcomes = _measured_at_once(subjects, names, progress or no_progress, options)
    table = FleetTable(
        subjects.title,
        tuple(
            BoardRow(host.name, result)
            for host, result in zip(hosts, outcomes, strict=True)
            if isinstance(result, BenchResult)
        ),
        tuple(
            FailedBoard(host.name, str(why))
            for host, why in zip(hosts, outcomes, strict=True)
            if isinstance(why, EdgePruneError)
        ),
    )
    if json_path is not None:
        table.write(Path(json_path))
    return table


def _names(hosts: Sequence[Host]) -> dict[str, Host]:
    """Return the hosts by what their files are called.

    Raises:
        BenchError: two would have the same file.
    """
    names: dict[str, Host] = {}
    for host in hosts:
        name = file_word(host.name)
        if name in names:
            raise BenchError(f"--host {host.name} is named twice: name each board once")
        names[name] = host
    return names


def _measured_at_once(
    subjects: Subjects, names: dict[str, Host], progress: ProgressCallback, options: dict[str, Any]
) -> list[BenchResult | EdgePruneError]:
    """Return each board's result, or its error; Ctrl-C ends them all at their next round."""
    stopping = threading.Event()

    def measured(name: str, host: Host) -> BenchResult | EdgePruneError:
        def on_progress(done: float, total: float, text: str) -> None:
            if stopping.is_set():
                raise _Stopped
            progress(done, total, f"{host.name}: {text}")

        try:
            return bench_run(
                subjects, host=host, among=name, of_several=True, progress=on_progress, **options
            )
        except EdgePruneError as error:
            progress(0, 1, f"{host.name}: failed")
            return error

    with ThreadPoolExecutor(len(names)) as pool:
        futures = [pool.submit(measured, name, host) for name, host in names.items()]
        try:
            return [future.result() for future in futures]
        except BaseException:
            stopping.set()
            raise
