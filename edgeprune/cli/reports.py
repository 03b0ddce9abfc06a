"""`report`."""

import click

from edgeprune.cli.base import as_json, complain, echo, latest_run, main, say


@main.command()
@click.argument("folder", required=False, metavar="RUN")
@click.option(
    "--out", "-o", metavar="FILE", help="Write the page here  [default: report.html in the folder]."
)
@click.option("--open", "opened", is_flag=True, help="Show the page in the browser.")
@as_json
def report(folder: str | None, out: str | None, opened: bool, to_json: bool) -> None:
    """Write all that is known of a run on one page, for people who look rather than read.

    RUN is the folder of a train-prune, prune, compare or search; the latest run under runs/ unless it is given. The
    page is one HTML file that loads nothing: what was asked and reached, the course of training, widths along the
    network, accuracy against measured speedup, latency in every round, layers, energy, and what each warning puts in
    doubt.

    \b
    edgeprune report
    edgeprune report runs/mine --open
    edgeprune report runs/compare-mine -o compare.html
    """
    from edgeprune.report.page import write_report

    place = write_report(latest_run(folder), out)
    if opened and click.launch(str(place)) != 0:
        complain(f"no browser could be started here: open {place} in one")
    if to_json:
        say({"report": str(place)})
    else:
        echo(str(place))
