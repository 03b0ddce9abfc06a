"""`sensitivity`."""

from typing import Any

import click

from edgeprune.cli.base import as_json, complain, echo, latest_run, main, say, trusts
from edgeprune.cli.options import grouped, options_of
from edgeprune.methods import MethodOptions
from edgeprune.processes.signals import exit_code
from edgeprune.runs.subject_options import SubjectOptions
from edgeprune.sensitivity.options import SensitivityOptions

SUBJECT = ("weights", "into", "classes", "data", "data_root", "image_size", "out")


@main.command()
@click.argument("model", required=False)
@options_of(SubjectOptions, only=SUBJECT, main=("weights", "data", "out"))
@options_of(SensitivityOptions)
@grouped(
    "--ignore",
    group="model",
    multiple=True,
    metavar="NAME",
    help="Leave the output channels of this layer alone. May be repeated.",
)
@options_of(MethodOptions, only=("opaque",))
@trusts
@as_json
@click.pass_context
def sensitivity(
    ctx: click.Context,
    model: str | None,
    ignore: tuple[str, ...],
    opaque: list[str] | None,
    shares: str,
    images: int,
    criterion: str,
    to_json: bool,
    **subject: Any,
) -> None:
    """Show what the removal of channels costs, group by group.

    A share of each group is removed exactly and evaluated; nothing is retrained.

    MODEL is a run folder (the latest under runs/ without it), whose unpruned network is judged on its held-out images;
    a file of edgeprune.save; or a name or package.module:factory with --weights, judged on the test images of --data.
    A stopped measurement goes on where it was. A heat map is written beside sensitivity.json.

    \b
    edgeprune sensitivity runs/mine
    edgeprune sensitivity resnet56 --weights resnet56.safetensors --data cifar10
    edgeprune sensitivity net.safetensors --data photos --shares 0.5 --images 500
    """
    from edgeprune.report.page import sensitivity_page, write_page
    from edgeprune.reporting.console import print_lines, print_table, progress_bars
    from edgeprune.sensitivity.measuring import measure_sensitivity
    from edgeprune.sensitivity.subject import subject_of
    from edgeprune.sensitivity.table import sensitivity_lines, sensitivity_table

    options = SensitivityOptions(shares, images, criterion)
    source = str(latest_run(None)) if model is None else model
    judged = subject_of(source, SubjectOptions(**subject), opaque, ignore)
    try:
        with progress_bars() as progress:
            record = measure_sensitivity(judged, options, progress)
    except KeyboardInterrupt:
        complain(f"stopped; the same command goes on with {judged.folder}")
        ctx.exit(exit_code())
    page = write_page(sensitivity_page(record), judged.folder / "sensitivity.html")
    if to_json:
        say({"folder": str(judged.folder), "page": str(page), **record.to_dict()})
        return
    print_table(f"{record.model}: sensitivity", *sensitivity_table(record))
    print_lines(sensitivity_lines(record))
    echo(f"heat map: {page}", err=True)
