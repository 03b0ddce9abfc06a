from msgspec import structs

from comparison.results import BASELINE, method_of, result_of, row_of
from edgeprune.comparison.spread import mean_and_spread
from edgeprune.comparison.table import comparison_remarks, comparison_table

WHAT = "test accuracy before and after fine-tuning"


def test_a_row_with_its_spread_beside_the_baseline() -> None:
    heads, rows = comparison_table(result_of([method_of("l1", [0.90, 0.92])]))
    names = [name for name, _ in heads]
    assert names == ["method", "before %", "after %", "params %", "FLOPs %", "time"]
    assert rows[0] == ["baseline", "", "95.00", "100.0", "100.0", "12 min"]
    # Of 0.90 and 0.92 the mean is 0.91 and the deviation 0.02 / sqrt(2); before, half of each.
    assert rows[1] == [
        "l1", "45.50 ± 0.71", "91.00 ± 1.41", "43.0", "50.0", "61 s"
    ]  # fmt: skip


def test_latency_where_it_was_measured() -> None:
    methods = [method_of("l1", [0.9], latency_ms=mean_and_spread([0.4567]), speedup=mean_and_spread([1.234]))]
    heads, rows = comparison_table(result_of([*methods, method_of("l2", [0.8])]))
    assert [name for name, _ in heads[-2:]] == ["latency", "speedup"]
    assert [row[-2:] for row in rows] == [["", ""], ["0.457 ms", "1.23x"], ["-", "-"]]


def test_one_seed_has_no_spread_and_moments_no_baseline() -> None:
    unknown = structs.replace(BASELINE, score=None, score_reason="the rows start from random weights")
    result = result_of([method_of("l1 at end", [0.9])], moments=("end",), seeds=1, baseline=unknown)
    heads, rows = comparison_table(result)
    names = [name for name, _ in heads]
    assert names == ["when", "before %", "after %", "params %", "FLOPs %", "time"]
    assert rows == [["l1 at end", "45.00", "90.00", "43.0", "50.0", "61 s"]]
    assert comparison_remarks(result) == [f"{WHAT}: one seed, so no spread"]


def test_a_method_that_failed_is_a_row_with_its_reason() -> None:
    failed = method_of("sss", [], reasons=("no BatchNorm",))
    result = result_of([method_of("l1", [0.9, 0.9]), failed])
    assert comparison_table(result)[1][2] == ["sss", "-", "-", "-", "-", "-"]
    assert comparison_remarks(result) == [
        f"{WHAT}: means over 2 seeds ± standard deviation",
        "sss failed: no BatchNorm",
    ]


def test_what_was_missed_or_not_measured_is_said() -> None:
    notes = ("flops=0.5 was asked, 0.520 of the flops remains", "other")
    rows = (
        row_of("l1", notes=notes, latency_reason="the export failed"),
        row_of("l2", status="waiting", latency_reason="the row is not finished"),
    )
    result = result_of([method_of("l1", [0.9, 0.9])], rows=rows, plot_reason="matplotlib is not installed")
    assert comparison_remarks(result)[1:] == [
        "l1: flops=0.5 was asked, 0.520 of the flops remains",
        "latency: the export failed",
        "no plot: matplotlib is not installed",
    ]
