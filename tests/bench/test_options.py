from pathlib import Path
from typing import Any

import pytest

from bench.conftest import FAKE
from edgeprune.bench.options import BenchOptions, check_writable, rounds_for, schedule
from edgeprune.errors import BenchError


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch": 0}, "`batch` must be at least 1, not 0"),
        ({"batch": -3}, "`batch` must be at least 1, not -3"),
        ({"threads": 0}, "`threads` must be at least 1, not 0"),
        ({"seconds": 0.0}, "`seconds` must be above 0 and at most 86400, not 0"),
        ({"seconds": -1.0}, "`seconds` must be above 0 and at most 86400, not -1"),
        ({"seconds": float("nan")}, "`seconds` must be above 0 .* not nan"),
        ({"seconds": float("inf")}, "`seconds` must be above 0 .* not inf"),
        ({"rounds": 1}, "`rounds` must be at least 2, not 1"),
    ],
)
def test_bad_numbers(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(BenchError, match=message):
        BenchOptions(FAKE, **wrong)


@pytest.mark.parametrize(
    ("seconds", "rounds"), [(0.1, 8), (8, 8), (10, 10), (12.9, 12), (15, 16), (20, 20), (600, 20)]
)
def test_rounds_are_even_and_bounded(seconds: float, rounds: int) -> None:
    assert rounds_for(seconds) == rounds


def test_rounds_share_the_seconds() -> None:
    options = BenchOptions(FAKE, seconds=30)
    assert options.round_count * options.round_seconds == pytest.approx(30)


def test_each_model_goes_first_equally_often() -> None:
    order = schedule(8, ("a", "b"))
    assert [pair[0] for pair in order].count("a") == 4
    assert all(sorted(pair) == ["a", "b"] for pair in order)


def test_writable_place_is_left_as_it_was(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "x.json")
    assert list((tmp_path / "new").iterdir()) == []
    (tmp_path / "old.json").write_text("old")
    check_writable(tmp_path / "old.json")
    assert (tmp_path / "old.json").read_text() == "old"


def test_unwritable_places(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BenchError, match="it is a folder"):
        check_writable(tmp_path)
    with pytest.raises(BenchError, match="cannot write .*is a file"):
        check_writable(tmp_path / "file" / "x.json")
    assert (tmp_path / "file").read_text() == ""
