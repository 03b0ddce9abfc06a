"""Prune a finished network by unlabelled inputs: the functions behind `edgeprune prune`."""

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from msgspec import structs

from edgeprune.errors import RunError
from edgeprune.files.locks import held
from edgeprune.files.reading import sha256
from edgeprune.onnx_graph.files import OnnxFile, read, write
from edgeprune.post_training.curve import curve_of, draw_curve
from edgeprune.post_training.early_checks import check_out
from edgeprune.post_training.exporting import versions, write_export
from edgeprune.post_training.file_subject import FileSubject, open_subject
from edgeprune.post_training.images import laid_as_said
from edgeprune.post_training.model_subject import ModelSubject, open_model
from edgeprune.post_training.options import PruneOptions
from edgeprune.post_training.pruning import PostTraining
from edgeprune.post_training.stages import Stages, labelled_of
from edgeprune.post_training.subject import Subject
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.checking import check
from edgeprune.records.pruning import CurveRecord, PruneConfig, PruneSummary
from edgeprune.records.trust import check_factory, vouch_for, vouch_for_factory
from edgeprune.runs.file_runs import FileRun
from edgeprune.runs.subject_options import SubjectOptions

AnySubject = Subject[Any, Any]


def begin(
    path: str | Path,
    run_path: str | Path,
    options: PruneOptions,
    *,
    images: str | None = None,
    out: str | Path | None = None,
    force: bool = False,
    name: str | None = None,
) -> tuple[FileRun, FileSubject]:
    """Check what can be checked at once, and make the run folder with a copy of the file.

    Args:
        path: of the ONNX file.
        run_path: of the run folder.
        options: what is asked for.
        images: a folder of images, an .npy or .npz file, or package.module:factory; None to prune by weights alone.
        out: where the smaller file is written beside the run folder; None to leave it there alone.
        force: replace a run of that name.
        name: of the model that the file was exported from; None for the file's path.

    Returns:
        The run, and the file as it was read.

    Raises:
        EdgePruneError: any mistake in the input; nothing is written then.
    """
    check_out(out, torch_network=False)
    vouch_for({**asdict(options), "model": images})
    FileRun.check_free(run_path, force=force, inputs=(str(path), images, None if out is None else str(out)))
    options, subject = _read(path, images, options)
    config = PruneConfig(
        options=asdict(options),
        model=name or str(path),
        sha256=sha256(path),
        images=images,
        out=None if out is None else str(out),
        external=tuple(sorted(subject.file.external)),
        versions=versions(),
    )
    return _created(run_path, config, subject, options, force=force), subject


def _read(path: str | Path, images: str | None, options: PruneOptions) -> tuple[PruneOptions, FileSubject]:
    """Return the options, with what the file says of its images, and the file with its inputs."""
    file = read(path)
    chosen = laid_as_said(options, file)
    return chosen, open_subject(file, images, chosen)


def begin_model(
    source: str,
    of_model: SubjectOptions,
    run_path: str | Path,
    options: PruneOptions,
    *,
    images: str | None = None,
    out: str | Path,
    force: bool = False,
) -> tuple[FileRun, ModelSubject]:
    """Check what can be checked at once, and make the run folder of a torch network that is pruned itself.

    Args:
        source: a model's name, ``package.module:factory``, or a file of `edgeprune.save`.
        of_model: what was typed of the model.
        run_path: of the run folder.
        options: what is asked for.
        images: a folder of images, an .npy or .npz file, or package.module:factory; None to prune by weights alone.
        out: where the smaller network is written, .safetensors.
        force: replace a run of that name.

    Returns:
        The run, and the network with its inputs.

    Raises:
        EdgePruneError: any mistake in the input; nothing is written then.
    """
    check_out(out, torch_network=True)
    vouch_for({**asdict(options), "model": source})
    for place in (images, of_model.example, of_model.into):
        if place is not None:
            vouch_for_factory(place)
    inputs = (source, images, str(out), *(of_model.weights or ()))
    FileRun.check_free(run_path, force=force, inputs=inputs)
    subject = open_model(source, of_model, images, options)
    config = PruneConfig(
        options=asdict(options),
        model=source,
        source={name: getattr(of_model, name) for name in of_model.typed},
        sha256=_digest(subject.original.onnx),
        images=images,
        out=str(out),
        versions=versions(),
    )
    return _created(run_path, config, subject, options, force=force), subject


def _created(
    run_path: str | Path, config: PruneConfig, subject: AnySubject, options: PruneOptions, *, force: bool
) -> FileRun:
    """Check what takes no minutes, and make the run folder with the original as ONNX."""
    labelled_of(subject, options)
    if options.on_device:
        subject.latency(options, Path(run_path), no_progress)
    PostTraining(subject.graph, subject.inputs, options, batch=subject.batch).check()
    original = subject.original.onnx
    run = FileRun.create(run_path, config, force=force)
    write(OnnxFile(original.model, original.name), run.baseline)
    return run


def _digest(file: OnnxFile) -> str:
    return hashlib.sha256(file.model.SerializeToString()).hexdigest()


def prune_run(
    run: FileRun, progress: ProgressCallback = no_progress, subject: AnySubject | None = None
) -> PruneSummary:
    """Prune the network of a run, from where it stopped; return the summary.

    Args:
        run: made by `begin` or `begin_model`.
        progress: called with (done, total, text).
        subject: its network, where it was read; None to read it again.

    Raises:
        EdgePruneError: the inputs are gone, the target cannot be reached, or something cannot be written.
        InUseError: another process works on the run. Interrupted: Ctrl-C, SIGTERM or SIGHUP; a checkpoint is left.
    """
    with held(run.path):
        if run.has("summary.json"):
            return run.summary()
        config = run.config
        pruning = Stages(_subject_of(run, subject), options_of_run(run), progress, run)
        result = pruning.result(config.model, config.out or str(run.pruned))
        write_export(run, pruning.subject.original.onnx, pruning.final.onnx, pruning.parities())
        if config.out is not None:
            pruning.final.write(config.out, frozenset(config.external))
        run.finish(result)
        return run.summary()


def curve_run(
    run: FileRun, progress: ProgressCallback = no_progress, subject: AnySubject | None = None
) -> CurveRecord:
    """Show how far the file of a run can go: write curve.json and curve.png, and return the record.

    Args:
        run: made by `begin`.
        progress: called with (done, total, text).
        subject: its file, where it was read; None to read it again.

    Raises:
        EdgePruneError: the inputs are gone, or something cannot be written. InUseError: another process works on it.
    """
    with held(run.path):
        record = run.curve()
        if record is None:
            pruning = Stages(_subject_of(run, subject), options_of_run(run), progress, run)
            points = curve_of(pruning.steps, progress)
            record = CurveRecord(model=run.config.model, points=tuple(points), notes=pruning.steps.fits.notes)
            run.save_curve(record)
        missing = draw_curve(record, run.picture) if record.points else "nothing can be pruned"
        return structs.replace(record, notes=(*record.notes, missing)) if missing else record


def _subject_of(run: FileRun, subject: AnySubject | None) -> AnySubject:
    """Return a run's network as it was read, or read it; raises RunError where it is gone, changed or not trusted."""
    config, options = run.config, options_of_run(run)
    if not run.baseline.is_file():
        raise RunError(f"{run.path} has no export/baseline.onnx: start it anew with --force")
    if config.images is not None and not Path(config.images).exists():
        check_factory(config.images, {}, run.path, what="inputs")
    if subject is not None:
        return subject
    if config.source is None:
        return open_subject(read(run.baseline), config.images, options)
    return _model_of(run, config, options)


def _model_of(run: FileRun, config: PruneConfig, options: PruneOptions) -> ModelSubject:
    """Build the torch network of a run anew; raises RunError where it is not the one that the run began with."""
    check(config.source, SubjectOptions, f"{run.path / 'prune.json'} source", hint="was it edited?")
    of_model = SubjectOptions(**(config.source or {}))
    for name, what in ((config.model, "model"), (of_model.example, "example"), (of_model.into, "class")):
        if name is not None:
            check_factory(name, {}, run.path, what=what)
    subject = open_model(config.model, of_model, config.images, options)
    if _digest(subject.original.onnx) != config.sha256:
        raise RunError(
            f"{config.model} is not what {run.path} was begun with: its weights or its code changed; start it anew "
            "with --force"
        )
    return subject


def prune_file(
    path: str | Path,
    out: str | Path,
    options: PruneOptions,
    images: str | None = None,
    progress: ProgressCallback = no_progress,
) -> PruneSummary:
    """Prune an ONNX file and write the smaller one, without a run folder.

    Args:
        path: of the file.
        out: where the smaller file is written; it has the same inputs and outputs.
        options: what is asked for.
        images: a folder of images, an .npy or .npz file, or package.module:factory; None to prune by weights alone.
        progress: called with (done, total, text).

    Raises:
        ModelError: the file cannot be read, or its network cannot be run.
        DataError: the inputs are missing, too few, or do not fit.
        TargetError: the target cannot be reached.
        StorageError: the smaller file cannot be written.
    """
    check_out(out, torch_network=False)
    vouch_for(asdict(options))
    options, subject = _read(path, images, options)
    pruning = Stages(subject, options, progress)
    result = pruning.result(str(path), str(out))
    pruning.final.write(out, subject.file.external)
    return result


def options_of_run(run: FileRun) -> PruneOptions:
    """Return the options that a run was begun with; raises RunError if they are of another version."""
    where, options = run.path / "prune.json", run.config.options
    check(options, PruneOptions, f"{where} options", hint="was it edited?")
    try:
        return PruneOptions(**options)
    except TypeError as error:
        raise RunError(
            f"{where} was made by another version of edgeprune ({error}): start another run"
        ) from error
