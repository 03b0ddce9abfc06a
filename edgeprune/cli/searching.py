"""`search`."""

from pathlib import Path
from typing import Any

import click

from edgeprune.cli.base import (
    RUNS,
    as_json,
    complain,
    free_place,
    given,
    main,
    opaque,
    say,
    trusts,
    weights_key,
)
from edgeprune.cli.host_options import assume_device, host_words, on_host


@main.command()
@click.argument("source", required=False, metavar="MODEL_OR_RUN")
@click.option("--data", help="digits, cifar10, cifar100, or a folder  [default: the run's, else digits].")
@click.option("--weights", help="The baseline's weights; without them it is trained first.")
@opaque
@weights_key
@click.option("--target", help="What remains: flops=0.5, params=0.3, memory=20MB, latency=0.5, latency=8ms.")
@click.option("--trials", type=int, default=200, show_default=True, help="Policies that are evaluated.")
@click.option(
    "--clusters", type=int, default=3, show_default=True, help="Variables at first; 0: one a group."
)
@click.option(
    "--bridge", type=int, default=9, show_default=True, help="After a gradual rollback's first step."
)
@click.option("--rollback", default="gradual", show_default=True, help="none, direct or gradual.")
@click.option("--distance", default="st", show_default=True, help="Of groups: st (structure), eu or js.")
@click.option("--sampler", default="gp", show_default=True, help="gp, tpe or random; uniform or sensitivity.")
@click.option("--criterion", default="l1", show_default=True, help="Which channels of a group go first.")
@click.option("--wall", default="scale", show_default=True, help="Onto the budget: scale or sequential.")
@click.option(
    "--reconstruct", default="kernel", show_default=True, help="Least squares: kernel or sequential."
)
@click.option("--lowest", type=float, default=0.1, show_default=True, help="The least share of a group.")
@click.option("--images", type=int, default=2000, show_default=True, help="Held-out ones, to judge on.")
@click.option("--calibration", type=int, default=1000, show_default=True, help="Images to reconstruct from.")
@click.option(
    "--final-calibration",
    type=int,
    default=4000,
    show_default=True,
    help="The same, for the best at the end.",
)
@click.option("--device", "target_device", help="Choose for this device, by its latency table.")
@assume_device
@click.option("--target-batch", type=int, help="Images per inference there  [default: 1].")
@click.option("--target-threads", type=int, help="Of its runtime.")
@click.option("--lut", metavar="FILE", help="The latency table  [default: the device's under luts/].")
@click.option("--align", type=int, help="Widths become multiples of this.")
@click.option("--floor", type=int, help="No group keeps fewer channels.")
@click.option("--baseline-epochs", type=int, help="Epochs for the baseline, when it is trained here.")
@click.option("--image-size", type=int, help="Side in pixels.")
@click.option("--val-fraction", type=float, help="Share of the training images that is held out.")
@click.option("--data-root", help="Where torchvision's data sets are kept.")
@click.option("--download", is_flag=True, help="Let torchvision fetch the data set.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--storage", metavar="URL", help="Shared by workers  [default: a file in the search's folder].")
@click.option("--study", help="The study's name in that storage  [default: of model, data and target].")
@click.option("--out", help="Folder of the search  [default: runs/search-NAME].")
@click.option("--resume", is_flag=True, help="Go on, or take part while it runs.")
@click.option("--force", is_flag=True, help="Replace a search of that name.")
@on_host
@trusts
@as_json
@click.pass_context
def search(
    ctx: click.Context, source: str | None, storage: str | None, out: str | None, resume: bool, force: bool,
    to_json: bool, there: Any, **options: Any,
) -> None:  # fmt: skip
    """Find how many channels each group may lose under a budget, by Bayesian optimisation without training.

    MODEL_OR_RUN is a model's name or a run folder (its baseline and data are used). The best plan is left in
    the search's folder, for train-prune --plan. Workers that are started with one --storage share one search.

    \b
    edgeprune search resnet20
    edgeprune search runs/mine --target flops=0.5 --trials 200
    edgeprune search resnet56 --data cifar10 --weights resnet56.safetensors --target latency=0.5 --device cpu
    edgeprune search runs/mine --storage postgresql://user@host/db
    edgeprune search --resume
    """
    from dataclasses import asdict

    from edgeprune import search as room
    from edgeprune.processes.signals import exit_code
    from edgeprune.records.trust import trust_words
    from edgeprune.reporting.console import print_lines, print_table, progress_bars
    from edgeprune.training import Interrupted

    if resume and force:
        raise click.UsageError("--resume and --force exclude each other")
    if there is not None:
        options["host"] = asdict(there)
    asked = {"source": source, **given(ctx, options), **({"host": options["host"]} if there else {})}
    asked = {name: value for name, value in asked.items() if value is not None}
    place = Path(out) if out else free_place("search", (source or "").replace(":", "-"))
    if resume:
        place = Path(out) if out else room.latest_search(RUNS)
        room.check_same_search(place, asked)
    chosen = None if resume else room.SearchOptions.of(asked)
    if chosen is not None:
        room.check_effect_of(chosen, asked)
    again = trust_words(source) + host_words(there) + (" --storage URL" if storage else "")
    try:
        with progress_bars("trials") as progress:
            result = room.search(
                place, chosen, storage=storage, resume=resume, force=force, progress=progress
            )
    except (Interrupted, KeyboardInterrupt):
        complain(f"stopped; go on with: edgeprune search --out {place} --resume{again}")
        ctx.exit(exit_code())
    if to_json:
        say(result)
        return
    print_table(f"{place}: {result['model']}, {result['target']}", *room.search_table(result))
    print_lines(room.search_remarks(result))
