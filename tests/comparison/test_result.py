from pathlib import Path
from typing import Any

import pytest

from edgeprune.comparison.folder import ComparisonFolder
from edgeprune.comparison.options import CompareOptions
from edgeprune.comparison.result import comparison_result, ranked
from edgeprune.comparison.rows import planned_rows
from edgeprune.comparison.spread import mean_and_spread

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
    assert method["reasons"] == ["no such luck"] and method["done"] == 0
    assert method["seconds"]["mean"] is None and method["seconds"]["missing"] == 2


@pytest.mark.parametrize(
    ("accuracies", "order"), [([0.5, 0.9, None, 0.9], [1, 3, 0, 2]), ([None, 0.0], [1, 0]), ([], [])]
)
def test_the_most_accurate_come_first(accuracies: list[float | None], order: list[int]) -> None:
    methods: list[dict[str, Any]] = [
        {"number": number, "accuracy": mean_and_spread([accuracy])}
        for number, accuracy in enumerate(accuracies)
    ]
    assert [method["number"] for method in ranked(methods)] == order
