"""`prune`."""

from typing import Any

import click

from edgeprune.cli.base import as_json, complain, echo, main, say
from edgeprune.cli.options import grouped, options_of
from edgeprune.post_training.options import PruneOptions


@main.command()
@click.argument("model")
@grouped("--out", "-o", required=True, metavar="FILE", help="Write the smaller file here.")
@grouped(
    "--images",
    group="data",
    metavar="PLACE",
    help="Unlabelled inputs: a folder of images, an .npy or .npz file, or package.module:factory of batches.",
)
@options_of(PruneOptions)
@as_json
def prune(model: str, out: str, images: str | None, to_json: bool, **options: Any) -> None:
    """Prune an ONNX file with some unlabelled inputs: no training code, no labels, no training.

    MODEL is an ONNX file. The smaller file has the same inputs and outputs. Layers that lose inputs are fitted so that
    they give what they gave before, and held-out inputs show how far the outputs agree with the original's.

    \b
    edgeprune prune model.onnx --images x.npz --target flops=0.7 -o small.onnx
    edgeprune prune model.onnx --images photos --scale 1/255 --color rgb
        --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
        --max-change 0.02 -o small.onnx
    """
    from edgeprune.post_training.files import prune_file
    from edgeprune.reporting.console import progress_bars

    chosen = PruneOptions(**options)
    with progress_bars() as progress:
        result = prune_file(model, out, chosen, images, progress)
    for warning in result.warnings:
        complain(f"warning: {warning}")
    if to_json:
        say(result.to_dict())
        return
    echo(f"{result.out}: {result.model} pruned to {result.target}")
    for line in result.lines():
        echo(f"  {line}")
    echo(f"next: edgeprune bench {result.model} {result.out}", err=True)
