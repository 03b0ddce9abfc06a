"""The interface of a task: its loss, its metrics, and when two outputs agree."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from edgeprune.errors import ModelError
from edgeprune.records.metrics import StoredMetric

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeprune.data import DataBundle

WEIGHT = 0.9  # of the distillation loss; methods.md, section 6: measured for small students


@dataclass(frozen=True)
class Metric:
    """A number that says how good a model is.

    Attributes:
        name: its key in files.
        unit: in which it is displayed.
        scale: factor for display.
        higher_is_better: its direction.
    """

    name: str
    unit: str = ""
    scale: float = 1.0
    higher_is_better: bool = True

    @property
    def title(self) -> str:
        """The name in words."""
        return self.name.replace("_", " ")

    def text(self, value: float | None) -> str:
        """Format a value for display; '-' if it is unknown."""
        return "-" if value is None else f"{self.scale * value:.2f} {self.unit}".rstrip()

    def shown(self, value: float) -> float:
        """Return a value in the unit of display."""
        return self.scale * value

    def change(self, before: float, after: float) -> str:
        """Format the difference of two values for display, such as '-0.50 points'."""
        return f"{self.scale * (after - before):+.2f} {self.unit_of_changes}".rstrip()

    @property
    def unit_of_changes(self) -> str:
        """The unit of differences: points where values are in percent."""
        return "points" if self.unit == "%" else self.unit

    def worth(self, value: float) -> float:
        """Return the value with its sign chosen so that higher is better; of a worth, return the value."""
        return value if self.higher_is_better else -value

    def record(self) -> StoredMetric:
        """Return the metric as it is written."""
        return StoredMetric(self.name, self.unit, self.scale, self.higher_is_better)

    def to_dict(self) -> dict[str, Any]:
        """Return the metric as plain JSON values."""
        return self.record().to_dict()


class Meter(Protocol):
    """Accumulates a task's metrics over batches."""

    def add(self, output: Any, target: Any) -> None:
        """Add a batch of outputs and their targets."""

    def values(self) -> dict[str, float]:
        """Return each metric by name."""


class MetricAverager:
    """Accumulates a task's metrics over batches: by default means over items.

    Args:
        task: whose `measures` are averaged.
    """

    def __init__(self, task: "Task") -> None:
        self.task, self.items = task, 0
        self.totals: dict[str, float] = {metric.name: 0.0 for metric in task.metrics}

    def add(self, output: Any, target: Any) -> None:
        """Add a batch of outputs and their targets."""
        for name, values in self.task.measures(output, target).items():
            self.totals[name] += float(values.sum())
        self.items += len(target)

    def values(self) -> dict[str, float]:
        """Return each metric by name."""
        return {name: total / max(1, self.items) for name, total in self.totals.items()}


class Task:
    """What a network is for.

    A subclass defines at least `name`, `metrics`, `loss` and `measures`.

    Attributes:
        name: by which it is selected.
        help: one line.
        metrics: models are compared by the first.
        distills: whether a student can learn from its outputs.
        distill_weight: share of the distillation loss in the whole loss.
        target_scorer: name of the runner's function that scores outputs on a device; None if it has none.
        target_kind: of the targets that it needs; see `edgeprune.data.targets`.
        models: names of those that suit it, for messages.
        requires: packages that must be importable.
        extra: of edgeprune's package that installs them, as in pip install 'edgeprune[EXTRA]'.
        loss_in_model: whether the model needs the target to compute its loss; see `training_output`.
        smooths_labels: whether its loss knows label smoothing.
        output_names: of the tensors that an exported file gives.
        scored_on_host: whether `scored` needs the targets, too: the device then gives outputs, not counts.
        defaults: options of training that suit it where they are not given, such as ``batch_size``.
    """

    name: str = ""
    help: str = ""
    metrics: tuple[Metric, ...] = ()
    distills: ClassVar[bool] = False
    distill_weight: ClassVar[float] = WEIGHT
    target_scorer: ClassVar[str | None] = None
    target_kind: ClassVar[str] = "labels"
    models: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    extra: ClassVar[str | None] = None
    loss_in_model: ClassVar[bool] = False
    smooths_labels: ClassVar[bool] = True
    output_names: ClassVar[tuple[str, ...]] = ("logits",)
    scored_on_host: ClassVar[bool] = False
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({})

    @property
    def metric(self) -> Metric:
        """The metric by which models are compared."""
        return self.metrics[0]

    # --- training ------------------------------------------------------------------------------------

    def training_output(self, model: "nn.Module", x: "Tensor", target: Any) -> Any:  # noqa: ARG002
        """Run a model in training mode, and return what `total_loss` takes.

        Args:
            model: in training.
            x: images, (N, C, H, W).
            target: the data's, on the same device, for a model that computes its loss itself.
        """
        return model(x)

    def student_output(self, model: "nn.Module", x: "Tensor", target: Any) -> Any:
        """Run a model in training mode, and return what `total_loss` takes beside a teacher's output.

        Args:
            model: in training.
            x: images, (N, C, H, W).
            target: the data's, on the same device, for a model that computes its loss itself.
        """
        return self.training_output(model, x, target)

    def loss_of_batch(self, model: "nn.Module", batch: tuple["Tensor", Any]) -> "Tensor":
        """Return the mean loss of images and targets, a scalar, for a model that computes its loss itself."""
        x, target = batch
        return self.loss(self.training_output(model, x, target), target)

    def loss(self, output: Any, target: Any, *, label_smoothing: float = 0.0) -> "Tensor":
        """Return the mean loss over a batch, a scalar.

        Args:
            output: the model's.
            target: the data's, for the same batch.
            label_smoothing: for tasks with labels, 0 to 1.
        """
        raise NotImplementedError

    def distills_from(self, model: str) -> bool:  # noqa: ARG002
        """Return whether a student can learn from the outputs of a model of this name."""
        return self.distills

    def distill(self, output: Any, teacher: Any) -> "Tensor":
        """Return the distance of an output from the teacher's, a scalar; for a task that `distills`."""
        raise NotImplementedError

    def total_loss(
        self, output: Any, target: Any, teacher: Any = None, *, label_smoothing: float = 0.0
    ) -> "Tensor":
        """Return the loss of a training step, a scalar.

        Args:
            output: the model's.
            target: the data's, for the same batch.
            teacher: the output of a trained network to distil from; None to train without a teacher.
            label_smoothing: for tasks with labels, 0 to 1.
        """
        hard = self.loss(output, target, label_smoothing=label_smoothing)
        if teacher is None:
            return hard
        weight = self.distill_weight
        return (1 - weight) * hard + weight * self.distill(output, teacher)

    # --- models --------------------------------------------------------------------------------------

    def check_model(self, name: str) -> None:
        """Raise ModelError for a model that cannot be of this task, by its name alone; accept any by default."""

    def model_args(self, data: "DataBundle") -> dict[str, Any]:
        """Return the arguments of a model's factory that follow from the data."""
        return {"num_classes": len(data.classes), "in_channels": data.shape[0]}

    def check_output(self, output: Any, data: "DataBundle", *, images: int, model: str) -> None:  # noqa: ARG002
        """Refuse a model that does not fit this task and data.

        Args:
            output: of the model, for blank images.
            data: the data set to train on.
            images: number of blank images.
            model: its name, for the message.

        Raises:
            ModelError: says what the model returns and what it should return.
        """
        from torch import Tensor

        if not isinstance(output, Tensor) or len(output) != images:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ModelError(
                f"{model} gives {got} for {images} images: it must return a tensor with a row for each"
            )

    # --- evaluation ----------------------------------------------------------------------------------

    def outputs_of(self, output: Any) -> Any:
        """Return the tensors of an output by which models are compared and that files give; all by default."""
        return output

    def measures(self, output: Any, target: Any) -> "dict[str, Tensor]":
        """Return for each metric one number per item of a batch; the metric is their mean over all items.

        Args:
            output: the model's, on any device.
            target: the data's, on the CPU.
        """
        raise NotImplementedError

    def meter(self) -> Meter:
        """Return an accumulator of the metrics; override it for metrics that are not means over items."""
        return MetricAverager(self)

    def scored(self, totals: Mapping[str, Any]) -> dict[str, float]:
        """Return the metrics from what the runner's `target_scorer` counted on a device over all test images.

        Args:
            totals: the counts by name, over all parts of the test images; see `edgeprune_target.scorers`. Where the
                task is `scored_on_host`, ``targets`` are the data's.
        """
        raise NotImplementedError

    def joined(self, totals: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
        """Return the counts of the test images so far together with those of another part of them: by default sums."""
        import numpy as np

        return {
            name: (np.asarray(totals.get(name, 0)) + np.asarray(value)).tolist()
            for name, value in part.items()
        }

    def agreement(self, outputs: "Tensor", others: "Tensor") -> float:
        """Return the share of items on which two outputs agree, for parity of exported files.

        Args:
            outputs: (N, ...) of one model.
            others: (N, ...) of another, for the same inputs.
        """
        import torch

        close = torch.isclose(outputs.float(), others.float(), rtol=1e-3, atol=1e-5)
        return float(close.reshape(len(outputs), -1).all(1).float().mean())


def finite_rows(output: "Tensor") -> "Tensor":
    """Return for each item whether its output has no NaN, bool, shape (N,)."""
    return ~output.isnan().reshape(len(output), -1).any(1)
