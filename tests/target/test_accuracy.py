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
    found = accuracy(str(onnx_file), images, labels, batch=batch)
    assert found == {"correct": 3, "count": 5, "not_finite": 0}


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
