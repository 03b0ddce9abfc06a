"""Prune an ONNX file by unlabelled inputs: the functions behind `edgeprune prune`."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import UNSET, UnsetType, structs

from edgeprune.errors import ExportError, RunError
from edgeprune.files.locks import held
from edgeprune.files.reading import sha256
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.onnx_graph.cutting import cut_file
from edgeprune.onnx_graph.files import OnnxFile, read, write
from edgeprune.onnx_graph.network import network_of
from edgeprune.post_training.checking import parity_with_torch
from edgeprune.post_training.curve import curve_of, draw_curve
from edgeprune.post_training.distilling import Unlabelled, distill, tensors_of
from edgeprune.post_training.exporting import versions, write_export
from edgeprune.post_training.labels import Labelled
from edgeprune.post_training.latency import FileLatency, reach
from edgeprune.post_training.options import PruneOptions
from edgeprune.post_training.pruning import PostTraining
from edgeprune.post_training.result import held_out as held_out_record
from edgeprune.post_training.subject import FileSubject, open_subject
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.processes.signals import stop_on_interrupt
from edgeprune.records.checking import check
from edgeprune.records.pruning import (
    CurveRecord,
    CutRecord,
    HeldOut,
    LearnedRecord,
    PruneConfig,
    PruneSummary,
    SizedModel,
    SizedModels,
)
from edgeprune.records.trust import check_factory, vouch_for, vouch_for_host
from edgeprune.runs.file_runs import FileRun

DATA_FREE = (
    "without inputs channels are chosen by weights alone and nothing is fitted: this costs far more accuracy than "
    "200 unlabelled inputs would; give them with --images"
)


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
    _check_out(out)
    vouch_for({"model": images, "host": options.host})
    FileRun.check_free(run_path, force=force, inputs=(str(path), images, None if out is None else str(out)))
    subject = open_subject(path, images, options)
    config = PruneConfig(
        options=asdict(options),
        model=name or str(path),
        sha256=sha256(path),
        images=images,
        out=None if out is None else str(out),
        external=tuple(sorted(subject.file.external)),
        versions=versions(),
    )
    labelled_of(subject, options)
    if options.on_device:
        reach(options, Path(run_path))
    PostTraining(subject.graph, subject.inputs, options, batch=subject.batch).check()
    run = FileRun.create(run_path, config, force=force)
    write(OnnxFile(subject.file.model, subject.file.name), run.baseline)
    return run, subject


def prune_run(
    run: FileRun, progress: ProgressCallback = no_progress, subject: FileSubject | None = None
) -> PruneSummary:
    """Prune the file of a run, from where it stopped; return the summary.

    Args:
        run: made by `begin`.
        progress: called with (done, total, text).
        subject: its file, where it was read; None to read it again.

    Raises:
        EdgePruneError: the inputs are gone, the target cannot be reached, or something cannot be written.
        InUseError: another process works on the run. Interrupted: Ctrl-C, SIGTERM or SIGHUP; a checkpoint is left.
    """
    with held(run.path):
        if run.has("summary.json"):
            return run.summary()
        config = run.config
        pruning = _Pruning(_subject_of(run, subject), options_of_run(run), progress, run)
        result = pruning.result(config.model, config.out or str(run.pruned))
        write_export(run, pruning.subject, pruning.final, pruning.parities())
        if config.out is not None:
            external = frozenset(config.external) & set(pruning.final.constants)
            write(OnnxFile(pruning.final.model, config.out, external), config.out)
        run.finish(result)
        return run.summary()


def curve_run(
    run: FileRun, progress: ProgressCallback = no_progress, subject: FileSubject | None = None
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
            pruning = _Pruning(_subject_of(run, subject), options_of_run(run), progress, run)
            points = curve_of(pruning.steps, progress)
            record = CurveRecord(model=run.config.model, points=tuple(points), notes=pruning.steps.fits.notes)
            run.save_curve(record)
        missing = draw_curve(record, run.picture) if record.points else "nothing can be pruned"
        return structs.replace(record, notes=(*record.notes, missing)) if missing else record


def _subject_of(run: FileRun, subject: FileSubject | None) -> FileSubject:
    """Return a run's file as it was read, or read it; raises RunError where it is gone or not trusted."""
    config = run.config
    if not run.baseline.is_file():
        raise RunError(f"{run.path} has no export/baseline.onnx: start it anew with --force")
    if config.images is not None and not Path(config.images).exists():
        check_factory(config.images, {}, run.path, what="inputs")
    return subject or open_subject(run.baseline, config.images, options_of_run(run))


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
    _check_out(out)
    vouch_for_host(options.host)
    pruning = _Pruning(open_subject(path, images, options), options, progress)
    result = pruning.result(str(path), str(out))
    write(pruning.final, out)
    return result


def _check_out(out: str | Path | None) -> None:
    if out is not None and Path(out).suffix != ".onnx":
        raise ExportError(f"{out} does not end in .onnx: an ONNX file is pruned to an ONNX file")


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


class _Pruning:
    """The steps from a file to the smaller one, each done once in a run.

    Args:
        subject: the file and its inputs.
        options: what is asked for.
        progress: called with (done, total, text).
        run: the folder in which steps are kept; None to keep none.
    """

    def __init__(
        self,
        subject: FileSubject,
        options: PruneOptions,
        progress: ProgressCallback,
        run: FileRun | None = None,
    ) -> None:
        self.subject, self.options, self._run, self._progress = subject, options, run, progress
        self._began = time.monotonic()
        self._device = (
            FileLatency(subject, reach(options, run.path if run else Path()), options, progress)
            if options.on_device
            else None
        )
        self.steps = PostTraining(
            subject.graph, subject.inputs, options, batch=subject.batch, joins=subject.joins,
            device=self._device, progress=progress,
        )  # fmt: skip
        self.steps.check()
        self.final: OnnxFile = subject.file
        self._labelled = labelled_of(subject, options)

    def result(self, model: str, out: str) -> PruneSummary:
        """Carry out what is left, and return what was done.

        Args:
            model: the file, as the user named it.
            out: where the smaller file will lie.
        """
        cut = self._cut_record()
        steps, learned = [*cut.held_out], None
        if self.options.distills:
            learned, step = self._learn()
            steps.append(step)
        subject, limit, notes = self.subject, self.options.max_change, cut.notes
        models, drop = self._models(cut.flops)
        if limit is not None and steps[-1].loss > limit:
            notes += (f"at the end the held-out outputs change by {steps[-1].loss:.4g}, more than {limit:g}",)
        latency = None if self._device is None else self._device.measure(self.final)
        return PruneSummary(
            model=model,
            out=out,
            target=cut.target,
            inputs=None if subject.inputs is None else subject.inputs.note,
            models=models,
            accuracy_drop=drop,
            params_fraction=models.pruned.params / max(1, models.baseline.params),
            flops_fraction=models.pruned.flops / max(1, models.baseline.flops),
            held_out=tuple(steps),
            fit=cut.fit,
            distilled=learned,
            latency=latency,
            seconds=round(cut.seconds + time.monotonic() - self._began, 3),
            protected_channels=cut.protected_channels,
            notes=notes,
            warnings=(DATA_FREE,) if subject.inputs is None else (),
        )

    def _models(self, flops: tuple[int, int]) -> tuple[SizedModels, float | UnsetType]:
        """Return both networks, and the accuracy that the smaller one lost if there are labelled images.

        Args:
            flops: of both.
        """
        labelled, subject = self._labelled, self.subject
        models = SizedModels(_sizes(subject.file, flops[0]), _sizes(self.final, flops[1]))
        if labelled is None:
            return models, UNSET
        self._progress(0, 1, "accuracy on labelled images")
        pruned = network_of(self.final, *subject.example)
        accuracies = labelled.accuracy(subject.network), labelled.accuracy(pruned)
        scored = [
            structs.replace(model, accuracy=accuracy, test_images=labelled.count)
            for model, accuracy in zip((models.baseline, models.pruned), accuracies, strict=True)
        ]
        return SizedModels(*scored), accuracies[0] - accuracies[1]

    # --- cut and fit ---------------------------------------------------------------------------------

    def _cut_record(self) -> CutRecord:
        """Return what the cut did, as in cut.json; the file is cut unless the run has done it."""
        record = None if self._run is None else self._run.cut_record()
        if record is not None:
            assert self._run is not None
            self.final = read(self._run.cut)
            return record
        subject, options = self.subject, self.options
        plan = self.steps.smallest_plan() if options.target is None else self.steps.plan(options.target)
        held_out, fit = self.steps.steps(plan.keep)
        with self.steps.fits.fitted(plan.keep, fit):
            cut = subject.cut(plan)
            parity_with_torch(cut.file, cut.network, subject.example)
        self.final = cut.file
        record = CutRecord(
            target=options.target or f"max-change={options.max_change:g}",
            held_out=tuple(held_out),
            fit=fit,
            flops=(subject.flops(), subject.flops(build_graph(cut.network, subject.example))),
            seconds=time.monotonic() - self._began,
            protected_channels=_protected(subject.graph),
            notes=(*cut.plan.notes, *subject.graph.notes, *self.steps.fits.notes),
            times=self.steps.times,
        )
        if self._run is not None:
            write(OnnxFile(cut.file.model, cut.file.name), self._run.cut)
            self._run.save_cut(record)
        self._began = time.monotonic()
        return record

    # --- learning ------------------------------------------------------------------------------------

    def _learn(self) -> tuple[LearnedRecord, HeldOut]:
        """Let the cut network learn the original's outputs; the weights that agree more are those of the result."""
        subject, options, inputs = self.subject, self.options, self.subject.inputs
        assert inputs is not None
        student = network_of(self.final, *subject.example)
        before = self.steps.of(student)
        held_out = inputs.order[self.steps.held_out_from : len(inputs)]
        learned_from = np.setdiff1d(inputs.order[: options.distill_limit], held_out, assume_unique=True)
        data = Unlabelled(inputs.source, learned_from, options.changes(inputs.source.images))
        training = options.training(self._batch_size(len(learned_from)))
        epochs = options.epochs(data.steps(training.batch_size))
        with stop_on_interrupt() as stop:
            learned = distill(
                student,
                subject.network,
                data,
                self.steps.calibration,
                training,
                epochs=epochs,
                run=None if self._run is None else self._run.training,
                progress=self._progress,
                stop=stop,
            )
        after = self.steps.of(student)
        step = held_out_record(f"distilled ({epochs} epochs)", after)
        if after.relative_error > before.relative_error:
            return structs.replace(learned, kept=False), step
        graph = build_graph(student, subject.example)
        self.final = cut_file(student, graph, Plan.of(graph, np.ones(graph.classes, dtype=bool))).file
        return learned, step

    def _batch_size(self, count: int) -> int:
        """Return the inputs of a step of training: as many as the file takes at once, or as are asked for."""
        unit = self.subject.batch or 1
        most = min(self.options.distill_batch, count) // unit * unit
        return max(unit, most) if self.subject.joins else unit

    def parities(self) -> dict[str, Any]:
        """Return how far ONNX Runtime and torch agree on both files."""
        example = self.subject.example
        pruned = network_of(self.final, *example)
        return {
            "baseline": parity_with_torch(self.subject.file, self.subject.network, example),
            "pruned": parity_with_torch(self.final, pruned, example),
        }


def labelled_of(subject: FileSubject, options: PruneOptions) -> Labelled | None:
    """Return the labelled images that the options name, if they do; raises DataError where they do not fit."""
    if options.labels is None:
        return None
    labelled = Labelled(Path(options.labels), subject.specs, options, subject.batch)
    with torch.no_grad():
        labelled.check(tensors_of(subject.network(*subject.example))[0])
    return labelled


def _sizes(file: OnnxFile, flops: int) -> SizedModel:
    """Return a file's size; its parameters are the floating-point numbers of its constants."""
    arrays = [file.array(name) for name in file.constants]
    params = sum(array.size for array in arrays if np.issubdtype(array.dtype, np.floating))
    return SizedModel(params=params, flops=flops, size_bytes=file.model.ByteSize())


def _protected(graph: Graph) -> dict[str, int]:
    """Return how many channels are kept for each reason."""
    counts: dict[str, int] = {}
    for protected in graph.protected:
        counts[protected.reason] = counts.get(protected.reason, 0) + protected.channels
    return counts
