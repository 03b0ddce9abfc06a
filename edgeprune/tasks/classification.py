"""Classification: a logit for each class, one class for each image."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeprune.errors import ModelError
from edgeprune.tasks.base import Metric, Task, finite_rows

if TYPE_CHECKING:
    from torch import Tensor

    from edgeprune.data import DataBundle

ACCURACY = Metric("accuracy", "%", 100.0)


class Classification(Task):
    """One class for each image, by the largest logit."""

    name = "classification"
    help = "one class for each image; accuracy"
    metrics = (ACCURACY,)
    distills = True
    target_scorer = "classification"

    def loss(self, output: "Tensor", target: "Tensor", *, label_smoothing: float = 0.0) -> "Tensor":
        """Return the mean cross-entropy over a batch, a scalar.

        Args:
            output: logits, shape (N, classes).
            target: labels, int64, shape (N,).
            label_smoothing: share of the target distribution that is spread over all classes, 0 to 1.
        """
        import torch.nn.functional as F

        return F.cross_entropy(output.float(), target, label_smoothing=label_smoothing)

    def distill(self, output: "Tensor", teacher: "Tensor") -> "Tensor":
        """Return the divergence from a teacher's logits, (N, classes), a scalar."""
        from edgeprune.tasks.losses import soft_labels_loss

        return soft_labels_loss(output, teacher)

    def check_output(self, output: Any, data: "DataBundle", *, images: int, model: str) -> None:
        """Refuse a model that does not return one logit for each class of the data.

        Args:
            output: of the model, for blank images.
            data: the data set to train on.
            images: number of blank images.
            model: its name, for the message.

        Raises:
            ModelError: the output has another shape.
        """
        from torch import Tensor

        if isinstance(output, Tensor) and output.shape == (images, len(data.classes)):
            return
        got = tuple(output.shape[1:]) if isinstance(output, Tensor) else type(output).__name__
        raise ModelError(
            f"{model} gives {got} for an image, the data has {len(data.classes)} classes: "
            "it must return logits of shape (N, num_classes)"
        )

    def measures(self, output: "Tensor", target: "Tensor") -> "dict[str, Tensor]":
        """Return for each image whether its largest logit is its label's."""
        # argmax returns the position of a NaN, which could be the label's by chance.
        return {ACCURACY.name: (output.argmax(1).cpu() == target) & finite_rows(output).cpu()}

    def scored(self, totals: Mapping[str, Any]) -> dict[str, float]:
        """Return the share of images that a device classified correctly.

        Args:
            totals: ``correct`` and ``count``, of images.
        """
        return {ACCURACY.name: totals["correct"] / totals["count"]}

    def agreement(self, outputs: "Tensor", others: "Tensor") -> float:
        """Return the share of images for which both have the same largest logit."""
        same = outputs.argmax(1).cpu() == others.argmax(1).cpu()
        return float((same & finite_rows(outputs).cpu() & finite_rows(others).cpu()).float().mean())
