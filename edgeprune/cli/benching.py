"""`bench`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.bench.options import BenchOptions
from edgeprune.cli.base import MEASURED, complain, echo, finished_run, main, say, trusts
from edgeprune.cli.host_options import assume_device as can_assume_device
from edgeprune.cli.host_options import in_browser, on_hosts
from edgeprune.cli.options import grouped, options_of
from edgeprune.processes.signals import exit_code
from edgeprune.runs.subject_options import FLAGS, SubjectOptions

if TYPE_CHECKING:
    from edgeprune.backends.subjects import Subjects
    from edgeprune.records.bench import BenchResult
    from edgeprune.records.runs import Summary


@main.command()
@click.argument("models", metavar="[RUN | MODEL [PRUNED]]", nargs=-1)
@options_of(SubjectOptions, flags=FLAGS)
@grouped(
    "--device",
    group="target",
    metavar="DEVICE",
    help="Measure on this device: a profile of 'edgeprune devices', or a TOML file like one; jetson finds out which "
    "Jetson it is, auto which board; browser serves a page and measures the browser that opens it, such as a phone's  "
    "[default: cpu; auto with --host].",
)
@on_hosts
@in_browser
@can_assume_device
@grouped(
    "--runtime",
    group="measurement",
    metavar="NAME",
    help="Run the files with this, as onnxruntime; all measures with each, in one table  [default: the device's].",
)
@grouped(
    "--precision",
    group="measurement",
    metavar="NAME",
    help="Measure the files of this precision, as int8  [default: the runtime's on that device].",
)
@options_of(BenchOptions)
@grouped("--layers", group="measurement", is_flag=True, help="Time every layer too, in passes of their own.")
@grouped("--no-accuracy", group="measurement", is_flag=True, help="Leave out the accuracy of the files.")
@grouped("--resume", is_flag=True, help="Measure the rounds that an interrupted measurement lacks.")
@trusts
@grouped("--json", "json_path", metavar="FILE", help="Write the result to this file too; - prints it.")
@click.pass_context
def bench(
    ctx: click.Context,
    models: tuple[str, ...], device: str | None, batch: int, threads: int | None, seconds: float,
    sustained: str | None, cool_to: float | None, no_accuracy: bool, json_path: str | None, layers: bool,
    resume: bool, remote_hosts: tuple[Any, ...], browser: Any, assume_device: bool, runtime: str | None,
    precision: str | None, **subject: Any,
) -> None:  # fmt: skip
    """Measure baseline and pruned network side by side.

    What is measured: latency, throughput, memory, energy and accuracy.

    RUN is a run folder; without it, the latest finished one under runs/. MODEL and PRUNED are one model alone, or two
    that are compared: ONNX files, or files of edgeprune.save, names and package.module:factory, which are exported
    first. Each round is a fresh process with one model, baseline and pruned in turn, so that drift cancels.

    \b
    edgeprune bench
    edgeprune bench runs/mine --batch 32 --threads 1 --json result.json
    edgeprune bench runs/mine --layers
    edgeprune bench runs/mine --precision int8
    edgeprune bench runs/mine --runtime all
    edgeprune bench runs/mine --device jetson --host user@board
    edgeprune bench runs/mine --device jetson --host user@board --sustained 30m
    edgeprune bench runs/mine --host pi@desk --host pi@lab
    edgeprune bench runs/mine --device browser --lan
    edgeprune bench baseline.onnx pruned.onnx --json result.json
    edgeprune bench mypackage.nets:make pruned.safetensors --weights trained.pt
    edgeprune bench net.onnx --input x=1x3x96x96 --input ids=1x16:int64
    """
    from edgeprune.latency.utilization import utilization_of
    from edgeprune.runs.run import Run
    from edgeprune.runs.subjects import subjects_of

    subjects = subjects_of(models or [str(finished_run(None, MEASURED))], SubjectOptions(**subject))
    # Raises if the run is not finished: before minutes of measuring.
    summary = Run.open(subjects.title).summary() if subjects.is_run else None
    to_stdout = json_path == "-"
    common = {
        "device": device, "batch": batch, "threads": threads, "seconds": seconds, "accuracy": not no_accuracy,
        "assume_device": assume_device, "precision": precision,
        "widths": None if browser else utilization_of,  # a browser has no latency table
        "json_path": None if to_stdout else json_path,
    }  # fmt: skip
    if len(remote_hosts) > 1 and (runtime == "all" or layers):
        raise click.UsageError("several boards at once are measured without --runtime all and --layers")
    if runtime == "all" and (browser or not subjects.is_run or layers or sustained or cool_to is not None):
        raise click.UsageError(
            "--runtime all measures a run, in no browser, and without --layers, --sustained and --cool-to"
        )
    common["resume"] = resume
    course = {"sustained": sustained, "cool_to": cool_to}
    with _resumable(subjects, json_path):
        if len(remote_hosts) > 1:
            if not _bench_fleet(subjects, remote_hosts, to_stdout, runtime=runtime, **common, **course):
                ctx.exit(1)
            return
        common["host"] = browser or (remote_hosts[0] if remote_hosts else None)
        if runtime == "all":
            _bench_every(Path(subjects.title), to_stdout, **common)
            return
        subjects, result = _measured(subjects, runtime=runtime, layers=layers, **common, **course)
    if to_stdout:
        say(result)
    else:
        _show_measurement(subjects, result, summary, named=bool(runtime or precision))


@contextmanager
def _resumable(subjects: "Subjects", json_path: str | None) -> Iterator[None]:
    """Say on Ctrl-C how a measurement goes on, where something keeps its rounds.

    Args:
        subjects: that are measured.
        json_path: a place for the result; None or "-" for no file.
    """
    try:
        yield
    except KeyboardInterrupt:
        if subjects.folder is None and json_path in (None, "-"):
            raise
        complain("stopped; go on with the same command and --resume")
        click.get_current_context().exit(exit_code())


def _measured(subjects: "Subjects", **options: Any) -> "tuple[Subjects, BenchResult]":
    """Export what has to be, and measure; return the subjects with their files, and the result.

    Args:
        subjects: as the user named them.
        options: of `edgeprune.bench.bench_run`.
    """
    from edgeprune.bench import bench_run
    from edgeprune.reporting.console import progress_bars
    from edgeprune.runs.subjects import measurable

    to = _backends(options["device"], options["precision"])
    with progress_bars() as progress, measurable(subjects, to, progress) as exported:
        return exported, bench_run(exported, progress=progress, **options)


def _backends(device: str | None, precision: str | None) -> list[str]:
    """Return the kinds of file that subjects without files are exported to, for a device and a precision."""
    from edgeprune.devices import CPU

    here = device in (None, CPU)
    to = ["onnx"] if here else ["onnx", "onnx-fp16"]
    in_int8 = ["onnx-int8"] if here else ["onnx-int8", "onnx-int8-tensorrt"]
    return [*to, *in_int8] if precision == "int8" else to


def _bench_fleet(subjects: "Subjects", hosts: tuple[Any, ...], to_stdout: bool, **options: Any) -> bool:
    """Measure on several boards at once, and show the table; return whether all could be measured.

    Args:
        subjects: as the user named them.
        hosts: of the boards.
        to_stdout: whether the table is printed as JSON.
        options: of `edgeprune.bench.bench_fleet`.
    """
    from edgeprune.bench import bench_fleet
    from edgeprune.reporting.console import print_lines, print_table, progress_bars
    from edgeprune.reporting.rows import fleet_lines, fleet_table
    from edgeprune.runs.subjects import measurable

    to = _backends(options["device"], options["precision"])
    bars = [f"{host.name}:" for host in hosts]
    with progress_bars(*bars) as progress, measurable(subjects, to, progress) as exported:
        table = bench_fleet(exported, hosts, progress=progress, **options)
    if to_stdout:
        say(table)
        return not table.failed
    if table.rows:
        print_table(f"{table.title} on {len(table.rows)} of {len(hosts)} boards", *fleet_table(table))
    print_lines(fleet_lines(table))
    for board in table.failed:
        complain(f"{board.host} failed: {board.why}")
    return not table.failed


def _show_measurement(
    subjects: "Subjects", result: "BenchResult", summary: "Summary | None", *, named: bool
) -> None:
    """Print the table of a measurement, and what it says beside it.

    Args:
        subjects: that were measured.
        result: of them.
        summary: of the run; None where they are none.
        named: whether the user named the runtime or the precision.
    """
    from edgeprune.reporting.console import print_measurement, print_table
    from edgeprune.reporting.course import course_table
    from edgeprune.reporting.rows import (
        bench_rows,
        layer_table,
        layers_title,
        size_rows,
        speedup_lines,
        warning_lines,
        widths_line,
    )  # fmt: skip

    rows = [*(size_rows(summary) if summary else []), *bench_rows(result)]
    assumed = ", assumed" if result.device.assumed else ""
    settings = result.settings
    with_runtime = f"{settings.runtime} {settings.precision}, " if named else ""
    title = f"{subjects.title} on {result.device.title}{assumed} ({with_runtime}{settings.threads} threads)"
    widths = [widths_line(result.widths)] if result.widths else []
    print_measurement(title, subjects.names, rows, [*speedup_lines(result), *widths, *warning_lines(result)])
    if result.sustained:
        print_table("minute by minute", *course_table(result.sustained))
    if result.layers:
        print_table(layers_title(result.layers), *layer_table(result.layers))


def _bench_every(run: Path, to_stdout: bool, **options: Any) -> None:
    """Measure a run with every runtime, and show the table.

    Args:
        run: its folder.
        to_stdout: whether the table is printed as JSON.
        options: of `edgeprune.bench.bench_every`.
    """
    from edgeprune.bench import bench_every
    from edgeprune.reporting.console import print_table, progress_bars
    from edgeprune.reporting.rows import runtimes_lines, runtimes_table

    with progress_bars() as progress:
        table = bench_every(run, progress=progress, **options)
    if to_stdout:
        say(table)
        return
    result = table.rows[0].result
    title = f"{run} on {result.device.title} ({result.settings.threads} threads)"
    print_table(title, *runtimes_table(table))
    for line in runtimes_lines(table):
        echo(line)
