"""`compare` and `verify`."""

from pathlib import Path
from typing import Any

import click

from edgeprune.cli.base import (
    RUNS,
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


@main.command()
@click.argument("source", required=False, metavar="RUN_OR_MODEL")
@click.option("--methods", help="Names with commas between, or all.")
@click.option("--moments", help="When to prune, from random weights: of start, epoch:N, plateau, end.")
@click.option("--seeds", type=int, default=3, show_default=True, help="Repetitions, with seeds 0, 1, ...")
@click.option("--data", help="digits, cifar10, cifar100, or a folder  [default: the run's, else digits].")
@click.option("--weights", help="The baseline's weights; without them it is trained, once for all rows.")
@opaque
@weights_key
@click.option("--target", help="What remains, as in train-prune  [default: the run's, else flops=0.5].")
@click.option("--target-device", help="Choose widths for this device, by its latency table.")
@assume_device
@click.option("--epochs", type=int, help="Epochs of pruning and fine-tuning together, in each row.")
@click.option("--prune-iterations", type=int, help="Steps of the pruning phase.")
@click.option("--baseline-epochs", type=int, help="Epochs for the baseline, when it is trained here.")
@click.option("--lr", type=float, help="Learning rate of pruning and fine-tuning.")
@click.option("--schedule", help="thesis, cosine, onecycle or constant.")
@click.option("--batch-size", type=int, help="Images per step.")
@click.option("--align", type=int, help="Widths become multiples of this.")
@click.option("--precision", help="auto, fp32, bf16 or fp16.")
@click.option("--device", help="auto, cpu or cuda.")
@click.option("--image-size", type=int, help="Side in pixels.")
@click.option("--data-root", help="Where torchvision's data sets are kept.")
@click.option("--download", is_flag=True, help="Let torchvision fetch the data set.")
@click.option("--latency/--no-latency", default=True, help="Whether each row is exported and measured.")
@click.option("--seconds", type=float, default=2.0, show_default=True, help="Of timed inference per model.")
@click.option("--out", help="Folder of the comparison  [default: runs/compare-NAME].")
@click.option("--resume", is_flag=True, help="Go on: finished rows are kept, failed ones tried again.")
@click.option("--force", is_flag=True, help="Replace a comparison of that name.")
@click.option("--json", "json_path", metavar="FILE", help="A second place for the result; - prints it.")
@on_host
@trusts
@click.pass_context
def compare(
    ctx: click.Context, source: str | None, out: str | None, resume: bool, force: bool, json_path: str | None,
    there: Any, **options: Any,
) -> None:  # fmt: skip
    """Prune with each method from one baseline, with one budget and one training, and rank what comes out.

    RUN_OR_MODEL is a run folder (its baseline, data and options are used) or a model's name.

    \b
    edgeprune compare resnet20 --methods l1,fpgm,learned --seeds 3
    edgeprune compare runs/mine --methods all --target flops=0.5 --no-latency
    edgeprune compare resnet20 --moments start,epoch:4,plateau,end
    edgeprune compare --resume
    """
    from dataclasses import asdict

    from edgeprune import comparison
    from edgeprune.processes.signals import exit_code
    from edgeprune.records.trust import trust_words
    from edgeprune.reporting.console import print_lines, print_table, progress_bars
    from edgeprune.training import Interrupted

    if resume and force:
        raise click.UsageError("--resume and --force exclude each other")
    typed = given(ctx, {"source": source, **options})
    asked = comparison.asked(typed)
    if there is not None:
        asked["host"] = asdict(there)
    place = Path(out) if out else free_place("compare", (source or "").replace(":", "-"))
    if resume:
        place = Path(out) if out else comparison.latest_comparison(RUNS)
        comparison.check_same_comparison(place, asked)
    chosen = None if resume else comparison.CompareOptions.of(asked)
    if chosen is not None:
        comparison.check_effect_of(chosen, typed)
    to_stdout = json_path == "-"
    again = trust_words(source) + host_words(there)
    try:
        with progress_bars("rows") as progress:
            result = comparison.compare(
                place, chosen, resume=resume, force=force, progress=progress,
                json_path=None if to_stdout else json_path,
            )  # fmt: skip
    except (Interrupted, KeyboardInterrupt):
        complain(f"stopped; go on with: edgeprune compare --out {place} --resume{again}")
        ctx.exit(exit_code())
    if to_stdout:
        say(result)
        return
    print_table(f"{place}: {result['source']}, {result['target']}", *comparison.comparison_table(result))
    print_lines(comparison.comparison_remarks(result))


@main.command()
@click.argument("run", required=False)
@click.option("--budget", required=True, metavar="FILE", help="Limits, one a line, in TOML.")
@click.option("--device", help="Whose measurement counts  [default: the budget's, or the only one].")
@click.option("--junit", metavar="FILE", help="A JUnit report too, for a CI system.")
@as_json
@click.pass_context
def verify(
    ctx: click.Context, run: str | None, budget: str, device: str | None, junit: str | None, to_json: bool
) -> None:
    """Hold a run against limits, for your own CI: exit code 0 if all are met, 1 if not.

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
    edgeprune verify runs/mine --budget budget.toml --device jetson-orin-nano --junit verify.xml
    """
    from edgeprune.reporting.console import print_lines, print_table
    from edgeprune.runs import verification

    result = verification.verify(latest_run(run), budget, device=device)
    if junit:
        verification.write_junit(result, Path(junit))
    if to_json:
        say(result)
    else:
        print_table(result["run"], *verification.verdict_table(result))
        print_lines(verification.verdict_remarks(result))
        echo("all limits are met" if result["passed"] else "not all limits are met")
    ctx.exit(0 if result["passed"] else 1)
