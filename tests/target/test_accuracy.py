from pathlib import Path

import numpy as np
import pytest
from edgeprune_target.accuracy import accuracy
from edgeprune_target.errors import TargetError
from edgeprune_target.runtimes import RUNTIMES
from edgeprune_target.runtimes.fake import FakeRuntime


def save(folder: Path, bright: list[int], labels: list[int]) -> tuple[str, str]:
    """Images whose channel ``bright`` is the largest, which is what the model answers."""
    images = np.zeros((len(bright), 3, 4, 4), np.float32)
    images[np.arange(len(bright)), bright] = 1.0
    np.save(folder / "images.npy", images)
    np.save(folder / "labels.npy", np.array(labels))
    return str(folder / "images.npy"), str(folder / "labels.npy")


@pytest.mark.parametrize("batch", [1, 2, 64])
def test_counts_right_answers_whatever_the_batch(onnx_file: Path, tmp_path: Path, batch: int) -> None:
    images, labels = save(tmp_path, bright=[0, 1, 2, 2, 1], labels=[0, 1, 2, 0, 0])
    score = accuracy(str(onnx_file), images, labels, batch=batch)
    assert score == {"correct": 3, "count": 5, "not_finite": 0}


def test_tells_how_far_it_is(onnx_file: Path, tmp_path: Path) -> None:
    events: list[dict] = []
    accuracy(str(onnx_file), *save(tmp_path, [0, 0, 0], [0, 0, 0]), batch=2, emit=events.append)
    assert [event["done"] for event in events] == [2, 3]


def test_logits_that_are_not_numbers_are_counted(onnx_file: Path, tmp_path: Path) -> None:
    images, labels = save(tmp_path, [0, 1], [0, 1])
    spoilt = np.load(images)
    spoilt[1, 2] = np.nan
    np.save(images, spoilt)
    assert accuracy(str(onnx_file), images, labels)["not_finite"] == 1


def test_works_with_a_runtime_that_names_no_inputs(fake_file: Path, tmp_path: Path) -> None:
    images, labels = save(tmp_path, [0, 0, 0, 0], [2, 2, 1, 2])
    assert accuracy(str(fake_file), images, labels, runtime="fake")["correct"] == 3


@pytest.mark.parametrize(("bright", "labels"), [([0, 1], [0]), ([], [])])
def test_files_that_do_not_fit(onnx_file: Path, tmp_path: Path, bright: list[int], labels: list[int]) -> None:
    with pytest.raises(TargetError, match="write them again"):
        accuracy(str(onnx_file), *save(tmp_path, bright, labels))


def test_output_that_is_not_one_row_per_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Maps(FakeRuntime):
        def infer(self, feed: dict) -> dict:
            return {"maps": np.zeros((2, 3, 4, 4))}

    monkeypatch.setitem(RUNTIMES, "fake", Maps)
    (tmp_path / "m.json").write_text("{}")
    with pytest.raises(TargetError, match=r"the shape \(2, 3, 4, 4\) for 2 images"):
        accuracy(str(tmp_path / "m.json"), *save(tmp_path, [0, 1], [0, 1]), runtime="fake")


class Pixels(FakeRuntime):
    """Answers with the image itself: three channels are the scores of three classes."""

    def infer(self, feed: dict) -> dict:
        return {"logits": next(iter(feed.values()))}


def test_masks_are_counted_by_true_and_predicted_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(RUNTIMES, "fake", Pixels)
    (tmp_path / "m.json").write_text("{}")
    images, labels = save(tmp_path, [0, 1, 2], [0, 0, 0])
    masks = np.zeros((3, 4, 4), np.int64)  # the second image is answered with 1, the third with 2
    masks[1], masks[2, 0] = 1, 255
    np.save(labels, masks)
    counted = accuracy(
        str(tmp_path / "m.json"), images, labels, scorer="segmentation", runtime="fake", batch=2
    )
    assert counted == {"confusion": [[16, 0, 12], [0, 16, 0], [0, 0, 0]], "count": 3, "not_finite": 0}


@pytest.mark.parametrize(
    ("masks", "scorer", "message"),
    [
        (np.full((2, 4, 4), 3), "segmentation", "the masks hold class 3, and the model has 3 classes"),
        (np.zeros((2, 4, 5), int), "segmentation", r"shape \(2, 3, 4, 4\) for masks of \(2, 4, 5\)"),
        (np.zeros(2, int), "segment", "unknown scorer 'segment'; known: classification, segmentation"),
    ],
)
def test_masks_that_do_not_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, masks: np.ndarray, scorer: str, message: str
) -> None:
    monkeypatch.setitem(RUNTIMES, "fake", Pixels)
    (tmp_path / "m.json").write_text("{}")
    images, labels = save(tmp_path, [0, 1], [0, 0])
    np.save(labels, masks)
    with pytest.raises(TargetError, match=message):
        accuracy(str(tmp_path / "m.json"), images, labels, scorer=scorer, runtime="fake")


def test_detections_are_those_of_the_host() -> None:
    """The same boxes, scores and classes as the task's own, which torchvision's NMS chooses."""
    import torch
    from edgeprune_target.scorers import make_scorer

    from edgeprune.tasks.detection import detections_of

    rng = np.random.default_rng(3)
    corners = rng.uniform(0, 60, (3, 80, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + rng.uniform(5, 30, (3, 80, 2)).astype(np.float32)], 2)
    scores = (rng.uniform(0, 1, (3, 80, 4)) ** 3).astype(np.float32)
    scores[0, :3] = np.nan
    scores[2] = 0
    scorer = make_scorer("detection")
    scorer.add([boxes[:2], scores[:2]], np.zeros(2, np.int64))
    scorer.add([boxes[2:], scores[2:]], np.zeros(1, np.int64))
    expected = detections_of({"boxes": torch.from_numpy(boxes), "scores": torch.from_numpy(scores)})
    rows = scorer.totals()["detections"]
    assert len(rows[0]) > 10 and rows[2] == []
    for host, device in zip(expected, rows, strict=True):
        table = torch.tensor(device).reshape(-1, 6)
        assert torch.allclose(table[:, :4], host["boxes"]) and torch.allclose(table[:, 4], host["scores"])
        assert torch.equal(table[:, 5].long(), host["labels"])


def test_outputs_that_are_no_boxes() -> None:
    from edgeprune_target.scorers import make_scorer

    with pytest.raises(TargetError, match="a detector gives boxes, N x places x 4"):
        make_scorer("detection").add([np.zeros((2, 5))], np.zeros(2, np.int64))
