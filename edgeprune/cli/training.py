"""`train-prune` and `steer`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli.base import (
    Begun,
    as_json,
    complain,
    echo,
    free_place,
    latest_run,
    main,
    say,
    trusts,
    typed_values,
)
from edgeprune.cli.host_options import host_words, on_hosts, reached
from edgeprune.cli.options import grouped, options_of
from edgeprune.methods import METHODS
from edgeprune.train_prune.options import TrainPruneOptions

if TYPE_CHECKING:
    from edgeprune.records.max_drop import MaxDropRecord
    from edgeprune.records.runs import Summary


def show_methods(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    """Print every method with its help line, and exit.

    Args:
        ctx: of the command.
        _: the option.
        value: whether the option was typed.
    """
    if not value or ctx.resilient_parsing:
        return
    from edgeprune import methods

    every = methods.names()
    width = max(map(len, every))
    for name in every:
        echo(f"{name:{width}}  {methods.get(name).help}".rstrip())
    ctx.exit()


@main.command("train-prune")
@options_of(TrainPruneOptions)
@grouped(
    "--methods",
    group="method",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_methods,
    about=lambda: f"List the methods with a line each, and exit: {', '.join(METHODS.registered())}.",
)
@on_hosts
@grouped("--out", metavar="DIR", help="Write the run into this folder  [default: runs/MODEL-DATA].")
@grouped("--resume", is_flag=True, help="Resume an interrupted run where it stopped.")
@grouped("--force", is_flag=True, help="Replace a run of that name.")
@trusts
@as_json
@click.pass_context
def train_prune(
    ctx: click.Context,
    out: str | None,
    resume: bool,
    force: bool,
    to_json: bool,
    remote_hosts: tuple[Any, ...],
    **options: Any,
) -> None:
    """Train a model, prune it while it trains, and fine-tune it.

    A model with weights is not trained first.

    \b
    edgeprune train-prune
    edgeprune train-prune --model resnet56 --data DIR --weights resnet56.pt
    edgeprune train-prune --target latency=0.5 --host user@board
    edgeprune train-prune --target latency=10ms --host pi@desk --host pi@lab
    edgeprune train-prune --target latency=0.35 --precisions fp32,int8
    edgeprune train-prune --max-drop 1.0
    edgeprune train-prune --out runs/mine --resume
    """
    from edgeprune.processes.distributed import world
    from edgeprune.processes.signals import exit_code
    from edgeprune.records.trust import trust_words
    from edgeprune.reporting.console import progress_bars
    from edgeprune.runs.points import read_max_drop
    from edgeprune.runs.run import Run
    from edgeprune.train_prune.checking import check_before_torch
    from edgeprune.train_prune.effects import check_effect
    from edgeprune.train_prune.stored import check_same_options

    if resume and force:
        raise click.UsageError("--resume and --force exclude each other")
    hosts = reached(remote_hosts)
    typed, is_main, chosen, taken = typed_values(ctx, options), world().is_main, None, None
    if resume:
        place = latest_run(out)
        Run.open(place)
        check_same_options(place, {**typed, **hosts})
        if is_main and (place / "summary.json").is_file():
            complain(f"{place} is already finished")
    else:
        chosen = TrainPruneOptions(**options, **hosts)
        place, taken = (Path(out), None) if out else free_place(options["model"], options["data"])
        check_effect([chosen], typed)
        check_before_torch(place, chosen, force=force)
    from edgeprune.train_prune import pipeline  # and torch with it, which takes seconds
    from edgeprune.training import Interrupted

    trusted = trust_words(options["model"])
    again = f"train-prune --out {place} --resume{trusted}{host_words(*remote_hosts)}"
    begun = Begun(place, "config.json", resumed=resume, taken=taken if is_main else None)
    try:
        kinds = ("baseline", "prune", "finetune", "test")
        with progress_bars(*kinds, shown=is_main) as progress:
            summary = pipeline.train_prune(
                place, chosen, resume=resume, force=force, progress=begun.announcing(progress)
            )
        tried = read_max_drop(place)
    except (Interrupted, KeyboardInterrupt):
        begun.complain_of_stop(again)
        ctx.exit(exit_code())
    if not is_main:
        return
    if to_json:
        say({"run": str(place), **summary.to_dict(), **({"max_drop": tried.to_dict()} if tried else {})})
        return
    _show_result(place, summary, tried)
    precision = " --precision int8" if summary.precisions else ""
    echo(f"next: edgeprune export {place}{precision}{trusted}", err=True)


def _show_result(place: Path, summary: "Summary", tried: "MaxDropRecord | None") -> None:
    """Print the tables of a finished run.

    Args:
        place: its folder.
        summary: of the run.
        tried: the networks that were tried with a largest drop; None without one.
    """
    from edgeprune.reporting.console import print_lines, print_rows, print_table
    from edgeprune.reporting.drops import drop_lines, drop_table, interval_lines
    from edgeprune.reporting.rows import size_rows

    if tried is not None:
        print_table(f"{place}: networks that were tried", *drop_table(tried))
        print_lines(drop_lines(tried))
    print_rows(f"{place}", size_rows(summary), [*interval_lines(summary), *summary.notes])


@main.command()
@click.argument("run", required=False)
@click.option(
    "--interacting", metavar="N", help="Set it (500) or change it (+200, -200); the controller then rests."
)
@click.option("--target", metavar="TARGET", help="Let the controller follow another target, as flops=0.4.")
@click.option("--auto", is_flag=True, help="Return control to the controller.")
@click.option("--show", is_flag=True, help="Print the state of the pruning phase.")
@as_json
def steer(
    run: str | None, interacting: str | None, target: str | None, auto: bool, show: bool, to_json: bool
) -> None:
    """Steer a pruning phase while it runs.

    Raising `interacting` prunes more; the target can be changed, too.

    \b
    edgeprune steer runs/mine --show
    edgeprune steer runs/mine --interacting +200
    edgeprune steer runs/mine --target flops=0.4
    edgeprune steer runs/mine --auto
    """
    from edgeprune.train_prune.steering import send_command, status

    place = latest_run(run)
    commands = (interacting is not None) + (target is not None) + auto
    if not commands and not show:
        raise click.UsageError("say --interacting N, --target TARGET, --auto or --show")
    if commands > 1:
        raise click.UsageError("--interacting, --target and --auto exclude each other")
    if commands:
        send_command(place, interacting, auto=auto, target=target)
    state = status(place)
    if to_json:
        say(state)
    else:
        for key, value in state.items():
            echo(f"{key}: {value}")
