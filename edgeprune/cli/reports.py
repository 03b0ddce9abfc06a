"""`report` and `watch`."""

import click

from edgeprune.cli.base import REPORTED, as_json, complain, echo, finished_run, latest_run, main, say, trusts
from edgeprune.cli.options import grouped
from edgeprune.options.checks import Count


@main.command()
@click.argument("folder", required=False, metavar="[RUN]")
@click.option(
    "--out", "-o", metavar="FILE", help="Write the page here  [default: report.html in the folder]."
)
@click.option("--open", "opened", is_flag=True, help="Show the page in the browser.")
@as_json
def report(folder: str | None, out: str | None, opened: bool, to_json: bool) -> None:
    """Write all that is known of a run on one page.

    It is for people who look rather than read.

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

    place = write_report(finished_run(folder, REPORTED), out)
    if opened and click.launch(str(place)) != 0:
        complain(f"no browser could be started here: open {place} in one")
    if to_json:
        say({"report": str(place)})
    else:
        echo(str(place))


@main.command()
@click.argument("folder", required=False, metavar="[RUN]")
@grouped(
    "--port",
    type=int,
    default=0,
    metavar="N",
    check=Count(0, 65_535),
    help="Serve the page at this port; 0 takes one that is free  [default: 0].",
)
@grouped("--open", "opened", is_flag=True, help="Show the page in the browser.")
@trusts
@as_json
def watch(folder: str | None, port: int, opened: bool, to_json: bool) -> None:
    """Show a run in the browser while it trains.

    Its pruning can be steered from there.

    RUN is the folder of a train-prune, under way, finished, stopped, or yet to come; the latest run under runs/ unless
    it is given. The page is that of 'edgeprune report', kept up to date, with the stage and the time that remains; the
    learned method's pruning phase can be steered from it. It is served on this machine alone, to those who have the
    link. Ctrl-C ends it; the run goes on.

    \b
    edgeprune watch
    edgeprune watch runs/mine --open
    edgeprune watch runs/mine --port 8000
    """
    from edgeprune.watch.serving import WatchServer

    place = latest_run(folder)
    server = WatchServer(place, port)
    if to_json:
        say({"run": str(place), "link": server.link})
    else:
        echo(f"{place} in a browser on this machine, until Ctrl-C:\n{server.link}")
    if opened and click.launch(server.link) != 0:
        complain("no browser could be started here: open the link in one")
    server.serve_until_stopped()
