from pathlib import Path

import pytest

from comparison.results import method_of
from edgeprune.comparison.folder import ComparisonFolder
from edgeprune.comparison.options import CompareOptions
from edgeprune.comparison.result import comparison_result, ranked
from edgeprune.comparison.rows import planned_rows
from edgeprune.tasks import Metric

OPTIONS = CompareOptions(source="/some/where/run", methods=("learned",), seeds=2)


def test_before_any_row(tmp_path: Path) -> None:
    result = comparison_result(ComparisonFolder(tmp_path), OPTIONS, planned_rows(OPTIONS))
    assert not result["complete"]
    assert result["source"] == "run" and result["target"] == "flops=0.5"
    assert {row["status"] for row in result["rows"]} == {"waiting"}
    assert {row["seconds_reason"] for row in result["rows"]} == {"not begun yet"}
    assert result["baseline"]["accuracy"] is None
    assert result["baseline"]["accuracy_reason"] == "no row is finished yet"
    assert result["methods"][0]["accuracy"]["mean"] is None
    assert result["settings"] == {} and result["machine"] == {}


def test_a_failed_row_keeps_its_time_and_reason(tmp_path: Path) -> None:
    folder = ComparisonFolder(tmp_path)
    folder.log("learned-seed1", "began")
    folder.log("learned-seed1", "ended", outcome="failed", reason="no such luck", seconds=2.5)
    row = comparison_result(folder, OPTIONS, planned_rows(OPTIONS))["rows"][1]
    assert (row["status"], row["reason"], row["seconds"]) == ("failed", "no such luck", 2.5)


def test_seeds_of_one_method_are_one_entry_and_its_failed_ones_do_not_count_as_time(tmp_path: Path) -> None:
    folder = ComparisonFolder(tmp_path)
    folder.log("learned-seed1", "began")
    folder.log("learned-seed1", "ended", outcome="failed", reason="no such luck", seconds=2.5)
    (method,) = comparison_result(folder, OPTIONS, planned_rows(OPTIONS))["methods"]
    assert method["reasons"] == ("no such luck",) and method["done"] == 0
    assert method["seconds"]["mean"] is None and method["seconds"]["missing"] == 2


@pytest.mark.parametrize(
    ("accuracies", "order"), [([0.5, 0.9, None, 0.9], [1, 3, 0, 2]), ([None, 0.0], [1, 0]), ([], [])]
)
def test_the_most_accurate_come_first(accuracies: list[float | None], order: list[int]) -> None:
    methods = [method_of(str(number), [accuracy]) for number, accuracy in enumerate(accuracies)]
    assert [int(method.label) for method in ranked(methods)] == order


def test_a_lower_error_comes_first() -> None:
    error = Metric("error", higher_is_better=False)
    methods = [method_of("0", [0.5], metric="error"), method_of("1", [0.2], metric="error")]
    assert [method.label for method in ranked(methods, error)] == ["1", "0"]
    assert methods[1]["error"]["mean"] == 0.2 and "score" not in methods[1]
