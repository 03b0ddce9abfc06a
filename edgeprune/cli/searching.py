"""`search`."""

from pathlib import Path
from typing import Any

import click

from edgeprune.cli.base import (
    RUNS,
    Begun,
    as_json,
    free_place,
    main,
    say,
    trusts,
    typed_values,
)
from edgeprune.cli.host_options import host_words, on_hosts, reached
from edgeprune.cli.options import grouped, options_of
from edgeprune.methods import MethodOptions
from edgeprune.search.options import SearchOptions
from edgeprune.train_prune.options import DataOptions, ModelOptions, TargetOptions, TrainingOptions

WITHIN_A_DROP = ("max_drop", "drop_by", "points")  # no run determines them: each search says its own


@main.command()
@click.argument("source", required=False, metavar="MODEL_OR_RUN")
@options_of(ModelOptions, inherited=True, only=("weights", "weights_key"))
@options_of(MethodOptions, inherited=True, only=("opaque",))
@options_of(DataOptions, inherited=True)
@options_of(SearchOptions)
@options_of(
    TargetOptions,
    inherited=True,
    omit=WITHIN_A_DROP,
    flags={"target_device": "--device", "target_runtime": "--runtime", "target_precision": "--precision"},
)
@options_of(TargetOptions, only=WITHIN_A_DROP)
@options_of(MethodOptions, inherited=True, only=("floor",))
@options_of(TrainingOptions, inherited=True, only=("baseline_epochs",))
@grouped(
    "--storage",
    metavar="URL",
    help="Share the search with other workers here  [default: a file in its folder].",
)
@grouped("--out", metavar="DIR", help="Write the search into this folder  [default: runs/search-NAME].")
@grouped("--resume", is_flag=True, help="Resume the search, or take part while it runs.")
@grouped("--force", is_flag=True, help="Replace a search of that name.")
@on_hosts
@trusts
@as_json
@click.pass_context
def search(
    ctx: click.Context, source: str | None, storage: str | None, out: str | None, resume: bool, force: bool,
    to_json: bool, remote_hosts: tuple[Any, ...], **options: Any,
) -> None:  # fmt: skip
    """Find how many channels each group may lose under a budget.

    Policies are proposed by Bayesian optimisation, and evaluated without training.

    MODEL_OR_RUN is a model's name or a run folder (its baseline and data are used). The best plan is left in
    the search's folder, for train-prune --plan. Workers that are started with one --storage share one search.
    With --max-drop it searches for several shares, and leaves the plan of the smallest network within that drop.

    \b
    edgeprune search resnet20
    edgeprune search runs/mine --target flops=0.5 --trials 200
    edgeprune search resnet56 --data cifar10 --weights resnet56.pt
    edgeprune search runs/mine --target latency=0.5 --device cpu
    edgeprune search runs/mine --max-drop 1.0
    edgeprune search runs/mine --target latency=10ms --host pi@desk --host pi@lab
    edgeprune search runs/mine --storage postgresql://user@host/db
    edgeprune search --resume
    """
    from edgeprune import search as room
    from edgeprune.processes.signals import exit_code
    from edgeprune.records.trust import trust_words
    from edgeprune.reporting.console import print_lines, print_table, progress_bars
    from edgeprune.reporting.drops import drop_lines, drop_table
    from edgeprune.runs.points import read_max_drop
    from edgeprune.training import Interrupted

    if resume and force:
        raise click.UsageError("--resume and --force exclude each other")
    typed = {"source": source, **typed_values(ctx, options)}
    typed_options = {name: value for name, value in typed.items() if value is not None}
    typed_options |= reached(remote_hosts)
    taken = None
    if resume:
        place = Path(out) if out else room.latest_search(RUNS)
        room.check_same_search(place, typed_options)
    else:
        name = (source or "").replace(":", "-")
        place, taken = (Path(out), None) if out else free_place("search", name)
    chosen = None if resume else SearchOptions.of(typed_options)
    if chosen is not None:
        room.check_before_torch(place, chosen, storage=storage, force=force)
        room.check_effect_of(chosen, typed_options)
    again = trust_words(source) + host_words(*remote_hosts) + (" --storage URL" if storage else "")
    begun = Begun(place, room.OPTIONS_FILE, resumed=resume, taken=taken)
    try:
        with progress_bars("trials") as progress:
            result = room.search(
                place,
                chosen,
                storage=storage,
                resume=resume,
                force=force,
                progress=begun.announcing(progress),
            )
        tried = read_max_drop(place)
    except (Interrupted, KeyboardInterrupt):
        begun.complain_of_stop(f"search --out {place} --resume{again}")
        ctx.exit(exit_code())
    if to_json:
        say({**result.to_dict(), **({"max_drop": tried.to_dict()} if tried else {})})
        return
    if tried is not None:
        print_table(f"{place}: networks that were tried", *drop_table(tried))
        print_lines(drop_lines(tried))
    print_table(f"{place}: {result.model}, {result.target}", *room.search_table(result))
    print_lines(room.search_remarks(result))
