"""`inspect` and `export`."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from edgeprune.cli.base import as_json, echo, finished_run, main, say, trusts
from edgeprune.cli.options import grouped, options_of
from edgeprune.methods import MethodOptions
from edgeprune.options.bounds import IMAGES
from edgeprune.options.checks import Count
from edgeprune.runs.subject_options import FLAGS, OF_MODELS, SUBJECT_FIELDS, SubjectOptions


@main.command()
@click.argument("model")
@options_of(
    SubjectOptions, flags=FLAGS, only=OF_MODELS, main=("inputs", "example", "weights", "into", "classes")
)
@grouped(
    "--ignore",
    group="model",
    multiple=True,
    metavar="NAME",
    help="Keep all output channels of this layer. May be repeated.",
)
@options_of(MethodOptions, only=("opaque",), main=("opaque",))
@grouped(
    "--lut",
    group="target",
    metavar="FILE",
    help="Show the range of latency by this table  [default: by all under luts/ that know the layers].",
)
@trusts
@as_json
def inspect(
    model: str,
    ignore: tuple[str, ...],
    opaque: list[str] | None,
    lut: str | None,
    to_json: bool,
    **subject: Any,
) -> None:
    """Show a model's coupled channels, and what can be reached.

    Also what they cost, what is protected and why, and the range of each target.

    MODEL is a zoo name, a torchvision name, package.module:factory, a file of edgeprune.save, or a run folder.

    \b
    edgeprune inspect resnet56
    edgeprune inspect torchvision:shufflenet_v2_x1_0 --input 3x224x224
    edgeprune inspect mypackage.nets:make --input 3x64x64 --json
    edgeprune inspect nets:make --input x=1x3x64x64 --input ids=1x16:int64
    edgeprune inspect pruned.safetensors
    edgeprune inspect runs/mine
    edgeprune inspect resnet56 --lut luts/cpu-onnxruntime-fp32-b1-t2.json
    """
    from edgeprune.reporting.console import print_lines, print_table, progress_bars
    from edgeprune.runs.inspection import group_remarks, group_rows, inspected_graph, protected_rows

    graph = inspected_graph(model, SubjectOptions(**subject), ignore, opaque)
    from edgeprune.api import describe  # and torch with it: the model's name is known to be right
    from edgeprune.runs.ranges import range_rows, ranges_of

    with progress_bars() as progress:
        description = {**describe(graph), "ranges": ranges_of(graph, lut, progress)}
    if to_json:
        say(description)
        return
    # Short headings: two columns of names such as "layer1.0.conv1," have room in a terminal of 80 columns.
    heads = [("group", "left"), ("units", "right"), ("written by", "left"), ("read by", "left")]
    heads += [("params", "right"), ("FLOPs", "right")]
    size = f"{description['params']:,} parameters, {description['flops'] / 1e6:,.1f} MFLOPs"
    title = f"{model}: {size}, {description['classes']} units that can be pruned"
    print_table(title, heads, group_rows(description))
    print_lines(group_remarks(description, model))
    print_table(
        "protected",
        [("layers", "left"), ("channels", "right"), ("because", "left")],
        protected_rows(description),
    )
    print_table("what targets can reach", *range_rows(description["ranges"]))


def _backends() -> str:
    from edgeprune.backends import names

    return f"Export with these backends, comma-separated: {', '.join(names())}  [default: onnx]."


ENGINE_OPTIONS = ("workspace_mb", "timing_cache")
INT8_FILES = ("onnx-int8", "onnx-int8-tensorrt")


def named_in(to: str | None) -> list[str]:
    """Return the names of backends that --to has, each once; none without it."""
    return [] if to is None else list(dict.fromkeys(map(str.strip, to.split(","))))


def chosen_backends(to: list[str], trt: bool, opset: int | None, engines: dict[str, Any]) -> list[Any]:
    """Return the backends that a command line asks for, with their options.

    Args:
        to: names; none for "onnx".
        trt: whether TensorRT is among them.
        opset: of ONNX.
        engines: precision, workspace, timing cache and the like, None where not given.
    """
    from edgeprune.backends import for_runtime, get

    kinds = {name: get(name) for name in [*(to or ["onnx"]), *(["tensorrt"] if trt else [])]}
    values: dict[str, Any] = {name: value for name, value in engines.items() if value is not None}
    if "timing_cache" in values:
        values["timing_cache"] = Path(values["timing_cache"])
    values |= {"opset": opset} if opset is not None else {}
    if "tensorrt" in kinds or "opset" in values:
        kinds.setdefault("onnx", get("onnx"))  # the source of engines, in the opset that is asked for
    used: set[str] = set()
    for name in ("calibration_images", "calibrate", "keep_float"):
        if name in values and values.get("precision") != "int8" and kinds.keys().isdisjoint(INT8_FILES):
            raise click.UsageError(f"--{name.replace('_', '-')} is of int8: give --precision int8 with it")
    for kind in [*kinds.values()]:  # what a backend is made from has options, too
        for need in kind.needs.get(values.get("precision", kind.precisions[0]), ()):
            if need in INT8_FILES:
                kinds.setdefault(need, get(need))
    if "precision" in values and "onnx" in kinds:  # ONNX has a backend for each
        typed = for_runtime("onnxruntime", values["precision"])
        assert typed is not None
        kinds.setdefault(typed.name, type(typed))
        used.add("precision")
    backends = []
    for kind in kinds.values():
        known = {field.name for field in fields(kind)} - (
            {"precision"} if len(kind.precisions) == 1 else set()
        )
        options = {name: value for name, value in values.items() if name in known}
        used |= set(options)
        backends.append(kind(**options))
    for name in values:
        if name not in used:
            about = (
                "is of engines: give --trt with it"
                if name in ENGINE_OPTIONS
                else f"is not of {', '.join(kinds)}"
            )
            raise click.UsageError(f"--{name.replace('_', '-')} {about}")
    return backends


@main.command()
@click.argument("models", metavar="[RUN | MODEL [PRUNED]]", nargs=-1)
@options_of(SubjectOptions, flags=FLAGS)
@grouped("--to", metavar="NAMES", about=_backends)
@grouped("--trt", is_flag=True, help="Build TensorRT engines too, where CUDA and TensorRT are.")
@grouped(
    "--precision",
    metavar="NAME",
    help="Export in this precision, as int8  [default: fp16 of engines, fp32 of other files].",
)
@grouped(
    "--calibration-images",
    type=int,
    metavar="N",
    check=IMAGES,
    help="Find the ranges of int8 on this many training images  [default: 512].",
)
@grouped(
    "--calibrate",
    metavar="WAY",
    help="Find the ranges of int8 ONNX by mse, minmax, percentile or entropy  [default: mse].",
)
@grouped(
    "--keep-float",
    metavar="LAYERS",
    help="Leave these layers of int8 ONNX in float32: none, how many of the most sensitive, their names, or auto, as "
    "few as let it agree with float32, or those of --precisions  [default: auto].",
)
@grouped(
    "--workspace-mb",
    type=int,
    metavar="N",
    check=Count(1, 1_048_576),
    help="Let a kernel of an engine use at most this much memory.",
)
@grouped(
    "--compute-capability",
    metavar="NAME",
    help="Build engines of TensorRT for RTX for this kind of GPU, as SM89  [default: SM86].",
)
@grouped(
    "--timing-cache", metavar="FILE", help="Keep kernel timings in this file from one build to the next."
)
@grouped(
    "--images",
    type=int,
    metavar="N",
    default=256,
    check=IMAGES,
    help="Check the export on this many real images  [default: 256].",
)
@grouped("--opset", type=int, metavar="N", check=Count(1, 1_000), help="Export in this opset of ONNX.")
@trusts
@as_json
def export(
    models: tuple[str, ...],
    to: str | None,
    trt: bool,
    images: int,
    opset: int | None,
    to_json: bool,
    **options: Any,
) -> None:
    """Export a run to ONNX and to the files of other runtimes.

    Both the baseline and the pruned model, checked against torch on real images. The exit code is 1 where none of the
    files that --to names could be made.

    RUN is a run folder; without it, the latest finished one under runs/. MODEL and PRUNED are any models, one or two:
    files of edgeprune.save, names, or package.module:factory; they go to --out. What a backend needs is exported too.

    \b
    edgeprune export
    edgeprune export runs/mine --to onnx,onnx-int8
    edgeprune export runs/mine --to openvino --precision int8
    edgeprune export runs/mine --trt --precision int8 --timing-cache kernels.cache
    edgeprune export nets:make pruned.safetensors --weights net.pt --out files
    """
    from edgeprune.backends.listing import artifact_table, lines
    from edgeprune.reporting.console import print_table, progress_bars
    from edgeprune.runs.run import Run
    from edgeprune.runs.subjects import subjects_of

    subject = {name: options.pop(name) for name in SUBJECT_FIELDS}
    named = named_in(to)
    chosen = chosen_backends(named, trt, opset, options)
    subjects = subjects_of(models or [str(finished_run(None))], SubjectOptions(**subject))
    if subjects.files is not None or subjects.models[0].load is None:
        raise click.UsageError(f"{subjects.title} is exported already: name models, or a run")
    if subjects.is_run:
        run = Run.open(subjects.title)
        run.check_trusted()
        run.summary()  # raises: it is not finished
    from edgeprune.backends import export_run  # and torch with it: what is named is there

    place = subjects.folder
    with progress_bars() as progress:
        record = export_run(subjects, to=chosen, images=images, progress=progress)
    if to_json:
        say(record)
    else:
        compared = next((made.parity.images for made in record.artifacts if made.parity), 0)
        print_table(f"{place}/export: compared with torch on {compared} images", *artifact_table(record))
        for line in lines(record):
            echo(line)
    named_files = [artifact.file for artifact in record.artifacts if artifact.backend in named]
    if named_files and not any(named_files):
        click.get_current_context().exit(1)
    if not to_json:
        echo(f"next: edgeprune bench {place}{_measuring(named, trt, options['precision'])}", err=True)


def _measuring(to: list[str], trt: bool, precision: str | None) -> str:
    """Return the options of `bench` that measure what was asked for last; '' where this machine does not run it.

    Args:
        to: names of backends; none for "onnx".
        trt: whether TensorRT is among them.
        precision: that was typed.
    """
    from edgeprune.backends import get
    from edgeprune.backends.onnx import Onnx

    if len(to) > 1:
        return " --runtime all"
    kind = get("tensorrt" if trt else (to or [Onnx.name])[-1])
    if kind.builds_on_target or kind.why_not_measured:
        return ""
    numbers = precision or kind.precisions[0]
    runtime = "" if kind.runtime == Onnx.runtime else f" --runtime {kind.runtime}"
    return runtime + ("" if numbers == Onnx.precisions[0] else f" --precision {numbers}")
