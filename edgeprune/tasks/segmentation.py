"""Semantic segmentation: a logit for each class at each pixel."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeprune.errors import ModelError
from edgeprune.tasks.base import Metric, Task

if TYPE_CHECKING:
    from numpy import ndarray
    from torch import Tensor

    from edgeprune.data import DataBundle

MEAN_IOU = Metric("mean_iou", "%", 100.0)
PIXEL_ACCURACY = Metric("pixel_accuracy", "%", 100.0)
AUXILIARY = 0.5  # weight of the loss of an auxiliary head, as in torchvision's training script


class Segmentation(Task):
    """One class for each pixel, by the largest logit; pixels of class 255 do not count."""

    name = "segment"
    help = "one class for each pixel; mean IoU"
    metrics = (MEAN_IOU, PIXEL_ACCURACY)
    distills = True
    target_scorer = "segmentation"
    target_kind = "masks"
    models = ("lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "unet_small")

    def outputs_of(self, output: Any) -> "Tensor":
        """Return the logits, (N, classes, H, W), of what a model gives: torchvision's give a dict."""
        logits: Tensor = output["out"] if isinstance(output, Mapping) else output
        return logits

    def loss(self, output: Any, target: "Tensor", *, label_smoothing: float = 0.0) -> "Tensor":
        """Return the mean cross-entropy over the pixels that count, a scalar.

        Args:
            output: logits (N, classes, H, W), or a dict of them; "aux", of an auxiliary head, counts half.
            target: masks, int64 (N, H, W).
            label_smoothing: share of the target distribution that is spread over all classes, 0 to 1.
        """
        loss = _cross_entropy(self.outputs_of(output), target, label_smoothing)
        if isinstance(output, Mapping) and "aux" in output:
            loss = loss + AUXILIARY * _cross_entropy(output["aux"], target, label_smoothing)
        return loss

    def distill(self, output: Any, teacher: Any) -> "Tensor":
        """Return the divergence from a teacher's logits, mean over all pixels, a scalar."""
        from edgeprune.tasks.losses import soft_labels_loss

        student, teacher = (_by_pixel(self.outputs_of(logits)) for logits in (output, teacher))
        return soft_labels_loss(student, teacher)

    def check_output(self, output: Any, data: "DataBundle", *, images: int, model: str) -> None:
        """Refuse a model that does not return one logit for each class at each pixel.

        Args:
            output: of the model, for blank images.
            data: the data set to train on.
            images: number of blank images.
            model: its name, for the message.

        Raises:
            ModelError: the output has another shape.
        """
        from torch import Tensor

        expected = (images, len(data.classes), *data.shape[1:])
        logits = output.get("out") if isinstance(output, Mapping) else output
        if isinstance(logits, Tensor) and logits.shape == expected:
            return
        got = tuple(logits.shape[1:]) if isinstance(logits, Tensor) else type(output).__name__
        raise ModelError(
            f"{model} gives {got} for an image, the task {self.name} needs logits of shape {expected[1:]}, a class "
            f"for each pixel: choose {', '.join(self.models)}, or a model of your own"
        )

    def meter(self) -> "ConfusionMeter":
        """Return an accumulator of the confusion matrix."""
        return ConfusionMeter(self)

    def scored(self, totals: Mapping[str, Any]) -> dict[str, float]:
        """Return the metrics from the confusion matrix that a device counted.

        Args:
            totals: ``confusion``, whose rows are the true classes, as lists.
        """
        import numpy as np

        return metrics_of(np.asarray(totals["confusion"], np.int64))

    def agreement(self, outputs: "Tensor", others: "Tensor") -> float:
        """Return the share of pixels for which both have the same largest logit."""
        finite = outputs.isfinite().all(1) & others.isfinite().all(1)
        same = outputs.argmax(1) == others.argmax(1)
        return float((same & finite).float().mean())


class ConfusionMeter:
    """Counts pixels by true and predicted class; a pixel whose logits are not finite is predicted as none.

    Args:
        task: gives the logits of an output.
    """

    def __init__(self, task: Segmentation) -> None:
        self.task = task
        self.confusion: ndarray | None = None

    def add(self, output: Any, target: "Tensor") -> None:
        """Add a batch of outputs and their masks."""
        import numpy as np

        from edgeprune.data.targets import IGNORED

        logits = self.task.outputs_of(output)
        classes = logits.shape[1]
        predicted = logits.argmax(1).masked_fill(~logits.isfinite().all(1), classes).cpu()
        counted = target != IGNORED
        places = target[counted] * (classes + 1) + predicted[counted]
        counts = np.bincount(places.numpy(), minlength=classes * (classes + 1))
        part = counts.reshape(classes, classes + 1)
        self.confusion = part if self.confusion is None else self.confusion + part

    def values(self) -> dict[str, float]:
        """Return each metric by name."""
        import numpy as np

        return metrics_of(np.zeros((1, 2), np.int64) if self.confusion is None else self.confusion)


def metrics_of(confusion: "ndarray") -> dict[str, float]:
    """Return mean IoU, over the classes that occur, and the share of pixels that are right.

    Args:
        confusion: pixels by true class (rows) and predicted class, int64 (classes, classes or one more).
    """
    import numpy as np

    classes = len(confusion)
    right = np.diag(confusion[:, :classes]).astype(np.float64)
    union = confusion.sum(1) + confusion[:, :classes].sum(0) - right
    occurring = union > 0
    iou = right[occurring] / union[occurring]
    return {
        MEAN_IOU.name: float(iou.mean()) if len(iou) else 0.0,
        PIXEL_ACCURACY.name: float(right.sum() / max(1, confusion.sum())),
    }


def _cross_entropy(logits: "Tensor", target: "Tensor", label_smoothing: float) -> "Tensor":
    import torch.nn.functional as F

    from edgeprune.data.targets import IGNORED

    total = F.cross_entropy(
        logits.float(), target, ignore_index=IGNORED, label_smoothing=label_smoothing, reduction="sum"
    )
    return total / (target != IGNORED).sum().clamp(min=1)  # a batch may have no pixel that counts


def _by_pixel(logits: "Tensor") -> "Tensor":
    """Return (pixels, classes)."""
    return logits.movedim(1, -1).flatten(0, -2)
