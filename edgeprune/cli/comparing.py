"""`compare` and `verify`."""

from pathlib import Path
from typing import Any

import click

from edgeprune.cli.base import (
    MEASURED,
    RUNS,
    Begun,
    as_json,
    complain,
    echo,
    finished_run,
    free_place,
    main,
    say,
    trusts,
    typed_values,
)
from edgeprune.cli.host_options import host_words, on_hosts, reached
from edgeprune.cli.options import grouped, options_of
from edgeprune.comparison.options import CompareOptions
from edgeprune.methods import MethodOptions
from edgeprune.train_prune.options import DataOptions, ModelOptions, TargetOptions, TrainingOptions


@main.command()
@click.argument("source", required=False, metavar="RUN_OR_MODEL")
@options_of(ModelOptions, inherited=True, only=("weights", "weights_key"))
@options_of(MethodOptions, inherited=True, only=("opaque", "prune_iterations"))
@options_of(DataOptions, inherited=True, omit=("val_fraction",))
@options_of(CompareOptions)
@options_of(TargetOptions, inherited=True, only=("target", "target_device", "assume_device", "align"))
@options_of(
    TrainingOptions,
    inherited=True,
    only=("epochs", "baseline_epochs", "lr", "schedule", "batch_size", "precision", "compile", "device"),
)
@grouped("--storage", metavar="URL", help="Share the rows with other workers here  [default: none].")
@grouped("--out", metavar="DIR", help="Write the comparison into this folder  [default: runs/compare-NAME].")
@grouped("--resume", is_flag=True, help="Resume: keep finished rows, try failed ones again.")
@grouped("--force", is_flag=True, help="Replace a comparison of that name.")
@grouped("--json", "json_path", metavar="FILE", help="Write the result to this file too; - prints it.")
@on_hosts
@trusts
@click.pass_context
def compare(
    ctx: click.Context, source: str | None, storage: str | None, out: str | None, resume: bool, force: bool,
    json_path: str | None, remote_hosts: tuple[Any, ...], **options: Any,
) -> None:  # fmt: skip
    """Prune with several methods alike, and rank the results.

    Each from one baseline, with one budget and one training.

    RUN_OR_MODEL is a run folder (its baseline, data and options are used) or a model's name. Workers that are
    started with one --storage share the rows, each with a folder of its own.

    \b
    edgeprune compare resnet20 --methods l1,fpgm,learned --seeds 3
    edgeprune compare runs/mine --methods all --target flops=0.5 --no-latency
    edgeprune compare resnet20 --moments start,epoch:4,plateau,end
    edgeprune compare runs/mine --methods l1,learned --target latency=10ms
        --host pi@desk --host pi@lab
    edgeprune compare runs/mine --methods all --storage redis://host/0 --out here
    edgeprune compare --resume
    """
    from edgeprune import comparison
    from edgeprune.processes.signals import exit_code
    from edgeprune.records.trust import trust_words
    from edgeprune.reporting.console import print_lines, print_table, progress_bars
    from edgeprune.training import Interrupted

    if resume and force:
        raise click.UsageError("--resume and --force exclude each other")
    typed = typed_values(ctx, {"source": source, **options})
    requested, taken = {**comparison.split_lists(typed), **reached(remote_hosts)}, None
    if resume:
        place = Path(out) if out else comparison.latest_comparison(RUNS)
        comparison.check_same_comparison(place, requested)
    else:
        name = (source or "").replace(":", "-")
        place, taken = (Path(out), None) if out else free_place("compare", name)
    chosen = None if resume else CompareOptions.of(requested)
    if chosen is not None:
        shared = comparison.check_before_torch(place, chosen, storage=storage, force=force)
        comparison.check_effect_of(chosen, typed)
        if note := comparison.planning_note(shared):
            complain(note)
    to_stdout = json_path == "-"
    again = trust_words(source) + host_words(*remote_hosts) + (" --storage URL" if storage else "")
    begun = Begun(place, comparison.OPTIONS_FILE, resumed=resume, taken=taken)
    try:
        with progress_bars("rows") as progress:
            result = comparison.compare(
                place, chosen, storage=storage, resume=resume, force=force, progress=begun.announcing(progress),
                json_path=None if to_stdout else json_path,
            )  # fmt: skip
    except (Interrupted, KeyboardInterrupt):
        begun.complain_of_stop(f"compare --out {place} --resume{again}")
        ctx.exit(exit_code())
    if to_stdout:
        say(result)
        return
    print_table(f"{place}: {result.source}, {result.target}", *comparison.comparison_table(result))
    print_lines(comparison.comparison_remarks(result))


@main.command()
@click.argument("run", required=False)
@click.option("--budget", metavar="FILE", help="Read the limits from this TOML file, one a line.  [required]")
@click.option(
    "--device",
    metavar="DEVICE",
    help="Use this device's measurement  [default: the budget's, or the only one].",
)
@click.option("--junit", metavar="FILE", help="Write a JUnit report too, for a CI system.")
@as_json
@click.pass_context
def verify(
    ctx: click.Context,
    run: str | None,
    budget: str | None,
    device: str | None,
    junit: str | None,
    to_json: bool,
) -> None:
    """Hold a run against limits, for your own CI.

    The exit code is 0 if all are met, 1 if not.

    A limit on what was not measured is not met. A budget has lines such as

    \b
    accuracy_drop_points = 1.0     # of the pruned model, at most
    onnx_top1_agreement = 0.99     # ONNX Runtime against torch, at least
    latency_p50_ms = 5.0
    speedup = 1.5                  # the lower end of its interval, at least
    memory_peak_mb = 50
    energy_mj = 20
    size_kb = 2000

    \b
    edgeprune verify --budget budget.toml
    edgeprune verify runs/mine --budget budget.toml --junit verify.xml
    """
    from edgeprune.reporting.console import print_lines, print_table
    from edgeprune.runs import verification

    if budget is None:
        raise click.UsageError(f"Missing option '--budget': a file of {verification.LINE}")
    result = verification.verify(finished_run(run, MEASURED), budget, device=device)
    if junit:
        verification.write_junit(result, Path(junit))
    if to_json:
        say(result)
    else:
        print_table(result["run"], *verification.verdict_table(result))
        print_lines(verification.verdict_remarks(result))
        echo("all limits are met" if result["passed"] else "not all limits are met")
    ctx.exit(0 if result["passed"] else 1)
