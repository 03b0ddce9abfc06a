"""The interface of a task: what training minimises, how good an output is, when two outputs agree."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from edgeprune.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from edgeprune.data import DataBundle

WEIGHT = 0.9  # of what the teacher says; methods.md, section 6: measured for small students


@dataclass(frozen=True)
class Metric:
    """How good a model is, as one number.

    Attributes:
        name: the key under which files hold it.
        unit: in which it is shown.
        scale: by which it is multiplied where it is shown.
        higher_is_better: its direction.
    """

    name: str
    unit: str = ""
    scale: float = 1.0
    higher_is_better: bool = True

    def text(self, value: float | None) -> str:
        """Return a value as it is shown; '-' where it is not known."""
        return "-" if value is None else f"{self.scale * value:.2f} {self.unit}".rstrip()

    def worth(self, value: float) -> float:
        """Return a number that is the higher the better."""
        return value if self.higher_is_better else -value

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "name": self.name, "unit": self.unit, "scale": self.scale, "higher_is_better": self.higher_is_better,
        }  # fmt: skip


class Meter:
    """Adds up what a task's metrics are made of, batch after batch: by default means over items.

    Args:
        task: whose `measures` are taken.
    """

    def __init__(self, task: "Task") -> None:
        self.task, self.items = task, 0
        self.totals: dict[str, float] = {metric.name: 0.0 for metric in task.metrics}

    def add(self, output: Any, target: Any) -> None:
        """Take a batch's outputs and what they should be."""
        for name, values in self.task.measures(output, target).items():
            self.totals[name] += float(values.sum())
        self.items += len(target)

    def values(self) -> dict[str, float]:
        """Return each metric by name."""
        return {name: total / max(1, self.items) for name, total in self.totals.items()}


class Task:
    """What a network is for.

    The least that a task of its own says is its `name`, `metrics`, `loss` and `measures`.

    Attributes:
        name: by which it is asked for.
        help: one line.
        metrics: the first is the one by which models are compared.
        distills: whether a student can learn from its outputs.
        target_scorer: what scores outputs on a device, a name that the runner there knows; None where nothing does.
    """

    name: str = ""
    help: str = ""
    metrics: tuple[Metric, ...] = ()
    distills: ClassVar[bool] = False
    target_scorer: ClassVar[str | None] = None

    @property
    def metric(self) -> Metric:
        """The one by which models are compared."""
        return self.metrics[0]

    # --- training ------------------------------------------------------------------------------------

    def loss(self, output: Any, target: Any, *, label_smoothing: float = 0.0) -> "Tensor":
        """Return the mean loss over a batch, a scalar.

        Args:
            output: the model's.
            target: what the data gives for it.
            label_smoothing: where the task has labels.
        """
        raise NotImplementedError

    def distill(self, output: Any, teacher: Any) -> "Tensor":
        """Return how far an output is from the teacher's, a scalar; for a task that `distills`."""
        raise NotImplementedError

    def total_loss(
        self, output: Any, target: Any, teacher: Any = None, *, label_smoothing: float = 0.0
    ) -> "Tensor":
        """Return what a training step minimises.

        Args:
            output: the model's.
            target: what the data gives for it.
            teacher: the output of a trained network to distil from; None for none.
            label_smoothing: where the task has labels.
        """
        hard = self.loss(output, target, label_smoothing=label_smoothing)
        if teacher is None:
            return hard
        return (1 - WEIGHT) * hard + WEIGHT * self.distill(output, teacher)

    # --- models --------------------------------------------------------------------------------------

    def model_args(self, data: "DataBundle") -> dict[str, Any]:
        """Return what a model's factory is told of the data."""
        return {"num_classes": len(data.classes), "in_channels": data.shape[0]}

    def check_output(self, output: Any, data: "DataBundle", *, images: int, model: str) -> None:  # noqa: ARG002
        """Refuse a model that is not for this task and data.

        Args:
            output: of the model, for blank images.
            data: that it is to be trained on.
            images: how many there were.
            model: its name.

        Raises:
            ModelError: says what it gives and what it should.
        """
        from torch import Tensor

        if not isinstance(output, Tensor) or len(output) != images:
            got = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ModelError(
                f"{model} gives {got} for {images} images: it must return a tensor with a row for each"
            )

    # --- judging -------------------------------------------------------------------------------------

    def measures(self, output: Any, target: Any) -> "dict[str, Tensor]":
        """Return for each metric a number for each item of a batch, whose mean over all items it is.

        Args:
            output: the model's, on any device.
            target: what the data gives for it, on the CPU.
        """
        raise NotImplementedError

    def meter(self) -> Meter:
        """Return what adds up the metrics; override it for one that is not a mean over items."""
        return Meter(self)

    def agreement(self, outputs: "Tensor", others: "Tensor") -> float:
        """Return the share of items for which two outputs say the same, for parity of exported files.

        Args:
            outputs: (N, ...) of one model.
            others: (N, ...) of another, for the same inputs.
        """
        import torch

        close = torch.isclose(outputs.float(), others.float(), rtol=1e-3, atol=1e-5)
        return float(close.reshape(len(outputs), -1).all(1).float().mean())


def finite_rows(output: "Tensor") -> "Tensor":
    """Return (N,) whether an item's output has no NaN in it."""
    return ~output.isnan().reshape(len(output), -1).any(1)
