from collections.abc import Iterator

import numpy as np
import pytest

from bench.conftest import Scripted
from edgeprune.bench import accuracy
from edgeprune.bench.accuracy import Score, Scorer, pieces, pieces_on_disk
from edgeprune.bench.local import LocalTransport
from edgeprune.errors import ConnectionLost, DataError
from edgeprune.tasks import Classification, Segmentation


def batches(sizes: list[int]) -> Iterator[tuple[np.ndarray, list[int]]]:
    start = 0
    for size in sizes:
        numbers = list(range(start, start + size))
        yield np.array(numbers, np.float64).reshape(size, 1, 1, 1), numbers
        start += size


@pytest.mark.parametrize(("limit", "expected"), [(1, [2, 2, 1]), (12, [4, 1]), (1000, [5])])
def test_pieces_keep_every_image_in_order(limit: int, expected: list[int]) -> None:
    parts = list(pieces(batches([2, 2, 1]), limit, Classification()))
    assert [len(images) for images, _, _ in parts] == expected
    assert np.concatenate([labels for _, labels, _ in parts]).tolist() == [0, 1, 2, 3, 4]
    assert parts[0][0].dtype == np.float32
    assert parts[0][1].dtype == np.int64


def test_files_are_gone_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "PIECE_BYTES", 8)
    seen = []
    for images, labels, _ in pieces_on_disk(batches([2, 2]), Classification()):
        seen.append((images, np.load(images).ravel().tolist(), np.load(labels).tolist()))
    assert [numbers for _, numbers, _ in seen] == [[0.0, 1.0], [2.0, 3.0]]
    assert not seen[0][0].parent.exists()


def test_files_are_gone_after_an_error() -> None:
    parts = pieces_on_disk(batches([2]), Classification())
    images, _, _ = next(parts)
    with pytest.raises(RuntimeError):
        parts.throw(RuntimeError("stopped"))
    assert not images.parent.exists()


def counted(correct: int, count: int, not_finite: int) -> Score:
    return Score() + {"correct": correct, "count": count, "not_finite": not_finite}


@pytest.mark.parametrize(
    ("score", "value", "reason"),
    [
        (counted(3, 4, 0), 0.75, None),
        (counted(0, 4, 0), 0.0, None),  # measured to be zero, which is not the same as unknown
        (Score(), None, "the data set has no test images"),
        (counted(3, 4, 2), None, "2 of 4 images gave logits that are not finite"),
    ],
)
def test_report(score: Score, value: float | None, reason: str | None) -> None:
    scores = score.report()
    assert (scores["accuracy"], scores["accuracy_reason"], scores["accuracy_images"]) == (
        value,
        reason,
        score.count,
    )


def test_masks_are_scored_by_mean_iou_over_all_pieces() -> None:
    score = Score(Segmentation())
    for confusion in ([[3, 1], [0, 0]], [[2, 0], [1, 3]]):
        score += {"confusion": confusion, "correct": None, "count": 2, "not_finite": 0}
    report = score.report()
    assert report["scores"] == pytest.approx({"mean_iou": (5 / 7 + 3 / 5) / 2, "pixel_accuracy": 8 / 10})
    assert (report["accuracy"], report["accuracy_images"]) == (None, 4)
    assert report["accuracy_reason"] == "not what the task segment is scored by: see `scores`"


def test_a_task_without_a_scorer_says_so(fake_models) -> None:
    class Own(Classification):
        name, target_scorer = "own", None

    scorer = Scorer(Scripted(), "fake", 1, lambda name, done: None, task=Own())
    scores = scorer.score_all(fake_models(), lambda: batches([2]))
    assert scores["pruned"]["accuracy_reason"] == "the task own is not scored on devices"


def test_score_by_the_runner(fake_models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "PIECE_BYTES", 1)
    models = fake_models({"answer": 1, "classes": 5}, {"answer": 4, "classes": 5})
    events: list[tuple[str, int]] = []
    scorer = Scorer(LocalTransport(), "fake", 1, lambda name, done: events.append((name, done)))
    images = np.zeros((3, 1, 1, 1), np.float32)
    scores = scorer.score_all(models, lambda: [(images, [1, 1, 4]), (images[:1], [1])])
    assert scores["baseline"]["accuracy"] == pytest.approx(3 / 4)
    assert scores["pruned"]["accuracy"] == pytest.approx(1 / 4)
    assert events == [("baseline", 3), ("pruned", 3), ("baseline", 4), ("pruned", 4)]


def test_each_piece_is_sent_once_for_all_models_and_removed(
    fake_models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accuracy, "PIECE_BYTES", 1)
    transport = Scripted()
    sent: list[str] = []
    transport.send = lambda path: sent.append(path.name) or path.name  # type: ignore[method-assign]
    scorer = Scorer(transport, "fake", 1, lambda name, done: None)
    scores = scorer.score_all(fake_models(), lambda: batches([2, 2]))
    assert scores["pruned"]["accuracy_images"] == 8  # the script says 4 of each piece
    assert sent.count("images.npy") == sent.count("labels.npy") == 2
    assert transport.removed == ["images.npy", "labels.npy"] * 2


def test_what_was_sent_is_removed_after_a_failure(fake_models) -> None:
    transport = Scripted(fail_at=2)
    transport.send = lambda path: path.name  # type: ignore[method-assign]
    scores = Scorer(transport, "fake", 1, lambda name, done: None).score_all(
        fake_models(), lambda: batches([2])
    )
    assert "boom" in scores["baseline"]["accuracy_reason"]
    assert transport.removed == ["images.npy", "labels.npy"]


def test_a_lost_connection_is_no_reason_but_an_end(fake_models) -> None:
    """So that --resume can measure the accuracy later."""
    transport = Scripted()

    def lost(*words: object) -> None:
        raise ConnectionLost("the cable")

    transport.call = lost  # type: ignore[method-assign, assignment]
    with pytest.raises(ConnectionLost):
        Scorer(transport, "fake", 1, lambda name, done: None).score_all(fake_models(), lambda: batches([2]))


@pytest.mark.parametrize(
    "error", [DataError("no such data folder: x"), OSError(28, "No space left on device")]
)
def test_images_that_cannot_be_had_are_a_reason(fake_models, error: Exception) -> None:
    def fail() -> Iterator:
        raise error

    scorer = Scorer(Scripted(), "fake", 1, lambda name, done: None)
    scores = scorer.score_all(fake_models(), fail)
    assert scores["pruned"]["accuracy"] is None
    assert any(
        words in scores["pruned"]["accuracy_reason"] for words in ("no such data folder", "No space left")
    )


def test_detections_are_scored_on_the_host_with_the_datas_boxes() -> None:
    pytest.importorskip("torchmetrics", reason="mAP is torchmetrics'")
    pytest.importorskip("faster_coco_eval")
    import torch

    from edgeprune.tasks import Detection

    task = Detection()
    boxes = [
        {"boxes": torch.tensor([[0.0, 0.0, 9.0, 9.0]]), "labels": torch.tensor([label])}
        for label in (0, 1, 1)
    ]
    batches = [(torch.zeros(2, 3, 4, 4), boxes[:2]), (torch.zeros(1, 3, 4, 4), boxes[2:])]
    parts = list(pieces(batches, 1, task))
    assert [len(images) for images, _, _ in parts] == [2, 1] and parts[0][1].tolist() == [0, 0]
    score = Score(task)
    for (images, _, targets), rows in zip(
        parts, ([[[0, 0, 9, 9, 0.9, 0]], []], [[[0, 0, 9, 9, 0.8, 1]]]), strict=True
    ):
        score += {
            "count": len(images),
            "not_finite": 0,
            "correct": None,
            "detections": rows,
            "targets": targets,
        }
    report = score.report()
    # Class 0 is right; of class 1 one of two is found, without a false one: recall up to a half.
    assert report["scores"]["map"] == pytest.approx((1 + 51 / 101) / 2, abs=1e-3)
    assert report["accuracy"] is None and "see `scores`" in report["accuracy_reason"]
