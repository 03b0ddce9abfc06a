"""`devices` and `lut`."""

from pathlib import Path
from typing import Any

import click

from edgeprune.bench.options import BenchOptions
from edgeprune.cli.base import as_json, complain, echo, main, say, trusts
from edgeprune.cli.host_options import assume_device as can_assume_device
from edgeprune.cli.host_options import on_host
from edgeprune.cli.options import grouped, model_classes, options_of
from edgeprune.processes.signals import exit_code


@main.command()
@grouped("--detect", is_flag=True, help="Say what this machine is, and which power sensors answer.")
@on_host
@as_json
def devices(detect: bool, to_json: bool, remote_host: Any) -> None:
    """List the device profiles, or say what a machine is.

    This one, or the one at --host.

    \b
    edgeprune devices
    edgeprune devices --detect
    edgeprune devices --detect --host user@board
    """
    from edgeprune.reporting.console import print_table
    from edgeprune.reporting.rows import detection_lines, device_table

    if detect or remote_host:
        from edgeprune.bench import detect_report

        report = detect_report(remote_host.connect() if remote_host else None)
        if to_json:
            say(report)
        else:
            echo("\n".join(detection_lines(report)))
        return
    from edgeprune.devices import device_rows

    rows = device_rows()
    if to_json:
        say(rows)
        return
    print_table("device profiles", *device_table(rows))


@main.group()
def lut() -> None:
    """Make and show latency tables, for --target latency=...

    They say what the layers of a device cost by their widths.

    \b
    edgeprune lut build --model resnet56 --device cpu
    edgeprune lut show
    """


@lut.command("build")
@grouped(
    "--model",
    group="model",
    required=True,
    metavar="NAME",
    help="Time the layers of this model: a name of the zoo or of torchvision, package.module:factory, or a run.",
)
@grouped(
    "--input",
    "inputs",
    group="model",
    metavar="CxHxW",
    help="Set the shape of an image  [default: 3x32x32 for CIFAR models, else 3x224x224].",
)
@model_classes
@grouped(
    "--device",
    group="target",
    metavar="DEVICE",
    help="Time on this device: a profile of 'edgeprune devices', or a TOML file like one  "
    "[default: cpu; auto with --host].",
)
@on_host
@can_assume_device
@grouped(
    "--runtime",
    group="measurement",
    metavar="NAME",
    help="Time with this runtime, as litert  [default: the first of the device's that it has].",
)
@grouped(
    "--precision",
    group="measurement",
    metavar="NAME",
    help="Compute in this precision, as fp32 or int8  [default: the runtime's].",
)
@options_of(BenchOptions, only=("batch", "threads"))
@grouped(
    "--out",
    metavar="FILE",
    help="Write the table to this file  [default: luts/DEVICE-RUNTIME-PRECISION-bBATCH-tTHREADS.json].",
)
@grouped(
    "--energy",
    group="measurement",
    is_flag=True,
    help="Measure the mean power of each layer as well, by the device's sensor, for --target energy=...",
)
@trusts
@as_json
@click.pass_context
def lut_build(
    ctx: click.Context, model: str, inputs: str | None, classes: int | None, device: str | None, remote_host: Any,
    runtime: str | None, precision: str | None, batch: int, threads: int | None, out: str | None, energy: bool,
    to_json: bool, assume_device: bool,
) -> None:  # fmt: skip
    """Time a model's layers at many widths, on the runtime that will be used.

    An existing table is extended, by a second model's layers or the rest of a stopped build. Times are taken
    in context, each layer between layers, and hold for this device, runtime, precision, batch and number of
    threads alone.

    \b
    edgeprune lut build --model resnet56
    edgeprune lut build --model resnet56 --runtime litert --precision int8
    edgeprune lut build --model torchvision:resnet50 --batch 8 --host user@board
    edgeprune lut build --model resnet56 --host user@board --energy
    """
    from edgeprune.reporting.console import progress_bars
    from edgeprune.runs import latency_tables

    try:
        with progress_bars() as progress:
            table = latency_tables.build_latency_table(
                model, shape=inputs, classes=classes, device=device, host=remote_host, runtime=runtime,
                precision=precision, batch=batch, threads=threads, out=out, energy=energy, assume_device=assume_device,
                progress=progress,
            )  # fmt: skip
    except KeyboardInterrupt:
        complain("stopped; the same command goes on with what was timed")
        ctx.exit(exit_code())
    _say_lut(table, to_json)


@lut.command("show")
@click.argument("source", required=False, metavar="FILE_OR_RUN")
@as_json
def lut_show(source: str | None, to_json: bool) -> None:
    """Show a latency table, or where the layers of a measured run lie on its steps.

    FILE_OR_RUN is a table (the latest under luts/ without it), or a run that 'edgeprune bench' has measured.

    \b
    edgeprune lut show
    edgeprune lut show runs/mine
    """
    from edgeprune.reporting.console import print_table
    from edgeprune.reporting.rows import widths_line, widths_table
    from edgeprune.runs import latency_tables

    if source is None or not Path(source).is_dir():
        _say_lut(latency_tables.show(source), to_json)
        return
    utilization = latency_tables.of_run(source)
    if to_json:
        say(utilization)
    elif utilization.rows is None:
        echo(widths_line(utilization))
    else:
        print_table(f"{source} by {utilization.lut}", *widths_table(utilization.rows))
        echo(widths_line(utilization))


def _say_lut(table: dict[str, Any], to_json: bool) -> None:
    from edgeprune.reporting.console import print_table
    from edgeprune.reporting.rows import lut_table

    if to_json:
        say(table)
        return
    conditions = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in table["conditions"].items())
    print_table(f"{table['file']}: {conditions}", *lut_table(table["shapes"]))
    if power := table.get("power"):
        by = power["conditions"]
        rails = "+".join(by["total_rails"])
        echo(f"W: {power['file']}, by {by['sensor']} ({by['total_kind']} of {rails}), idle power included")
