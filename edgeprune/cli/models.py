"""`inspect` and `export`."""

from pathlib import Path
from typing import Any

import click

from edgeprune.cli.base import as_json, echo, latest_run, main, opaque, say, trusts


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
@opaque
@trusts
@as_json
def inspect(
    model: str,
    shape: str | None,
    classes: int | None,
    ignore: tuple[str, ...],
    opaque: list[str] | None,
    to_json: bool,
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

    graph = inspected_graph(model, shape, classes, ignore, opaque)
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
@trusts
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
        echo(line)
    echo(f"next: edgeprune bench {place}", err=True)
