"""What a stage reports: lines of progress and of metrics."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeprune.processes.progress import ProgressCallback
from edgeprune.runs.training_state import TrainingState
from edgeprune.tasks import Metric

REPORT_EVERY = 50  # iterations, as the source of the learned criterion reports them


@dataclass
class StageLog:
    """Reports the steps and epochs of one stage.

    Attributes:
        stage: its name.
        steps: that it takes.
        per_epoch: steps of an epoch.
        metric: of the task.
        run: the training state of the run folder; None without one.
        progress: called with (done, total, text).
        scalars: called with (tag, value, step).
        score: of the metric on held-out images, after the last epoch; None before.
    """

    stage: str
    steps: int
    per_epoch: int
    metric: Metric
    run: TrainingState | None
    progress: ProgressCallback
    scalars: Callable[[str, float, int], None]
    score: float | None = None
    _last: tuple[str, str] = field(default=("", ""), init=False)  # the last step's text, around the score

    @property
    def score_key(self) -> str:
        """Key of the score in a checkpoint."""
        return f"val_{self.metric.name}"

    def after_step(self, step: int, loss: float, rate: float, values: Mapping[str, Any]) -> None:
        """Report a step.

        Args:
            step: number of steps that are done.
            loss: of the last one.
            rate: its learning rate.
            values: of the callback.
        """
        epochs = math.ceil(self.steps / self.per_epoch)
        epoch = (step - 1) // self.per_epoch + 1
        flops = f", FLOPs {100 * values['flops_fraction']:.1f} %" if "flops_fraction" in values else ""
        self._last = f"{self.stage} epoch {epoch}/{epochs}, loss {loss:.3f}", flops
        self._report(step)
        if step % REPORT_EVERY == 0 or step == self.steps:
            self._log(step, {"kind": "step", "loss": loss, "lr": rate, **values})

    def after_epoch(self, step: int, values: Mapping[str, float]) -> None:
        """Report the metrics on held-out images.

        Args:
            step: number of steps that are done.
            values: of the task's metrics, by name.
        """
        self.score = values[self.metric.name]
        self._report(step)
        self._log(step, {"kind": "epoch", **{f"val_{name}": value for name, value in values.items()}})

    def _report(self, step: int) -> None:
        before, after = self._last
        score = "" if self.score is None else f", val {self.metric.text(self.score)}"
        self.progress(step, self.steps, f"{before}{score}{after}")

    def _log(self, step: int, record: dict[str, Any]) -> None:
        if self.run is not None:
            self.run.log({"stage": self.stage, "step": step, **record})
        for key, value in record.items():
            if isinstance(value, (int, float)):
                self.scalars(f"{self.stage}/{key}", float(value), step)
