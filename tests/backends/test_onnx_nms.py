"""A detector's file with NMS: its detections are those that are chosen here from boxes and scores."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from edgeprune.backends.jobs import Job
from edgeprune.backends.onnx_nms import OnnxNms, with_suppression
from edgeprune.errors import ExportError
from edgeprune.tasks import Classification, Detection


def passing_on() -> onnx.ModelProto:
    """Takes (N, 40, 4 + 3) and gives it as boxes and scores."""
    graph = helper.make_graph(
        [helper.make_node("Split", ["input", "sizes"], ["boxes", "scores"], axis=2)],
        "net",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 40, 7])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["batch", 40, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 40, 3]),
        ],
        [helper.make_tensor("sizes", TensorProto.INT64, [2], [4, 3])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def images(seed: int) -> torch.Tensor:
    draw = np.random.default_rng(seed)
    corners = draw.uniform(0, 40, (2, 40, 2))
    values = [corners, corners + draw.uniform(5, 30, (2, 40, 2)), draw.uniform(0, 1, (2, 40, 3)) ** 4]
    return torch.from_numpy(np.concatenate(values, 2).astype(np.float32))


def job(folder: Path) -> Job:
    batches = [(images(seed), None) for seed in range(3)]
    made = Job(torch.nn.Identity(), "pruned", (40, 7), folder, lambda: batches, lambda: batches, "0" * 64)
    return replace(made, task=Detection())


def test_it_chooses_what_is_chosen_here(tmp_path: Path) -> None:
    onnx.save(passing_on(), tmp_path / "pruned.onnx")
    path = tmp_path / "pruned.nms.onnx"
    OnnxNms().convert(job(tmp_path), path)
    parity = OnnxNms().compare(job(tmp_path), path)
    assert parity.images == 6 and parity.top1_agreement == 1.0 and parity.max_abs_diff < 1e-6


def test_one_detection_by_hand() -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(with_suppression(passing_on()).SerializeToString())
    image = np.zeros((2, 40, 7), np.float32)
    image[1, 3] = [1, 2, 11, 12, 0.1, 0.9, 0.0]
    image[1, 4] = [1, 2, 11, 11, 0.0, 0.8, 0.0]
    boxes, scores, classes, places = session.run(None, {"input": image})
    assert boxes.tolist() == [[1, 2, 11, 12]] * 2 and classes.tolist() == [0, 1] and places.tolist() == [1, 1]
    assert scores.tolist() == pytest.approx([0.1, 0.9])


def test_a_classifier_has_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="only the file of a detector"):
        OnnxNms().convert(replace(job(tmp_path), task=Classification()), tmp_path / "x.onnx")
