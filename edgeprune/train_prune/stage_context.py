"""What the stages of a run share: its folder, data and options, and how a stage of training is made from them."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeprune import tasks, training
from edgeprune.backends.jobs import CALIBRATION_IMAGES
from edgeprune.budget import Budget
from edgeprune.data import DataBundle
from edgeprune.graph.classes import build_graph
from edgeprune.processes.distributed import world
from edgeprune.processes.progress import ProgressCallback
from edgeprune.records.runs import KeepPlan
from edgeprune.runs.progress_file import ProgressFile
from edgeprune.runs.run import Run
from edgeprune.tasks import Task
from edgeprune.train_prune.budgets import make_budget
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.training import Stage, TrainOptions

QUANTIZE = "quantize"  # the stage of training with int8's rounding
QUANTIZE_SHARE = 0.15  # of the epochs of pruning and fine-tuning


@dataclass
class StageContext:
    """One run in training.

    Attributes:
        run: its folder.
        data: that it is trained on.
        options: of the run.
        progress: called with (done, total, text).
        stop: whether a signal came.
        scalars: called with (tag, value, step).
        baseline_only: whether nothing follows the baseline.
    """

    run: Run
    data: DataBundle
    options: TrainPruneOptions
    progress: ProgressCallback
    stop: Callable[[], bool]
    scalars: Callable[[str, float, int], None]
    baseline_only: bool = False

    def __post_init__(self) -> None:
        self.progress = self._progress_file = ProgressFile(self.run.path, self.progress)

    @cached_property
    def budget(self) -> Budget:
        """The budget of the baseline."""
        baseline = self.run.load("baseline")
        graph = build_graph(baseline, torch.zeros(1, *self.data.shape), opaque=self.options.opaque or ())
        stored = self.run.config.get("plan")
        plan = None if stored is None else KeepPlan.from_dict(stored, self.run.path / "config.json")
        return make_budget(
            baseline, graph, self.options, plan=plan, progress=self.progress, images=self.calibration_images
        )

    def calibration_images(self) -> list[np.ndarray]:
        """Return batches of training images without augmentation, on which ranges of int8 are found."""
        batches = self.data.batches("train", batch_size=64, limit=CALIBRATION_IMAGES)
        return [images.numpy() for images, _ in batches]

    @property
    def task(self) -> Task:
        """The task of the network."""
        return tasks.get(self.options.task)

    def check_stop(self) -> None:
        """Stop between two stages if a signal came after the last step of the first, whose result is kept.

        Several processes would have to agree first; they stop in the next stage's first step.
        """
        if world().size == 1 and self.stop():
            raise training.Interrupted

    def train_options(self, lr: float, schedule: str) -> TrainOptions:
        """Return the options of a stage with this learning rate and schedule."""
        o = self.options
        return TrainOptions(
            batch_size=o.batch_size or 128,
            accumulate=o.accumulate,
            lr=lr,
            momentum=o.momentum,
            weight_decay=o.weight_decay,
            schedule=schedule,
            nesterov=o.nesterov,
            label_smoothing=o.label_smoothing,
            precision=o.precision,
            compile=o.compile,
            device=o.device,
            seed=o.seed,
        )

    def stage(self, name: str, model: nn.Module, options: TrainOptions, steps: int, **more: Any) -> Stage:
        """Return a stage of the run.

        Args:
            name: of the stage.
            model: that it trains.
            options: of its training.
            steps: of the optimizer.
            more: further fields of `Stage`.
        """
        self._progress_file.begin_stage(name, self._steps_after(name, steps, more.get("span")))
        return Stage(
            name, model, self.data, options, steps, run=self.run.training, progress=self.progress, stop=self.stop,
            scalars=self.scalars, task=self.task, **more,
        )  # fmt: skip

    def _steps_after(self, name: str, steps: int, span: tuple[int, int] | None) -> int | None:
        """Return the steps of the stages after one; None where a largest drop decides how many follow.

        Args:
            name: of the stage.
            steps: that it takes.
            span: see `Stage`; None outside of pruning and fine-tuning.
        """
        if self.options.max_drop is not None:
            return None
        if name == QUANTIZE or self.baseline_only:
            return 0
        before, total = span or (0, self.steps(self.options.epochs) + steps)
        return total - before - steps + self.steps(self.quantize_epochs)

    @property
    def quantize_epochs(self) -> int:
        """Epochs of training with int8's rounding."""
        o = self.options
        if o.quantize is None:
            return 0
        return o.quantize_epochs or max(1, round(QUANTIZE_SHARE * (o.epochs or 1)))

    def steps(self, epochs: int | None) -> int:
        """Return the optimizer steps of some epochs."""
        return self.data.steps(self.options.batch_size or 1) * (epochs or 0)
