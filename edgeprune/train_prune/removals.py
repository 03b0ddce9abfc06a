"""The removals of a run: its method trains up to each, and makes it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import nn

from edgeprune import training
from edgeprune.data import Batch
from edgeprune.methods import chosen_method
from edgeprune.methods.course import Course, Removal
from edgeprune.methods.options import IN_SEQUENCE
from edgeprune.methods.phase import Context
from edgeprune.reconstruct import SEQUENTIAL_IMAGES
from edgeprune.recording.walks import plain_name
from edgeprune.train_prune.defaults import course_of
from edgeprune.train_prune.stage_context import StageContext
from edgeprune.training import TrainOptions

COMPARED_IMAGES = 2000  # images on which recalibrated and fitted models are compared


@dataclass(frozen=True)
class RemovalStages:
    """Makes a method's removals, from the baseline to the settled model; each saves its state."""

    context: StageContext

    def execute(self) -> None:
        """Make a method's removals, from the baseline to the settled model; each saves its state."""
        course = course_of(self.context.options, self.context.data)
        while (removal := course.next_after(self.context.run.removals.plans_and_steps()[1])) is not None:
            self.context.check_stop()
            self._make(course, removal)
        model, _ = self.context.run.removals.load()
        self.context.run.save_tensors("settled", model.state_dict())

    def _keep_times(self) -> None:
        """Save the measurement of the final widths on the device."""
        record = self.context.budget.record()
        if record is not None:
            self.context.run.save_times(record)

    def _make(self, course: Course, removal: Removal) -> None:
        """Train up to a removal, and make it."""
        plans, steps = self.context.run.removals.plans_and_steps()
        start = steps[-1] if steps else 0
        options = self.context.train_options(
            self.context.options.lr or 0.01, self.context.options.schedule or "thesis"
        )
        options = replace(options, compile=False)  # masks and penalties change what a step computes
        torch.manual_seed(self.context.options.seed + 1)  # for the random weights that the method adds
        model, momentum = self.context.run.removals.load()
        phase_context = self._phase_context(model, options, removal.step - start, (start, course.total))
        phase = chosen_method(self.context.options).phase(phase_context, removal)
        stage = self.context.stage(
            f"prune {len(plans) + 1}" if plans else "prune",
            phase.model,
            options,
            phase_context.steps,
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
        kept = removed.momentum if self.context.options.optimizer_state == "slice" or keeps_all else {}
        plan = removed.plan.record(phase.graph)
        self.context.run.removals.save(smaller.state_dict(), kept, plan, start + stage.step)

    def _phase_context(
        self, model: nn.Module, options: TrainOptions, steps: int, span: tuple[int, int]
    ) -> Context:
        """Return the context of a phase of ``steps`` steps; ``span`` is (steps before it, total steps)."""
        before, total = span
        return Context(
            model=model,
            example=torch.zeros(1, *self.context.data.shape),
            options=self.context.options,
            budget=lambda: self.context.budget,
            original=lambda: self.context.run.load("baseline").state_dict(),
            batches=self._batches,
            fit_batches=self._fit_batches,
            loss=self.context.task.loss_of_batch
            if self.context.task.loss_in_model
            else self.context.task.loss,
            steps=steps,
            per_epoch=self.context.data.steps(options.batch_size),
            learning_rate=lambda step: options.rate_at(before + step, total),
            momentum=options.momentum,
            device=options.device,
            precision=options.precision,
            seed=options.seed,
            run=self.context.run.training,
            report=lambda text: self.context.progress(0, 1, text),
        )

    def _recalibrated(self, fitted: nn.Module) -> nn.Module:
        """Return the model with recalibrated BatchNorm statistics, unless they are worse after sequential fits."""

        def recalibrate(model: nn.Module) -> None:
            training.recalibrate(model, self.context.data, batch_size=self.context.options.batch_size or 128)

        if self.context.options.reconstruct not in IN_SEQUENCE or not self.context.data.sizes["val"]:
            recalibrate(fitted)
            return fitted

        def held_out(model: nn.Module) -> float:
            score = training.score_of(
                model, self.context.data.batches("val", limit=COMPARED_IMAGES), self.context.task
            )
            return self.context.task.metric.worth(score)

        return training.recalibrated_if_better(fitted, recalibrate, held_out)

    def _batches(self) -> Iterator[Batch]:
        """Return training images without augmentation to score channels on, in the fixed shuffled order."""
        size = min(64, self.context.options.batch_size or 64)
        return self.context.data.batches(
            "train", batch_size=size, limit=size * self.context.options.score_batches
        )

    def _fit_batches(self) -> Iterator[Batch]:
        """Return images to refit layers on; sequential fits need many, or they overfit."""
        if self.context.options.reconstruct not in IN_SEQUENCE:
            return self._batches()
        return self.context.data.batches("train", batch_size=64, limit=SEQUENTIAL_IMAGES)


def _plainly_named(momenta: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return momenta under the names that parameters have without parametrisations."""
    return {plain_name(name): value for name, value in momenta.items()}
