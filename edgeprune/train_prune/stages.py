"""The stages of a run: baseline, pruning, fine-tuning, one evaluation on the test images; each is resumable."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import nn

from edgeprune import tasks, training
from edgeprune.budget import Budget
from edgeprune.data import Batch, DataBundle
from edgeprune.errors import WeightsError
from edgeprune.files.reading import sha256
from edgeprune.graph.classes import build_graph
from edgeprune.methods import chosen_method
from edgeprune.methods.course import Course, Removal
from edgeprune.methods.phase import Context
from edgeprune.models import load_weights
from edgeprune.processes.distributed import world
from edgeprune.processes.progress import ProgressCallback
from edgeprune.reconstruct import SEQUENTIAL_IMAGES
from edgeprune.records.runs import KeepPlan, Summary
from edgeprune.runs.run import Run
from edgeprune.tasks import Task
from edgeprune.train_prune.budgets import make_budget
from edgeprune.train_prune.defaults import course_of
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.summary import summarize
from edgeprune.training import Stage, TrainOptions

COMPARED_IMAGES = 2000  # images on which recalibrated and fitted models are compared


@dataclass
class Stages:
    """The stages of one run; ``progress`` and ``stop`` are the caller's, ``scalars`` writes to TensorBoard."""

    run: Run
    data: DataBundle
    options: TrainPruneOptions
    progress: ProgressCallback
    stop: Callable[[], bool]
    scalars: Callable[[str, float, int], None]

    @cached_property
    def budget(self) -> Budget:
        """The budget of the baseline."""
        baseline = self.run.load("baseline")
        graph = build_graph(baseline, torch.zeros(1, *self.data.shape), opaque=self.options.opaque or ())
        stored = self.run.config.get("plan")
        plan = None if stored is None else KeepPlan.from_dict(stored, self.run.path / "config.json")
        return make_budget(baseline, graph, self.options, plan=plan, progress=self.progress)

    @property
    def task(self) -> Task:
        """The task of the network."""
        return tasks.get(self.options.task)

    def execute(self) -> Summary:
        """Run every stage that is not done yet, and return the summary."""
        self.baseline()
        self._check_stop()
        if not self.run.has("settled.safetensors"):
            self._prune()
        self._check_stop()
        if not self.run.has("pruned.safetensors"):
            self._finetune()
        self._check_stop()
        self.progress(0, 1, "test images")
        summary = summarize(self.run, self.data, self.options)
        self.run.finish(summary)
        return summary

    def _check_stop(self) -> None:
        """Stop between two stages if a signal came after the last step of the first, whose result is kept.

        Several processes would have to agree first; they stop in the next stage's first step.
        """
        if world().size == 1 and self.stop():
            raise training.Interrupted

    def baseline(self) -> None:
        """Make the unpruned model, if the run has none: from a weights file, by training, or with random weights."""
        if self.run.has("baseline.safetensors"):
            return
        if self.options.weights:
            self._baseline_from_file()
        elif self.options.init == "random":
            self._untrained_baseline()
        else:
            self._trained_baseline()

    def _train_options(self, lr: float, schedule: str) -> TrainOptions:
        o = self.options
        return TrainOptions(
            batch_size=o.batch_size or 128,
            lr=lr,
            momentum=o.momentum,
            weight_decay=o.weight_decay,
            schedule=schedule,
            nesterov=o.nesterov,
            label_smoothing=o.label_smoothing,
            precision=o.precision,
            device=o.device,
            seed=o.seed,
        )

    def _stage(self, name: str, model: nn.Module, options: TrainOptions, steps: int, **more: Any) -> Stage:
        return Stage(
            name, model, self.data, options, steps, run=self.run.training, progress=self.progress, stop=self.stop,
            scalars=self.scalars, task=self.task, **more,
        )  # fmt: skip

    def _steps(self, epochs: int | None) -> int:
        return self.data.steps(self.options.batch_size or 1) * (epochs or 0)

    def _baseline_from_file(self) -> None:
        """Copy the user's weights into a run that was killed before that."""
        path = self.options.weights or ""
        model = self.run.build()
        load_weights(model, path, key=self.options.weights_key)
        if sha256(path) != self.run.config["weights_sha256"]:
            raise WeightsError(f"{path} has changed since this run began: restore it, or start the run anew")
        self.run.save_tensors("baseline", model.state_dict())

    def _untrained_baseline(self) -> None:
        """Save the untrained network, which is the baseline of a run that prunes during its first training."""
        torch.manual_seed(self.options.seed)
        self.run.save_tensors("baseline", self.run.build().state_dict())

    def _trained_baseline(self) -> None:
        torch.manual_seed(self.options.seed)
        model = self.run.build()
        options = replace(
            self._train_options(self.options.baseline_lr or 0.1, "cosine"),
            nesterov=True,
            weight_decay=max(self.options.weight_decay, 5e-4),  # the usual decay from scratch
        )
        stage = self._stage("baseline", model, options, self._steps(self.options.baseline_epochs))
        stage.train()
        self.run.save_tensors("baseline", model.state_dict())

    def _prune(self) -> None:
        """Make a method's removals, from the baseline to the settled model; each saves its state."""
        course = course_of(self.options, self.data)
        while (removal := course.next_after(self.run.removals()[1])) is not None:
            self._check_stop()
            self._make(course, removal)
        model, _ = self.run.load_removal()
        self.run.save_tensors("settled", model.state_dict())

    def _keep_times(self) -> None:
        """Save the measurement of the final widths on the device."""
        record = self.budget.record()
        if record is not None:
            self.run.save_times(record)

    def _make(self, course: Course, removal: Removal) -> None:
        """Train up to a removal, and make it."""
        plans, steps = self.run.removals()
        start = steps[-1] if steps else 0
        options = self._train_options(self.options.lr or 0.01, self.options.schedule or "thesis")
        torch.manual_seed(self.options.seed + 1)  # for the random weights that the method adds
        model, momentum = self.run.load_removal()
        context = self._context(model, options, removal.step - start, (start, course.total))
        phase = chosen_method(self.options).phase(context, removal)
        stage = self._stage(
            f"prune {len(plans) + 1}" if plans else "prune",
            phase.model,
            options,
            context.steps,
            span=(start, course.total),
            momentum=momentum,
            recalibrate_for_evaluation=phase.recalibrates,
        )
        stage.callback = phase.begin()
        stage.train()
        phase.model.cpu()
        removed = phase.remove(_plainly_named(stage.momenta()))
        keeps_all = removal.progress == 0
        self._keep_times()
        smaller = removed.model if keeps_all else self._recalibrated(removed.model)
        kept = removed.momentum if self.options.optimizer_state == "slice" or keeps_all else {}
        plan = removed.plan.record(phase.graph)
        self.run.save_removal(smaller.state_dict(), kept, plan, start + stage.step)

    def _context(self, model: nn.Module, options: TrainOptions, steps: int, span: tuple[int, int]) -> Context:
        """Return the context of a phase of ``steps`` steps; ``span`` is (steps before it, total steps)."""
        before, total = span
        return Context(
            model=model,
            example=torch.zeros(1, *self.data.shape),
            options=self.options,
            budget=lambda: self.budget,
            original=lambda: self.run.load("baseline").state_dict(),
            batches=self._batches,
            fit_batches=self._fit_batches,
            loss=self.task.loss_of_batch if self.task.loss_in_model else self.task.loss,
            steps=steps,
            per_epoch=self.data.steps(options.batch_size),
            learning_rate=lambda step: options.rate_at(before + step, total),
            momentum=options.momentum,
            device=options.device,
            precision=options.precision,
            seed=options.seed,
            run=self.run.training,
            report=lambda text: self.progress(0, 1, text),
        )

    def _recalibrated(self, fitted: nn.Module) -> nn.Module:
        """Return the model with recalibrated BatchNorm statistics, unless they are worse after sequential fits."""

        def recalibrate(model: nn.Module) -> None:
            training.recalibrate(model, self.data, batch_size=self.options.batch_size or 128)

        if self.options.reconstruct != "sequential" or not self.data.sizes["val"]:
            recalibrate(fitted)
            return fitted

        def held_out(model: nn.Module) -> float:
            score = training.score_of(model, self.data.batches("val", limit=COMPARED_IMAGES), self.task)
            return self.task.metric.worth(score)

        return training.recalibrated_if_better(fitted, recalibrate, held_out)

    def _batches(self) -> Iterator[Batch]:
        """Return training images without augmentation to score channels on, in the fixed shuffled order."""
        size = min(64, self.options.batch_size or 64)
        return self.data.batches("train", batch_size=size, limit=size * self.options.score_batches)

    def _fit_batches(self) -> Iterator[Batch]:
        """Return images to refit layers on; sequential fits need many, or they overfit."""
        if self.options.reconstruct != "sequential":
            return self._batches()
        return self.data.batches("train", batch_size=64, limit=SEQUENTIAL_IMAGES)

    def _finetune(self) -> None:
        o = self.options
        model = self.run.load("settled")
        _, momentum = self.run.load_removal() if o.optimizer_state == "slice" else (None, {})
        before, total = self.run.removals()[1][-1], self._steps(o.epochs)
        options = replace(self._train_options(o.lr or 0.01, o.schedule or "thesis"), ema=o.ema)
        teacher = self.run.load("baseline") if o.distill else None
        stage = self._stage(
            "finetune",
            model,
            options,
            total - before,
            span=(before, total),
            teacher=teacher,
            momentum=momentum,
        )
        stage.train()
        model.cpu()
        training.recalibrate(model, self.data, batch_size=o.batch_size or 128)
        self.run.save_tensors("pruned", model.state_dict())
        self.run.drop_removals()


def _plainly_named(momenta: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return momenta under the names that parameters have without parametrisations."""
    return {
        name.replace("parametrizations.", "").removesuffix(".original"): value
        for name, value in momenta.items()
    }
