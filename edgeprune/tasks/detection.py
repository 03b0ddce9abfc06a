"""Detection: a box around each thing, and its class."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from edgeprune.errors import ModelError
from edgeprune.models import DETECTORS, TWO_STAGE
from edgeprune.tasks.base import Metric, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeprune.data import DataBundle

MAP = Metric("map", "%", 100.0)
MAP_50 = Metric("map_50", "%", 100.0)
LEAST_SCORE = 0.01  # below which a box is no candidate
MOST_CANDIDATES = 1000  # of an image, the best
ROUNDING = 1e-4  # relative, and in pixels or of a score
OVERLAP = 0.5  # IoU from which on two boxes of one class are of one thing
MOST_DETECTIONS = 100  # of an image, as COCO counts
SAME_BOX = 0.95  # IoU from which on two models give the same box
SAME_SCORE = 0.01

Detections = dict[str, "Tensor"]


class Taught(NamedTuple):
    """What a student gives for a batch: its losses by name, and its boxes and scores."""

    losses: Mapping[str, "Tensor"]
    output: Mapping[str, "Tensor"]


class Detection(Task):
    """Boxes and classes; a model gives ``boxes`` (N, places, 4) and ``scores`` (N, places, classes)."""

    name = "detect"
    help = "a box around each thing, and its class; mAP"
    metrics = (MAP, MAP_50)
    distills = True
    distill_weight = 0.5  # the teacher says nothing of what it does not see
    target_scorer = "detection"
    target_kind = "boxes"
    models = DETECTORS
    requires: ClassVar[tuple[str, ...]] = ("torchmetrics", "faster_coco_eval")
    extra = "detect"
    loss_in_model = True
    smooths_labels = False
    output_names: ClassVar[tuple[str, ...]] = ("boxes", "scores")
    scored_on_host = True
    # Of 0.01, 0.03 and 0.1, SSDlite's loss on digits-detect falls fastest at 0.03.
    defaults: ClassVar[Mapping[str, Any]] = MappingProxyType(
        {
            "batch_size": 16,
            "epochs": 60,
            "baseline_epochs": 60,
            "lr": 0.01,
            "baseline_lr": 0.03,
            "schedule": "cosine",
        }
    )

    def check_model(self, name: str) -> None:
        """Raise ModelError unless the name is a detector's, or a factory of the user's own."""
        if name.removeprefix("torchvision:") in DETECTORS or (
            ":" in name and not name.startswith("torchvision:")
        ):
            return
        raise ModelError(
            f"{name} is no detector, which `task={self.name}` needs: choose {', '.join(DETECTORS)}, or a "
            "package.module:factory of your own"
        )

    def model_args(self, data: "DataBundle") -> dict[str, Any]:
        """Return the arguments of a detector's factory: anchors follow from the size of the images."""
        return {
            **super().model_args(data),
            "image_shape": list(data.shape[1:]), "mean": list(data.mean), "std": list(data.std),
        }  # fmt: skip

    def distills_from(self, model: str) -> bool:
        """Return whether a student's boxes are at its teacher's places; detectors of two stages propose their own."""
        return model.removeprefix("torchvision:") not in TWO_STAGE

    def training_output(self, model: "nn.Module", x: "Tensor", target: Any) -> Any:
        """Return a detector's losses by name: it computes them itself.

        Args:
            model: in training.
            x: images, (N, C, H, W).
            target: ``boxes`` and ``labels`` of each image.
        """
        return model(x, target)

    def student_output(self, model: "nn.Module", x: "Tensor", target: Any) -> Taught:
        """Return a detector's losses together with its boxes and scores for the same images.

        Those of torchvision give both in one pass; another one is run a second time, without targets.

        Args:
            model: in training.
            x: images, (N, C, H, W).
            target: ``boxes`` and ``labels`` of each image.

        Raises:
            ModelError: it gives no boxes and scores in training mode.
        """
        from edgeprune.models.detectors import losses_and_output

        if (both := losses_and_output(model, x, target)) is not None:
            return Taught(*both)
        output = model(x)
        if not isinstance(output, Mapping) or not {"boxes", "scores"} <= output.keys():
            raise ModelError(
                f"the detector gives {_kind(output)} in training mode without targets, and `distill` compares boxes "
                "and scores: return them in that mode too, or say `distill=False`"
            )
        return Taught(model(x, target), output)

    def distill(self, output: Any, teacher: Any) -> "Tensor":
        """Return how far a student's scores and boxes are from a teacher's, at each place, a scalar.

        Args:
            output: of `student_output`.
            teacher: ``boxes`` (N, places, 4) and ``scores`` (N, places, classes).
        """
        from edgeprune.tasks.losses import soft_boxes_loss, soft_scores_loss

        student, scores = output.output, teacher["scores"]
        distance = soft_boxes_loss(student["boxes"], teacher["boxes"], scores)
        return soft_scores_loss(student["scores"], scores) + distance

    def loss(self, output: Any, target: Any, *, label_smoothing: float = 0.0) -> "Tensor":  # noqa: ARG002
        """Return the sum of a detector's losses, a scalar.

        Args:
            output: losses by name, of a call with targets; or those of a student.
            target: not read again.
            label_smoothing: not used.
        """
        losses: Any = output.losses if isinstance(output, Taught) else output
        total: Tensor = sum(losses.values())
        return total

    def check_output(self, output: Any, data: "DataBundle", *, images: int, model: str) -> None:
        """Refuse a model that does not give boxes, and scores for each class of the data.

        Args:
            output: of the model, for blank images.
            data: the data set to train on.
            images: number of blank images.
            model: its name, for the message.

        Raises:
            ModelError: says what the model returns and what it should return.
        """
        from torch import Tensor

        tensors = output if isinstance(output, Mapping) else {}
        boxes, scores = tensors.get("boxes"), tensors.get("scores")
        if isinstance(boxes, Tensor) and isinstance(scores, Tensor):
            expected = (images, boxes.shape[1] if boxes.dim() == 3 else -1)
            if boxes.shape == (*expected, 4) and scores.shape == (*expected, len(data.classes)):
                return
        raise ModelError(
            f"{model} gives {_kind(output)} for {images} images: a detector of {len(data.classes)} classes gives a "
            f"dict of boxes (N, places, 4) and scores (N, places, {len(data.classes)}), and losses by name where it "
            "gets targets, too"
        )

    def meter(self) -> "BoxMeter":
        """Return an accumulator of mean average precision."""
        return BoxMeter()

    def joined(self, totals: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
        """Return the detections of all images so far."""
        return {name: [*totals.get(name, []), *value] for name, value in part.items()}

    def scored(self, totals: Mapping[str, Any]) -> dict[str, float]:
        """Return the metrics from the detections that a device gave for all test images.

        Args:
            totals: ``detections``, of each image rows of x1, y1, x2, y2, score, class; ``targets`` of the images.
        """
        import torch

        meter = BoxMeter()
        for rows, target in zip(totals["detections"], totals["targets"], strict=True):
            table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
            detections = {"boxes": table[:, :4], "scores": table[:, 4], "labels": table[:, 5].long()}
            meter.add_detections([detections], [target])
        return meter.values()

    def outputs_of(self, output: Any) -> "Tensor":
        """Return boxes and scores side by side, (N, places, 4 + classes), as those of files are compared."""
        import torch

        return torch.cat([output["boxes"], output["scores"]], -1)

    def agreement(self, outputs: Any, others: Any) -> float:
        """Return the share of detections of either model that the other one gives too: box, class and score.

        Args:
            outputs: of one model, as `outputs_of` joins them.
            others: of another, for the same images. Where all numbers of an image are the same to float rounding, its
                detections are: which of two boxes of the same score comes first is no difference.
        """
        import torch

        same = torch.isclose(outputs.float(), others.float(), ROUNDING, ROUNDING).flatten(1).all(1)
        others = torch.where(same[:, None, None], outputs, others)
        pairs = (
            detections_of({"boxes": both[..., :4], "scores": both[..., 4:]}) for both in (outputs, others)
        )
        return agreement_of(*pairs)


class BoxMeter:
    """Mean average precision of COCO, by torchmetrics: over IoU from 0.5 to 0.95, and at 0.5."""

    def __init__(self) -> None:
        from torchmetrics.detection import MeanAveragePrecision

        self._precision = MeanAveragePrecision(backend="faster_coco_eval")
        self._images = 0

    def add(self, output: Mapping[str, "Tensor"], target: Sequence[Detections]) -> None:
        """Add a batch of boxes and scores, and what is in its images."""
        self.add_detections(detections_of(output), target)

    def add_detections(self, detections: Sequence[Detections], target: Sequence[Detections]) -> None:
        """Add the detections of a batch, and what is in its images."""
        self._images += len(target)
        self._precision.update(
            [{name: tensor.cpu() for name, tensor in image.items()} for image in detections],
            [{name: tensor.cpu() for name, tensor in truth.items()} for truth in target],
        )

    def values(self) -> dict[str, float]:
        """Return each metric by name; 0 without images."""
        if not self._images:
            return {metric.name: 0.0 for metric in Detection.metrics}
        computed = self._precision.compute()
        # -1 stands for "nothing to detect".
        return {metric.name: max(0.0, float(computed[metric.name])) for metric in Detection.metrics}


def detections_of(output: Mapping[str, "Tensor"]) -> list[Detections]:
    """Return the best boxes of each image, of which no two of one class overlap by half.

    Args:
        output: ``boxes`` (N, places, 4) and ``scores`` (N, places, classes).

    Returns:
        Of each image ``boxes`` (n, 4), ``scores`` (n,) falling, and ``labels`` (n,); scores that are not finite are
        no detections.
    """
    return [
        _detections(boxes, scores) for boxes, scores in zip(output["boxes"], output["scores"], strict=True)
    ]


def _detections(boxes: "Tensor", scores: "Tensor") -> Detections:
    import torch
    from torchvision.ops import batched_nms

    boxes, scores = boxes.float(), scores.float()
    classes, flat = scores.shape[1], scores.flatten()
    candidates = torch.where(flat >= LEAST_SCORE)[0]  # NaN is not
    best = flat[candidates].sort(descending=True, stable=True).indices[:MOST_CANDIDATES]
    candidates = candidates[best]
    places, labels = candidates // classes, candidates % classes
    kept = batched_nms(boxes[places], flat[candidates], labels, OVERLAP)[:MOST_DETECTIONS]
    return {"boxes": boxes[places[kept]], "scores": flat[candidates[kept]], "labels": labels[kept]}


def agreement_of(detections: Sequence[Detections], others: Sequence[Detections]) -> float:
    """Return the share of detections, images in order, that are on both sides; 1 where there are none."""
    matched = total = 0
    for first, second in zip(detections, others, strict=True):
        matched += _matched(first, second) + _matched(second, first)
        total += len(first["boxes"]) + len(second["boxes"])
    return matched / total if total else 1.0


def _matched(first: Detections, second: Detections) -> int:
    """Return how many detections have one among others of the same class, place and score."""
    from torchvision.ops import box_iou

    if not len(first["boxes"]) or not len(second["boxes"]):
        return 0
    near = box_iou(first["boxes"], second["boxes"]) >= SAME_BOX
    near &= first["labels"][:, None] == second["labels"]
    near &= (first["scores"][:, None] - second["scores"]).abs() <= SAME_SCORE
    return int(near.any(1).sum())


def _kind(output: Any) -> str:
    if isinstance(output, Mapping):
        return "a dict of " + ", ".join(
            f"{name} {tuple(getattr(v, 'shape', ()))}" for name, v in output.items()
        )
    return str(tuple(output.shape)) if hasattr(output, "shape") else f"a {type(output).__name__}"
