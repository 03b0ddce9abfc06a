"""ONNX of a detector with non-maximum suppression in it: detections instead of boxes and scores of every place."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from edgeprune.backends.base import INPUT
from edgeprune.backends.jobs import Job
from edgeprune.backends.onnx import FromOnnx
from edgeprune.backends.onnx_running import run_onnx
from edgeprune.backends.parity import Parity
from edgeprune.errors import ExportError
from edgeprune.files.writing import write_bytes
from edgeprune.tasks.detection import (
    LEAST_SCORE,
    MOST_DETECTIONS,
    OVERLAP,
    Detection,
    Detections,
    agreement_of,
    detections_of,
)

if TYPE_CHECKING:
    from onnx import ModelProto

OUTPUTS = ("detection_boxes", "detection_scores", "detection_classes", "detection_images")


@dataclass(frozen=True)
class OnnxNms(FromOnnx):
    """The float32 file, and after it ONNX's NonMaxSuppression, which ONNX Runtime and TensorRT have."""

    name = "onnx-nms"
    title = "ONNX with NMS"
    summary = "of a detector: the same with the choice of detections in it"
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {"fp32": ("onnx",)}
    recorded = ("onnx", "onnxruntime")
    optional = True  # other networks have no boxes
    extension = ".nms.onnx"

    def convert(self, job: Job, path: Path) -> dict[str, Any]:
        """Write the file.

        Raises:
            ExportError: the model is no detector.
        """
        import onnx

        if job.task.output_names != Detection.output_names:
            raise ExportError("only the file of a detector has boxes to choose from")
        content = with_suppression(onnx.load(str(self.source(job))))
        write_bytes(path, content.SerializeToString(deterministic=True))
        return {"outputs": [*OUTPUTS]}

    def compare(self, job: Job, path: Path) -> Parity:
        """Compare its detections with those that are chosen here from the float32 file's boxes and scores."""
        batches = [batch for batch, _ in job.images()]
        if not batches:
            raise ExportError("there are no images to compare the exported model on")
        expected = [
            image for output in run_onnx(self.source(job), batches) for image in detections_of(_split(output))
        ]
        got = [image for batch in batches for image in _detections(path, np.asarray(batch))]
        scores = [
            float((ours["scores"] - theirs["scores"]).abs().max())
            for ours, theirs in zip(expected, got, strict=True)
            if len(ours["scores"]) and ours["scores"].shape == theirs["scores"].shape
        ]
        difference = max(scores, default=0.0)
        return Parity(
            images=len(expected),
            top1_agreement=agreement_of(expected, got),
            max_abs_diff=difference,
            logit_scale=1.0,
            max_rel_diff=difference,
        )


def with_suppression(content: "ModelProto") -> "ModelProto":
    """Return a detector's model with NonMaxSuppression at its end.

    Its outputs are, of each detection in the whole batch, the box (n, 4), the score, the class, and the image in the
    batch, sorted by image and class.

    Args:
        content: gives ``boxes`` (N, places, 4) and ``scores`` (N, places, classes); it is changed.

    Raises:
        ExportError: what comes out does not pass the ONNX checker.
    """
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    graph = content.graph
    constants: dict[str, np.ndarray] = {
        "nms_most": np.array([MOST_DETECTIONS], np.int64),
        "nms_overlap": np.array([OVERLAP], np.float32),
        "nms_least_score": np.array([LEAST_SCORE], np.float32),
        "nms_place_columns": np.array([0, 2], np.int64),
        "nms_image_column": np.array(0, np.int64),
        "nms_class_column": np.array(1, np.int64),
    }
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    boxes, scores, classes, images = OUTPUTS
    limits = ["nms_most", "nms_overlap", "nms_least_score"]
    graph.node.extend(
        [
            helper.make_node("Transpose", ["scores"], ["nms_scores"], perm=[0, 2, 1]),
            helper.make_node("NonMaxSuppression", ["boxes", "nms_scores", *limits], ["nms_chosen"]),
            helper.make_node("Gather", ["nms_chosen", "nms_place_columns"], ["nms_places"], axis=1),
            helper.make_node("GatherND", ["boxes", "nms_places"], [boxes]),
            helper.make_node("GatherND", ["nms_scores", "nms_chosen"], [scores]),
            helper.make_node("Gather", ["nms_chosen", "nms_class_column"], [classes], axis=1),
            helper.make_node("Gather", ["nms_chosen", "nms_image_column"], [images], axis=1),
        ]
    )
    del graph.output[:]
    kinds = {
        boxes: TensorProto.FLOAT,
        scores: TensorProto.FLOAT,
        classes: TensorProto.INT64,
        images: TensorProto.INT64,
    }
    for name, kind in kinds.items():
        shape: list[str | int | None] = ["detections", 4] if name == boxes else ["detections"]
        graph.output.append(helper.make_tensor_value_info(name, kind, shape))
    try:
        onnx.checker.check_model(content, full_check=True)
    except Exception as error:  # checker and shape inference each raise their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"NMS cannot be added to this model: {reason}") from error
    return content


def _split(output: np.ndarray) -> dict[str, Any]:
    import torch

    joined = torch.from_numpy(output)
    return {"boxes": joined[..., :4], "scores": joined[..., 4:]}


def _detections(path: Path, images: np.ndarray) -> list[Detections]:
    """Return the best detections of each image by the file itself, the best first."""
    import onnxruntime
    import torch

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        boxes, scores, labels, places = map(torch.from_numpy, session.run([*OUTPUTS], {INPUT: images}))
    except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"ONNX Runtime cannot run {path.name}: {reason}") from error
    detections = []
    for place in range(len(images)):
        of_image = torch.where(places == place)[0]
        order = of_image[scores[of_image].sort(descending=True, stable=True).indices[:MOST_DETECTIONS]]
        detections.append({"boxes": boxes[order], "scores": scores[order], "labels": labels[order]})
    return detections
