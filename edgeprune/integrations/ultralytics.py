"""Prune a YOLO in Ultralytics' own trainer.

::

    from ultralytics import YOLO
    from edgeprune.integrations.ultralytics import prune_while_training

    yolo = YOLO("yolo11n.pt")
    pruning = prune_while_training(yolo, target="flops=0.6")
    yolo.train(data="coco8.yaml", epochs=30)
    print(pruning.report)
    yolo.export(format="onnx")
"""

import math
from typing import Any

import torch

from edgeprune.errors import TrainError
from edgeprune.pruner import Pruner
from edgeprune.pruner.report import Report

ENDS_AT = 0.3  # of all steps: the last removal, after which the rest of the epochs recovers


class YoloPruning:
    """Callbacks of one training; `report` is set at its end.

    Args:
        target: as for `edgeprune.Pruner`.
        method: a criterion. The learned method does not support this trainer, whose forward takes a dict.
        ends_at: share of the training's steps at which the last channels are removed.
        options: others of `edgeprune.Pruner`.
    """

    def __init__(self, target: str, method: str, ends_at: float, options: dict[str, Any]) -> None:
        if method == "learned":
            raise TrainError(
                "the learned method does not act in Ultralytics' trainer: choose a criterion, as method='l1'"
            )
        if not 0 < ends_at < 1:
            raise TrainError(f"ends_at must be above 0 and below 1, not {ends_at}")
        self.target, self.method, self.ends_at, self.options = target, method, ends_at, options
        self.pruner: Pruner | None = None
        self.report: Report | None = None

    def on_train_start(self, trainer: Any) -> None:
        """Make the pruner, once the trainer has its model, optimizer and average."""
        weight = next(trainer.model.parameters())
        example = torch.zeros(
            1, 3, trainer.args.imgsz, trainer.args.imgsz, device=weight.device, dtype=weight.dtype
        )
        steps = trainer.epochs * math.ceil(len(trainer.train_loader) / max(1, trainer.accumulate))
        self.pruner = Pruner(
            trainer.model,
            example,
            method=self.method,
            target=self.target,
            steps=max(1, round(self.ends_at * steps)),
            optimizer=trainer.optimizer,
            scaler=trainer.scaler,
            copies=[trainer.ema.ema],
            **self.options,
        )

    def on_train_batch_end(self, trainer: Any) -> None:
        """Step the pruner if the optimizer took a step, which it does after several batches."""
        if self.pruner is not None and self.pruner.stepped and self.pruner.step()["removed"]:
            _forget_tensors(trainer.ema)
            # The best network so far is a larger one.
            trainer.best_fitness, trainer.stopper.best_fitness = None, 0.0

    def on_train_epoch_end(self, trainer: Any) -> None:
        """Make the remaining removals before the last epoch is evaluated, if the training is shorter than planned."""
        if self.pruner is not None and self.pruner.pruning and trainer.epoch + 1 >= trainer.epochs:
            self._finish()
            _forget_tensors(trainer.ema)
            trainer.best_fitness = None

    def on_train_end(self, trainer: Any) -> None:
        """Finish the pruning, and set `report`."""
        self._finish()

    def _finish(self) -> None:
        if self.pruner is not None and self.report is None:
            self.pruner.finish()
            self.report = self.pruner.report


def _forget_tensors(average: Any) -> None:
    """Let Ultralytics' average of the weights list its tensors anew: from 8.4 on it keeps those of its first update."""
    if hasattr(average, "_pairs"):
        average._pairs = None


def prune_while_training(
    yolo: Any, target: str = "flops=0.5", *, method: str = "l1", ends_at: float = ENDS_AT, **options: Any
) -> YoloPruning:
    """Prune an `ultralytics.YOLO` in its next training; class, stride, names and arguments stay.

    Args:
        yolo: the model, of any task.
        target: as for `edgeprune.Pruner`.
        method: a criterion, which prunes in five removals by default.
        ends_at: share of the steps at which the last channels are removed.
        options: others of `edgeprune.Pruner`, such as prune_steps, align, opaque.

    Raises:
        TrainError: an argument that makes no sense. What `edgeprune.Pruner` raises comes when training starts.
    """
    pruning = YoloPruning(target, method, ends_at, {"prune_schedule": "iterative", **options})
    for event in ("on_train_start", "on_train_batch_end", "on_train_epoch_end", "on_train_end"):
        yolo.add_callback(event, getattr(pruning, event))
    return pruning
