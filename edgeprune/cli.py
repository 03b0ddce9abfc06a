"""The command line: parse, call one function, print. Heavy packages are imported by what is called."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from edgeprune.errors import EdgePruneError, RunError
from edgeprune.host_options import on_host

RUNS = Path("runs")


class _Group(click.Group):
    """Turns a user's mistake into one line and exit code 1, in one place."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EdgePruneError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(1)
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
            ctx.exit(130)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="edgeprune")
def main() -> None:
    """Prune a CNN while training it, export it, and measure on the device what was really gained.

    \b
    edgeprune train-prune                       a ResNet-20 on handwritten digits, half of the FLOPs
    edgeprune export                            the latest run, to ONNX
    edgeprune bench                             baseline and pruned, in turn, on this machine
    """


def as_json(function: Callable[..., Any]) -> Callable[..., Any]:
    """The --json flag that every command has."""
    return click.option("--json", "to_json", is_flag=True, help="Print the result as JSON.")(function)


def say(value: Any) -> None:
    """A result as JSON on stdout."""
    click.echo(json.dumps(value, indent=2))


def latest_run(given: str | None) -> Path:
    """The run that was named, or the latest one under runs/."""
    if given is not None:
        return Path(given)
    found = sorted(RUNS.glob("*/config.json"), key=lambda p: p.stat().st_mtime_ns)
    if not found:
        raise RunError("no run under runs/ yet: make one with 'edgeprune train-prune', or name a run folder")
    return found[-1].parent


def free_place(model: str, data: str) -> Path:
    """runs/MODEL-DATA, with a number behind it where that is taken."""
    name = f"{model.replace(':', '-')}-{Path(data).name}"
    places = [RUNS / name, *(RUNS / f"{name}-{i}" for i in range(2, 10_000))]
    return next(place for place in places if not place.exists())


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
    "--weights", help="Trained weights (.safetensors, .pt); without them the baseline is trained first."
)
@click.option(
    "--method",
    default="learned",
    show_default=True,
    help="How channels are chosen: learned; or a criterion: l1, l2, fpgm, whc, cop, similarity, bn-scale, "
    "ssl, sss, taylor, hrank, chip, fma, thinet, lasso, nisp, random; or saliency-similarity.",
)
@click.option(
    "--prune-schedule",
    help="Of a criterion: one-shot, iterative, soft or regularised  [default: its source's].",
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
    help="Fit the next layers by least squares: none, scale, kernel  [default: its source's].",
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
    "--target", default="flops=0.5", show_default=True, help="What remains: flops=F or params=F, 0 < F <= 1."
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
@as_json
@click.pass_context
def train_prune(
    ctx: click.Context, out: str | None, resume: bool, force: bool, to_json: bool, **options: Any
) -> None:
    """Train a model (unless weights are given), prune it while training, fine-tune it.

    \b
    edgeprune train-prune
    edgeprune train-prune --model resnet56 --data DIR --weights resnet56.safetensors --target flops=0.5
    edgeprune train-prune --out runs/mine --resume
    """
    from edgeprune import pipeline
    from edgeprune.console import print_rows, progress_bars
    from edgeprune.ranks import ranks
    from edgeprune.recipe import TrainPruneOptions
    from edgeprune.report import size_rows
    from edgeprune.training import Interrupted

    if resume and force:
        raise click.UsageError("--resume and --force exclude each other")
    place = latest_run(out) if resume else Path(out) if out else free_place(options["model"], options["data"])
    if resume:
        pipeline.check_same_options(place, _given(ctx, options))
    chosen = None if resume else TrainPruneOptions(**options)
    try:
        kinds = ("baseline", "prune", "finetune", "test")
        with progress_bars(*kinds, shown=ranks().main) as progress:
            summary = pipeline.train_prune(place, chosen, resume=resume, force=force, progress=progress)
    except Interrupted:
        click.echo(f"stopped; go on with: edgeprune train-prune --out {place} --resume", err=True)
        ctx.exit(130)
    if not ranks().main:
        return
    if to_json:
        say({"run": str(place), **summary})
        return
    print_rows(f"{place}", size_rows(summary), summary["notes"])
    click.echo(f"next: edgeprune export {place}", err=True)


def _given(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """Options that were typed, not defaulted."""
    typed = click.core.ParameterSource.COMMANDLINE
    return {name: value for name, value in options.items() if ctx.get_parameter_source(name) == typed}


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
    from edgeprune.steering import send, status

    place = latest_run(run)
    if interacting is None and not auto and not show:
        raise click.UsageError("say --interacting N, --auto or --show")
    if interacting is not None or auto:
        send(place, interacting, auto=auto)
    found = status(place)
    if to_json:
        say(found)
    else:
        for key, value in found.items():
            click.echo(f"{key}: {value}")


@main.command()
@click.argument("model")
@click.option(
    "--input",
    "shape",
    default=None,
    help="Example input, as 3x224x224  [default: 3x32x32 for CIFAR models, else 3x224x224].",
)
@click.option("--classes", type=int, default=None, help="Number of classes the model is built with.")
@click.option("--ignore", multiple=True, help="A layer whose output channels stay; may be repeated.")
@as_json
def inspect(
    model: str, shape: str | None, classes: int | None, ignore: tuple[str, ...], to_json: bool
) -> None:
    """Show the sets of coupled channels of a model, what they cost, and what is protected and why.

    MODEL is a zoo name, a torchvision name, package.module:factory, or a run folder.

    \b
    edgeprune inspect resnet56
    edgeprune inspect torchvision:shufflenet_v2_x1_0 --input 3x224x224
    edgeprune inspect mypackage.nets:make --input 3x64x64 --json
    edgeprune inspect runs/mine
    """
    from edgeprune.api import describe
    from edgeprune.console import print_table
    from edgeprune.inspection import group_rows, inspected_graph, protected_rows

    graph = inspected_graph(model, shape, classes, ignore)
    found = describe(graph)
    if to_json:
        say(found)
        return
    heads = [("coupled channels", "left"), ("count", "right"), ("written by", "left"), ("read by", "left")]
    heads += [("parameters", "right"), ("FLOPs", "right")]
    size = f"{found['params']:,} parameters, {found['flops'] / 1e6:,.1f} MFLOPs"
    title = f"{model}: {size}, {found['classes']} decisions"
    print_table(title, heads, group_rows(found))
    print_table(
        "protected", [("layers", "left"), ("channels", "right"), ("because", "left")], protected_rows(found)
    )


def engine_options(trt: bool, given: dict[str, Any]) -> Any:
    """What --trt and its companions come to; False without --trt."""
    known = {name: value for name, value in given.items() if value is not None}
    if known and not trt:
        raise click.UsageError(f"--{next(iter(known)).replace('_', '-')} is of engines: give --trt with it")
    if not trt:
        return False
    from edgeprune.export import TrtOptions

    if "timing_cache" in known:
        known["timing_cache"] = Path(known["timing_cache"])
    return TrtOptions(**known)


@main.command()
@click.argument("run", required=False)
@click.option("--trt", is_flag=True, help="TensorRT engines too, where CUDA and TensorRT are.")
@click.option("--precision", help="Of the engines: fp32, fp16 or int8  [default: fp16].")
@click.option("--workspace-mb", type=int, help="Memory that a kernel of an engine may use, at most.")
@click.option("--timing-cache", metavar="FILE", help="Times of kernels, kept from one build to the next.")
@click.option(
    "--images", type=int, default=256, show_default=True, help="Real images the export is checked on."
)
@click.option("--opset", type=int, help="Of ONNX.")
@as_json
def export(run: str | None, trt: bool, images: int, opset: int | None, to_json: bool, **engines: Any) -> None:
    """Baseline and pruned model to ONNX, checked against torch on real images.

    RUN is a run folder; without it, the latest under runs/.

    \b
    edgeprune export
    edgeprune export runs/mine --trt --precision int8 --timing-cache kernels.cache
    """
    from edgeprune.console import print_table, progress_bars
    from edgeprune.export import export_run
    from edgeprune.report import engine_lines

    wished = engine_options(trt, engines)
    place = latest_run(run)
    with progress_bars() as progress:
        record = export_run(place, trt=wished, images=images, opset=opset, progress=progress)
    if to_json:
        say(record)
        return
    rows = [
        [
            model["file"],
            f"{model['size_bytes'] / 1e3:,.1f} kB",
            f"{model['params']:,}",
            f"{100 * model['parity']['top1_agreement']:.2f} %",
            f"{model['parity']['max_abs_diff']:.2e}",
        ]
        for model in record["models"].values()
    ]
    heads = [
        ("file", "left"),
        ("size", "right"),
        ("parameters", "right"),
        ("top-1 agrees", "right"),
        ("largest difference", "right"),
    ]
    print_table(f"{place}/export: ONNX against torch on {images} images", heads, rows)
    for line in engine_lines(record["tensorrt"]):
        click.echo(line)
    click.echo(f"next: edgeprune bench {place}", err=True)


@main.command()
@click.argument("run", required=False)
@click.option(
    "--device",
    help="A profile of 'edgeprune devices'; jetson finds out which Jetson it is, auto which board  "
    "[default: cpu; auto with --host].",
)
@on_host
@click.option("--resume", is_flag=True, help="Go on with the rounds that a cut measurement lacks.")
@click.option("--batch", type=int, default=1, show_default=True, help="Images per inference.")
@click.option("--threads", type=int, help="Of the runtime  [default: all physical cores].")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="Of timed inference per model.")
@click.option("--layers", is_flag=True, help="Time every layer too, in passes of their own.")
@click.option("--no-accuracy", is_flag=True, help="Leave out the accuracy of the files.")
@click.option("--json", "json_path", metavar="FILE", help="A second place for the result; - prints it.")
def bench(
    run: str | None, device: str | None, batch: int, threads: int | None, seconds: float, no_accuracy: bool,
    json_path: str | None, layers: bool, resume: bool, there: Any,
) -> None:  # fmt: skip
    """Measure baseline and pruned side by side: latency, throughput, memory, energy, accuracy.

    RUN is a run folder; without it, the latest under runs/. Each round is a fresh process with one model,
    baseline and pruned in turn, so that drift cancels.

    \b
    edgeprune bench
    edgeprune bench runs/mine --batch 32 --threads 1 --seconds 30 --json result.json
    edgeprune bench runs/mine --layers
    edgeprune bench runs/mine --device jetson --host user@board
    """
    from edgeprune.bench import bench_run
    from edgeprune.console import print_rows, print_table, progress_bars
    from edgeprune.report import bench_rows, layer_table, layers_title, remarks, size_rows, speedup_line
    from edgeprune.runs import Run

    place = latest_run(run)
    found = Run.open(place)
    to_stdout = json_path == "-"
    with progress_bars() as progress:
        result = bench_run(
            place, device=device, batch=batch, threads=threads, seconds=seconds,
            json_path=None if to_stdout else json_path, accuracy=not no_accuracy, progress=progress,
            layers=layers, host=there, resume=resume,
        )  # fmt: skip
    if to_stdout:
        say(result)
        return
    rows = [*size_rows(found.summary()), *bench_rows(result)]
    title = f"{place} on {result['device']['title']} ({result['settings']['threads']} threads)"
    print_rows(title, rows, [speedup_line(result), *remarks(result)])
    if layers:
        print_table(layers_title(result["layers"]), *layer_table(result["layers"]))


@main.command()
@click.option("--detect", is_flag=True, help="Say what this machine is, and which power sensors answer.")
@on_host
@as_json
def devices(detect: bool, to_json: bool, there: Any) -> None:
    """List the device profiles, or find out what this machine is, or the one at --host.

    \b
    edgeprune devices
    edgeprune devices --detect
    edgeprune devices --detect --host user@board
    """
    from edgeprune.console import print_table
    from edgeprune.report import detection_lines, device_table

    if detect or there:
        from edgeprune.bench import detect_report

        found = detect_report(there.connect() if there else None)
        if to_json:
            say(found)
        else:
            click.echo("\n".join(detection_lines(found)))
        return
    from edgeprune.devices import device_rows

    rows = device_rows()
    if to_json:
        say(rows)
        return
    print_table("device profiles", *device_table(rows))


@main.command()
@click.argument("source", required=False, metavar="RUN_OR_MODEL")
@click.option("--methods", help="Names with commas between, or all.")
@click.option("--moments", help="When to prune, from random weights: of start, epoch:N, plateau, end.")
@click.option("--seeds", type=int, default=3, show_default=True, help="Repetitions, with seeds 0, 1, ...")
@click.option("--data", help="digits, cifar10, cifar100, or a folder  [default: the run's, else digits].")
@click.option("--weights", help="The baseline's weights; without them it is trained, once for all rows.")
@click.option("--target", help="What remains: flops=F or params=F  [default: the run's, else flops=0.5].")
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
@click.pass_context
def compare(
    ctx: click.Context, source: str | None, out: str | None, resume: bool, force: bool, json_path: str | None,
    **options: Any,
) -> None:  # fmt: skip
    """Prune with each method from one baseline, with one budget and one training, and rank what comes out.

    RUN_OR_MODEL is a run folder (its baseline, data and options are used) or a model's name.

    \b
    edgeprune compare resnet20 --methods l1,fpgm,learned --seeds 3
    edgeprune compare runs/mine --methods all --target flops=0.5 --no-latency
    edgeprune compare resnet20 --moments start,epoch:4,plateau,end
    edgeprune compare --resume
    """
    from edgeprune import comparison
    from edgeprune.console import print_table, progress_bars
    from edgeprune.training import Interrupted

    if resume and force:
        raise click.UsageError("--resume and --force exclude each other")
    asked = comparison.asked(_given(ctx, {"source": source, **options}))
    place = Path(out) if out else free_place("compare", (source or "").replace(":", "-"))
    if resume:
        place = Path(out) if out else comparison.latest_comparison(RUNS)
        comparison.check_same_options(place, asked)
    chosen = None if resume else comparison.CompareOptions.of(asked)
    to_stdout = json_path == "-"
    try:
        with progress_bars("rows") as progress:
            result = comparison.compare(
                place, chosen, resume=resume, force=force, progress=progress,
                json_path=None if to_stdout else json_path,
            )  # fmt: skip
    except Interrupted:
        click.echo(f"stopped; go on with: edgeprune compare --out {place} --resume", err=True)
        ctx.exit(130)
    if to_stdout:
        say(result)
        return
    print_table(f"{place}: {result['source']}, {result['target']}", *comparison.table(result))
    click.echo("\n".join(comparison.remarks(result)))


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
    from edgeprune import verification
    from edgeprune.console import print_table

    result = verification.verify(latest_run(run), budget, device=device)
    if junit:
        verification.write_junit(result, Path(junit))
    if to_json:
        say(result)
    else:
        print_table(result["run"], *verification.table(result))
        click.echo("all limits are met" if result["passed"] else "not all limits are met")
    ctx.exit(0 if result["passed"] else 1)


if __name__ == "__main__":
    sys.exit(main())
