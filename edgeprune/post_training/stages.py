"""The steps of a pruning: cut and fit, label-free learning, the last comparison; each done once in a run."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from msgspec import UNSET, UnsetType, structs

from edgeprune.graph.classes import Graph
from edgeprune.post_training.checking import parity_with_torch
from edgeprune.post_training.distilling import Unlabelled, distill, tensors_of
from edgeprune.post_training.labels import Labelled
from edgeprune.post_training.options import PruneOptions
from edgeprune.post_training.pruning import PostTraining
from edgeprune.post_training.result import held_out as held_out_record
from edgeprune.post_training.subject import Form, Subject, flops_of
from edgeprune.processes.progress import ProgressCallback
from edgeprune.processes.signals import stop_on_interrupt
from edgeprune.records.pruning import CutRecord, HeldOut, LearnedRecord, PruneSummary, SizedModel, SizedModels
from edgeprune.runs.file_runs import FileRun

DATA_FREE = (
    "without inputs channels are chosen by weights alone and nothing is fitted: this costs far more accuracy than "
    "200 unlabelled inputs would; give them with --images"
)


class Stages:
    """The steps from a network to the smaller one, each done once in a run.

    Args:
        subject: the network and its inputs.
        options: what is asked for.
        progress: called with (done, total, text).
        run: the folder in which steps are kept; None to keep none.
    """

    def __init__(
        self,
        subject: Subject[Any, Any],
        options: PruneOptions,
        progress: ProgressCallback,
        run: FileRun | None = None,
    ) -> None:
        self.subject, self.options, self._run, self._progress = subject, options, run, progress
        self._began = time.monotonic()
        where = run.path if run else Path()
        self._device = subject.latency(options, where, progress) if options.on_device else None
        self.steps = PostTraining(
            subject.graph, subject.inputs, options, batch=subject.batch, joins=subject.joins,
            device=self._device, progress=progress,
        )  # fmt: skip
        self.steps.check()
        self.final: Form = subject.original
        self._labelled = labelled_of(subject, options)

    def result(self, model: str, out: str) -> PruneSummary:
        """Carry out what is left, and return what was done.

        Args:
            model: the network, as the user named it.
            out: where the smaller one will lie.
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
        latency = None if self._device is None else self._device.measure(self.final.timed)
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
        models = SizedModels(_sizes(subject.original, flops[0]), _sizes(self.final, flops[1]))
        if labelled is None:
            return models, UNSET
        self._progress(0, 1, "accuracy on labelled images")
        accuracies = labelled.accuracy(subject.network), labelled.accuracy(self.final.network)
        scored = [
            structs.replace(model, accuracy=accuracy, test_images=labelled.count)
            for model, accuracy in zip((models.baseline, models.pruned), accuracies, strict=True)
        ]
        return SizedModels(*scored), accuracies[0] - accuracies[1]

    # --- cut and fit ---------------------------------------------------------------------------------

    def _cut_record(self) -> CutRecord:
        """Return what the cut did, as in cut.json; the network is cut unless the run has done it."""
        suffix = self.subject.suffix
        record = None if self._run is None else self._run.cut_record(suffix)
        if record is not None:
            assert self._run is not None
            self.final = self.subject.kept(self._run.cut(suffix))
            return record
        subject, options = self.subject, self.options
        plan = self.steps.smallest_plan() if options.target is None else self.steps.plan(options.target)
        held_out, fit = self.steps.steps(plan.keep)
        with self.steps.fits.fitted(plan.keep, fit):
            self.final, carried_out = subject.cut(plan)
            parity_with_torch(self.final.onnx, self.final.network, subject.example)
        record = CutRecord(
            target=options.target or f"max-change={options.max_change:g}",
            held_out=tuple(held_out),
            fit=fit,
            flops=(flops_of(subject), flops_of(subject, self.final.network)),
            seconds=time.monotonic() - self._began,
            protected_channels=_protected(subject.graph),
            notes=(*carried_out.notes, *subject.graph.notes, *self.steps.fits.notes),
            times=self.steps.times,
        )
        if self._run is not None:
            self.final.keep(self._run.cut(suffix))
            self._run.save_cut(record)
        self._began = time.monotonic()
        return record

    # --- learning ------------------------------------------------------------------------------------

    def _learn(self) -> tuple[LearnedRecord, HeldOut]:
        """Let the cut network learn the original's outputs; the weights that agree more are those of the result."""
        subject, options, inputs = self.subject, self.options, self.subject.inputs
        assert inputs is not None
        student = subject.student(self.final)
        before = self.steps.of(student.network)
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
        after = self.steps.of(student.network)
        step = held_out_record(f"distilled ({epochs} epochs)", after)
        if after.relative_error > before.relative_error:
            return structs.replace(learned, kept=False), step
        self.final = subject.learned(student)
        return learned, step

    def _batch_size(self, count: int) -> int:
        """Return the inputs of a step of training: as many as the network takes at once, or as are asked for."""
        unit = self.subject.batch or 1
        most = min(self.options.distill_batch, count) // unit * unit
        return max(unit, most) if self.subject.joins else unit

    def parities(self) -> dict[str, Any]:
        """Return how far ONNX Runtime and torch agree on both networks."""
        forms = {"baseline": self.subject.original, "pruned": self.final}
        return {
            name: parity_with_torch(form.onnx, form.network, self.subject.example)
            for name, form in forms.items()
        }


def labelled_of(subject: Subject[Any, Any], options: PruneOptions) -> Labelled | None:
    """Return the labelled images that the options name, if they do; raises DataError where they do not fit."""
    if options.labels is None:
        return None
    labelled = Labelled(Path(options.labels), subject.specs, options, subject.batch)
    with torch.no_grad():
        labelled.check(tensors_of(subject.network(*subject.example))[0])
    return labelled


def _sizes(form: Form, flops: int) -> SizedModel:
    """Return the size of a network, in bytes as ONNX."""
    return SizedModel(params=form.params, flops=flops, size_bytes=form.onnx.model.ByteSize())


def _protected(graph: Graph) -> dict[str, int]:
    """Return how many channels are kept for each reason."""
    counts: dict[str, int] = {}
    for protected in graph.protected:
        counts[protected.reason] = counts.get(protected.reason, 0) + protected.channels
    return counts
