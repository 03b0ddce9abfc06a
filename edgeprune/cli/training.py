"""`train-prune` and `steer`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from edgeprune import resources
from edgeprune.cli.base import (
    as_json,
    complain,
    echo,
    free_place,
    given,
    latest_run,
    main,
    opaque,
    say,
    trusts,
    weights_key,
)
from edgeprune.cli.host_options import assume_device, host_words, on_host
from edgeprune.methods import METHODS, SCHEDULES
from edgeprune.resources import RESOURCES


def either(names: Sequence[str]) -> str:
    """Write names as 'a, b or c'."""
    return " or ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def show_methods(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    """Print every method with its line, and end the command."""
    if not wanted or ctx.resilient_parsing:
        return
    from edgeprune import methods

    every = methods.names()
    width = max(map(len, every))
    for name in every:
        echo(f"{name:{width}}  {methods.get(name).help}".rstrip())
    ctx.exit()


@main.command("train-prune")
@click.option(
    "--model",
    default="resnet20",
    show_default=True,
    help="Zoo or torchvision name, or package.module:factory.",
)
@click.option(
    "--data", default="digits", show_default=True, help="digits, cifar10, cifar100, or a folder of images."
)
@click.option(
    "--task",
    default="classification",
    show_default=True,
    help="What the network is for; a name in edgeprune.tasks.",
)
@click.option(
    "--weights",
    help="Trained weights (.safetensors, .pt, .ckpt ...); without them the baseline is trained first.",
)
@opaque
@weights_key
@click.option(
    "--method",
    default="learned",
    show_default=True,
    help=f"How channels are chosen, see --methods: {', '.join(METHODS.registered())}.",
)
@click.option(
    "--methods",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=show_methods,
    help="List the methods with a line each, and exit.",
)
@click.option("--plan", metavar="FILE", help="What goes, as written by 'edgeprune search' or Plan.to_dict.")
@click.option(
    "--prune-schedule",
    help=f"Of a criterion: {either(SCHEDULES.registered())}  [default: its source's].",
)
@click.option(
    "--moment",
    default="start",
    show_default=True,
    help="When a criterion prunes: start, epoch:N, plateau, end.",
)
@click.option(
    "--prune-steps", type=int, default=5, show_default=True, help="Removals of an iterative schedule."
)
@click.option(
    "--switch",
    type=float,
    default=0.5,
    show_default=True,
    help="Share of the removals by saliency before saliency-similarity turns to similarity.",
)
@click.option(
    "--shrink",
    type=float,
    default=0.66,
    show_default=True,
    help="Share of its size that regularised training takes off a scale the loss does not defend.",
)
@click.option("--reduction", help="Of a criterion over coupled layers: mean, sum, max or product.")
@click.option("--normalise", help="Of a criterion between layers: mean, max, sum, l2 or none.")
@click.option(
    "--score-batches",
    type=int,
    default=10,
    show_default=True,
    help="Batches of 64 images a criterion looks at.",
)
@click.option(
    "--reconstruct",
    help="Fit the next layers by least squares: none, scale, kernel, sequential  [default: its source's].",
)
@click.option(
    "--optimizer-state",
    default="reset",
    show_default=True,
    help="After a removal: reset it, or slice it with the channels.",
)
@click.option(
    "--init",
    default="baseline",
    show_default=True,
    help="Prune the trained baseline, or a random network in its first training.",
)
@click.option(
    "--target",
    default="flops=0.5",
    show_default=True,
    help="What remains, 0 < F <= 1: "
    f"{', '.join(resources.get(name).example for name in RESOURCES.registered())}; several with commas between.",
)
@click.option(
    "--target-device",
    help="Choose widths for this device, by its latency table  [default: cpu with a latency target].",
)
@on_host
@assume_device
@click.option("--target-batch", type=int, help="Images per inference on that device  [default: 1].")
@click.option("--target-threads", type=int, help="Of its runtime  [default: all its physical cores].")
@click.option(
    "--lut", help="That device's latency table  [default: its own under luts/, built where it is missing]."
)
@click.option("--epochs", type=int, help="Epochs of pruning and fine-tuning together.")
@click.option(
    "--prune-iterations", type=int, help="Steps of the pruning phase  [default: 4000, or 40 % of all]."
)
@click.option("--baseline-epochs", type=int, help="Epochs for the baseline, when it is trained here.")
@click.option("--lr", type=float, help="Learning rate of pruning and fine-tuning.")
@click.option("--baseline-lr", type=float, help="Learning rate of the baseline.")
@click.option("--schedule", help="thesis, cosine, onecycle or constant.")
@click.option("--batch-size", type=int, help="Images per step.")
@click.option("--weight-decay", type=float, default=1e-4, show_default=True)
@click.option("--momentum", type=float, default=0.9, show_default=True)
@click.option("--nesterov", is_flag=True, help="Nesterov's momentum.")
@click.option(
    "--distill/--no-distill",
    default=None,
    help="Fine-tune by the baseline's word too  [default: yes, if trained].",
)
@click.option("--label-smoothing", type=float, default=0.0, show_default=True)
@click.option(
    "--ema", type=float, default=0.0, show_default=True, help="Decay of an average of fine-tuned weights."
)
@click.option(
    "--mask-images", type=int, default=8, show_default=True, help="Images of a batch the pruning-models see."
)
@click.option("--offset", type=float, default=1.15, show_default=True, help="Of the continuous mask.")
@click.option("--align", type=int, default=1, show_default=True, help="Widths become multiples of this.")
@click.option("--floor", type=int, default=2, show_default=True, help="No layer keeps fewer channels.")
@click.option("--precision", default="auto", show_default=True, help="auto, fp32, bf16 or fp16.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu or cuda.")
@click.option("--image-size", type=int, help="Side in pixels  [default: the images' own, else 224].")
@click.option(
    "--val-fraction", type=float, default=0.05, show_default=True, help="Of the training images, held out."
)
@click.option("--data-root", help="Where torchvision's data sets are kept.")
@click.option("--download", is_flag=True, help="Let torchvision fetch the data set.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--out", help="Run folder  [default: runs/MODEL-DATA].")
@click.option("--resume", is_flag=True, help="Go on where an interrupted run stopped.")
@click.option("--force", is_flag=True, help="Replace a run of that name.")
@trusts
@as_json
@click.pass_context
def train_prune(
    ctx: click.Context, out: str | None, resume: bool, force: bool, to_json: bool, there: Any, **options: Any
) -> None:
    """Train a model (unless weights are given), prune it while training, fine-tune it.

    \b
    edgeprune train-prune
    edgeprune train-prune --model resnet56 --data DIR --weights resnet56.safetensors --target flops=0.5
    edgeprune train-prune --target latency=0.5 --target-device jetson --host user@board
    edgeprune train-prune --out runs/mine --resume
    """
    from dataclasses import asdict

    from edgeprune.processes.ranks import ranks
    from edgeprune.processes.signals import exit_code
    from edgeprune.records.trust import trust_words
    from edgeprune.reporting.console import print_rows, progress_bars
    from edgeprune.reporting.rows import size_rows
    from edgeprune.train_prune import pipeline
    from edgeprune.train_prune.effects import check_effect
    from edgeprune.train_prune.options import TrainPruneOptions
    from edgeprune.training import Interrupted

    if resume and force:
        raise click.UsageError("--resume and --force exclude each other")
    host = None if there is None else asdict(there)
    place = latest_run(out) if resume else Path(out) if out else free_place(options["model"], options["data"])
    if resume:
        pipeline.check_same_options(place, {**given(ctx, options), **({"host": host} if host else {})})
    chosen = None if resume else TrainPruneOptions(**options, host=host)
    if chosen is not None:
        check_effect([chosen], given(ctx, options))
    trusted = trust_words(options["model"])
    again = trusted + host_words(there)
    try:
        kinds = ("baseline", "prune", "finetune", "test")
        with progress_bars(*kinds, shown=ranks().main) as progress:
            summary = pipeline.train_prune(place, chosen, resume=resume, force=force, progress=progress)
    except (Interrupted, KeyboardInterrupt):
        complain(f"stopped; go on with: edgeprune train-prune --out {place} --resume{again}")
        ctx.exit(exit_code())
    if not ranks().main:
        return
    if to_json:
        say({"run": str(place), **summary})
        return
    print_rows(f"{place}", size_rows(summary), summary["notes"])
    echo(f"next: edgeprune export {place}{trusted}", err=True)


@main.command()
@click.argument("run", required=False)
@click.option("--interacting", help="Set it (500), or change it (+200, -200); the controller then rests.")
@click.option("--auto", is_flag=True, help="Give the wheel back to the controller.")
@click.option("--show", is_flag=True, help="Print where the pruning phase stands.")
@as_json
def steer(run: str | None, interacting: str | None, auto: bool, show: bool, to_json: bool) -> None:
    """Change `interacting` of a pruning phase while it runs: raising it prunes more.

    \b
    edgeprune steer runs/mine --show
    edgeprune steer runs/mine --interacting +200
    edgeprune steer runs/mine --auto
    """
    from edgeprune.train_prune.steering import send, status

    place = latest_run(run)
    if interacting is None and not auto and not show:
        raise click.UsageError("say --interacting N, --auto or --show")
    if interacting is not None and auto:
        raise click.UsageError("--interacting and --auto exclude each other")
    if interacting is not None or auto:
        send(place, interacting, auto=auto)
    found = status(place)
    if to_json:
        say(found)
    else:
        for key, value in found.items():
            echo(f"{key}: {value}")
