"""`prune`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgeprune.cli.base import (
    NOTHING_BEGUN,
    RUNS,
    Begun,
    as_json,
    complain,
    echo,
    free_place,
    main,
    say,
    trusts,
    typed_values,
)
from edgeprune.cli.host_options import host_words, on_hosts, reached
from edgeprune.cli.options import grouped, options_of
from edgeprune.post_training.options import PruneOptions
from edgeprune.runs.subject_options import FLAGS, OF_MODELS, SubjectOptions

if TYPE_CHECKING:
    from edgeprune.post_training.file_subject import FileSubject
    from edgeprune.post_training.model_subject import ModelSubject
    from edgeprune.records.pruning import CurveRecord, PruneSummary
    from edgeprune.runs.file_runs import FileRun


@main.command()
@click.argument("model", required=False)
@grouped(
    "--out",
    "-o",
    metavar="FILE",
    help="Write the smaller network here, too: .onnx, or .safetensors for one of torch  [default: in the run alone].",
)
@grouped(
    "--images",
    group="data",
    metavar="PLACE",
    help="Unlabelled inputs: a folder of images, an .npy or .npz file, or package.module:factory of batches.",
)
@options_of(SubjectOptions, flags=FLAGS, only=OF_MODELS, main=("weights",))
@options_of(
    PruneOptions,
    flags={
        "target_device": "--device",
        "target_runtime": "--runtime",
        "target_precision": "--precision",
        "target_batch": "--batch",
        "target_threads": "--threads",
    },  # fmt: skip
)
@on_hosts
@grouped(
    "--run", "run_path", metavar="DIR", help="Write the run into this folder  [default: runs/MODEL-pruned]."
)
@grouped("--resume", is_flag=True, help="Go on with the latest run, or with that of --run.")
@grouped("--force", is_flag=True, help="Replace a run of that name.")
@trusts
@as_json
@click.pass_context
def prune(
    ctx: click.Context,
    model: str | None,
    out: str | None,
    images: str | None,
    run_path: str | None,
    resume: bool,
    force: bool,
    to_json: bool,
    remote_hosts: tuple[Any, ...],
    **options: Any,
) -> None:
    """Prune an ONNX file, or any model, without training it.

    Some unlabelled inputs are enough: no training code, no labels.

    MODEL is an ONNX file; or a name, package.module:factory or a file of edgeprune.save, which is exported first,
    unless the smaller network is to be one of torch (-o NAME.safetensors). The smaller network has the same inputs
    and outputs. Layers that lose inputs are fitted so that they give what they gave before, and held-out inputs show
    how far the outputs agree with the original's.

    \b
    edgeprune prune model.onnx --images x.npz --target flops=0.7 -o small.onnx
    edgeprune prune model.onnx --images photos --scale 1/255 --color rgb
        --mean 0.485,0.456,0.406 --std 0.229,0.224,0.225
        --max-change 0.02 -o small.onnx
    edgeprune prune net.onnx --images x.npz --target latency=0.7 --host user@board
    edgeprune prune model.onnx --images x.npz --target latency=10ms@sustained
        --host pi@desk --host pi@lab
    edgeprune prune mynets:make --weights net.pt --images x.npz --target flops=0.7
        -o small.safetensors
    edgeprune prune --resume
    """
    from edgeprune.processes.signals import exit_code
    from edgeprune.records.pruning import CurveRecord
    from edgeprune.records.trust import trust_words, vouch_for
    from edgeprune.reporting.console import progress_bars
    from edgeprune.training import Interrupted

    of_model = {name: options.pop(name) for name in OF_MODELS}
    hosts = reached(remote_hosts)
    if resume:
        typed = list(typed_values(ctx, {"model": model, "out": out, "images": images, **of_model, **options}))
        if typed or force:
            shown = "--force" if force else "MODEL" if typed == ["model"] else f"`{typed[0]}`"
            raise click.UsageError(f"--resume goes on with what the run was begun with: leave {shown} out")
        vouch_for(hosts)
    elif model is None:
        raise click.UsageError("name an ONNX file or a model, or go on with a run by --resume")
    run, subject = _opened(run_path) if resume else None, None
    if run is not None and run.is_finished:
        complain(f"{run.path} is already finished")
    again = host_words(*remote_hosts) + trust_words(images)
    try:
        if run is None:
            assert model is not None
            chosen = PruneOptions(**options, **hosts)
            run, subject = _begun(model, of_model, chosen, run_path, images=images, out=out, force=force)
        from edgeprune.post_training.files import curve_run, prune_run

        with progress_bars("distill") as progress:
            is_curve = run.config.options.get("curve", False)
            result = (curve_run if is_curve else prune_run)(run, progress, subject)
    except (Interrupted, KeyboardInterrupt):
        complain(
            f"stopped; go on with: edgeprune prune --run {run.path} --resume{again}" if run else NOTHING_BEGUN
        )
        ctx.exit(exit_code())
    if isinstance(result, CurveRecord):
        _show_curve(run.path, result, to_json)
    else:
        _show_summary(run.path, result, to_json)


def _opened(run_path: str | None) -> "FileRun":
    """Return the run to go on with: the latest where none is named."""
    from edgeprune.runs.file_runs import FileRun, latest_file_run

    return FileRun.open(latest_file_run(RUNS) if run_path is None else run_path)


def _begun(
    model: str, of_model: dict[str, Any], options: PruneOptions, run_path: str | None, **more: Any
) -> "tuple[FileRun, FileSubject | ModelSubject]":
    """Begin the run: of a torch network itself where a torch network is to come out, else of its ONNX file.

    Args:
        model: as the user named it.
        of_model: fields of `SubjectOptions`.
        options: of the pruning.
        run_path: of the run; None for a free place named after the model.
        more: further arguments of `edgeprune.post_training.files.begin`.
    """
    from edgeprune.post_training.early_checks import check_before_torch, stays_torch
    from edgeprune.runs.file_runs import MARKER

    named = Path(model.replace(":", "-")).stem
    place, taken = (Path(run_path), None) if run_path else free_place(named, "pruned")
    source_options = SubjectOptions(**of_model)
    check_before_torch(model, source_options, place, options, **more)
    from edgeprune.post_training.exported import file_of  # and torch with it, which takes seconds
    from edgeprune.post_training.files import begin, begin_model

    begun = Begun(place, MARKER, resumed=False, taken=taken)
    if stays_torch(model, more["out"]):
        opened: tuple[FileRun, Any] = begin_model(model, source_options, place, options, **more)
    else:
        with file_of(model, source_options) as path:
            opened = begin(path, place, options, name=model, **more)
    begun.announce()
    return opened


def _show_summary(place: Any, summary: "PruneSummary", to_json: bool) -> None:
    """Print what was done to a file."""
    from edgeprune.post_training.result import result_lines

    for warning in summary.warnings:
        complain(f"warning: {warning}")
    if to_json:
        say({"run": str(place), **summary.to_dict()})
        return
    echo(f"{summary.out}: {summary.model} pruned to {summary.target}")
    for line in result_lines(summary):
        echo(f"  {line}")
    echo(f"next: edgeprune bench {place}", err=True)


def _show_curve(place: Any, record: "CurveRecord", to_json: bool) -> None:
    """Print how far a network can go."""
    from edgeprune.post_training.curve import curve_table
    from edgeprune.reporting.console import print_lines, print_table

    if to_json:
        say({"run": str(place), **record.to_dict()})
        return
    print_table(f"{record.model} ({place})", *curve_table(record))
    print_lines(record.notes)
