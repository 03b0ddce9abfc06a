from pathlib import Path

import pytest

from edgeprune.comparison.attempts import KILLED, attempt, last_failure, seconds_spent
from edgeprune.comparison.folder import ComparisonFolder
from edgeprune.errors import TrainError
from edgeprune.training import Interrupted


@pytest.fixture
def folder(tmp_path: Path) -> ComparisonFolder:
    return ComparisonFolder(tmp_path)


def test_an_attempt_that_ends_well(folder: ComparisonFolder) -> None:
    with attempt(folder, "a"):
        assert [event["event"] for event in folder.attempts("a")] == ["began"]
    ended = folder.attempts("a")[1]
    assert ended["outcome"] == "done" and ended["reason"] is None and ended["seconds"] >= 0


@pytest.mark.parametrize(
    ("error", "outcome", "reason"),
    [
        (TrainError("no such luck"), "failed", "no such luck"),
        (Interrupted(), "stopped", None),
        (KeyboardInterrupt(), "stopped", None),
        (IndexError("off by one\nmore"), "failed", "IndexError: off by one (see rows/a.txt)"),
    ],
)
def test_how_it_ended_is_kept_and_the_error_goes_on(
    folder: ComparisonFolder, error: BaseException, outcome: str, reason: str | None
) -> None:
    with pytest.raises(type(error)), attempt(folder, "a"):
        raise error
    ended = folder.attempts("a")[1]
    assert (ended["outcome"], ended["reason"]) == (outcome, reason)
    assert last_failure(folder.attempts("a")) == reason
    traceback = folder.path / "rows/a.txt"
    assert traceback.exists() == isinstance(error, IndexError)
    if traceback.exists():
        assert "raise error" in traceback.read_text()


def test_time_adds_up_over_attempts() -> None:
    events = [
        {"event": "began"}, {"event": "ended", "seconds": 1.5, "reason": "x"},
        {"event": "began"}, {"event": "ended", "seconds": 2.0, "reason": None}, {"event": "measured"},
    ]  # fmt: skip
    assert seconds_spent(events) == (3.5, None)
    assert last_failure(events) is None
    assert last_failure(events[:2]) == "x"
    assert last_failure(events[:3]) is None  # tried again, and not over yet


def test_a_killed_attempt_has_no_known_time() -> None:
    assert seconds_spent([{"event": "began"}, {"event": "began"}, {"event": "ended", "seconds": 1.0}]) == (
        None,
        KILLED,
    )
    assert seconds_spent([]) == (None, "not begun yet")
