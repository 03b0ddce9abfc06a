"""Results of earlier versions: measurements and summaries, as they were written then."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from measured import GOOD, changed

from edgeprune.errors import RunError
from edgeprune.post_training.result import result_lines
from edgeprune.records.base import Record
from edgeprune.records.bench import BenchResult, LatencyRecord, RuntimesTable
from edgeprune.records.comparison import ComparisonResult
from edgeprune.records.pruning import Agreement, PruneSummary, error_line
from edgeprune.records.runs import Summary
from edgeprune.records.search import SearchResult

EARLIER = Path(__file__).parent / "earlier"


def kept(old: Any, new: Any) -> bool:
    """Return whether a value has all that another had."""
    if isinstance(old, dict):
        return all(key in new and kept(value, new[key]) for key, value in old.items())
    return bool(old == new)


def test_a_measurement_of_the_first_version() -> None:
    result = BenchResult.read(EARLIER / "bench.json")
    assert result.complete and result.settings.stretches == 1 and result.replaced == ()
    assert result.models["pruned"].latency_ms == LatencyRecord(p50=0.25, p90=0.5, p99=1.0)
    assert result.models["pruned"].score("accuracy") == 0.75
    assert result.speedup is not None and result.speedup.low == 1.4
    assert kept(json.loads((EARLIER / "bench.json").read_text()), result.to_dict())


def test_a_summary_of_the_first_version() -> None:
    summary = Summary.read(EARLIER / "summary.json")
    assert (summary.task, summary.metric, summary.targets) == ("classification", None, ())
    assert summary.models.settled.score("accuracy") == 0.5 and summary.drop("accuracy") == 0.125
    assert summary["models"]["pruned"]["accuracy"] == 0.75 and summary["target"]["asked"] == "flops=0.5"
    assert summary.target.target == "flops=0.5"
    assert kept(json.loads((EARLIER / "summary.json").read_text()), summary.to_dict())


def test_the_metric_of_another_task_is_a_key_of_its_own() -> None:
    summary = Summary.read(EARLIER / "summary-masks.json")
    assert summary.models.pruned.score("mean_iou") == 0.5 and summary.drop("mean_iou") == 0.25
    assert summary.drop("accuracy") is None and "accuracy" not in summary["models"]["pruned"]
    assert summary["mean_iou_drop"] == 0.25 and summary["models"]["pruned"]["mean_iou"] == 0.5
    content = json.loads((EARLIER / "summary-masks.json").read_text())
    assert summary.to_dict() == {**content, "targets": []}
    with pytest.raises(RunError, match="has no `accuracy` of its models"):
        summary.models.pruned.score("accuracy")


@pytest.mark.parametrize("name", ["compare_digits", "compare_cifar10"])
def test_a_comparison_of_the_first_version(name: str) -> None:
    content = json.loads((EARLIER.parents[2] / "results" / f"{name}.json").read_text())
    result = ComparisonResult.from_dict(content)
    assert result.metric is None and result.baseline.score == content["baseline"]["accuracy"]
    assert [row.score for row in result.rows] == [row["accuracy"] for row in content["rows"]]
    assert result.methods[0].score_before.mean == content["methods"][0]["accuracy_before"]["mean"]
    assert kept({**content, "schema": 2}, result.to_dict())  # accuracy's keys are those of schema 1


def test_a_comparison_of_schema_1_called_every_metric_accuracy() -> None:
    content = json.loads((EARLIER / "comparison-masks.json").read_text())
    result = ComparisonResult.from_dict(content)
    (row,), (method,) = result.rows, result.methods
    assert (result.baseline.score, row.score_before, row.score, method.score.mean) == (
        0.75,
        0.25,
        0.625,
        0.625,
    )
    assert result["baseline"]["mean_iou"] == 0.75 and "accuracy" not in result["baseline"]
    assert result["methods"][0]["mean_iou_before"]["mean"] == 0.25 and result["rows"][0]["mean_iou"] == 0.625
    assert result.to_dict()["baseline"]["mean_iou_reason"] is None and result["schema"] == 2
    assert ComparisonResult.from_dict(result.to_dict()) == result
    damaged = result.to_dict()
    damaged["rows"][0]["mean_iou_before"] = "x"
    with pytest.raises(RunError, match=r"`rows\[0\].mean_iou_before` must be float or null"):
        ComparisonResult.from_dict(damaged)


def test_a_search_of_the_first_version() -> None:
    result = SearchResult.read(EARLIER / "search.json")
    assert (result.metric, result.best.number, result.trials[0].widths) == (None, 1, (4, 2))
    assert result.measured is not None and result.measured.percentile == 50
    assert result["best"]["fractions"]["flops"] == 0.5 and result["uniform"]["test"] == 0.25
    content = json.loads((EARLIER / "search.json").read_text())
    assert kept({**content, "measured": {**content["measured"], "percentile": 50}}, result.to_dict())


def test_a_pruned_file_of_the_first_version() -> None:
    """Agreement 0.75 of 40, then an error of 0.0625; accuracy 87.5 to 75 %; twice as fast."""
    summary = PruneSummary.read(EARLIER / "prune-summary.json")
    assert [step.loss for step in summary.held_out] == [0.5, 0.25, 0.0625]
    assert (
        summary["latency"]["speedup"] == (2.0, 1.5, 2.5) and summary["models"]["pruned"]["accuracy"] == 0.75
    )
    assert summary.to_dict() == json.loads((EARLIER / "prune-summary.json").read_text())
    assert result_lines(summary) == [
        "inputs: 200 inputs of x.npz",
        "cut: top-1 agreement 50.00 %, relative error 0.2500 on 40 held-out inputs",
        "fitted (kernel): top-1 agreement 75.00 %, relative error 0.1250 on 40 held-out inputs",
        "distilled (2 epochs): relative error 0.0625 on 40 held-out inputs",
        "relative error: squared difference from the original's outputs, over their variance on these inputs",
        "learned from 160 inputs for 2 epochs; 1 weights cannot learn, since no gradient reaches them (w1)",
        "accuracy 87.50 % -> 75.00 % (-12.50 points) on 40 labelled images",
        "FLOPs 2,000 -> 1,000 (0.500)",
        "parameters 100 -> 50 (0.500)",
        "bytes 8,000 -> 4,000 (0.500)",
        "on cpu: 2 ms -> 1 ms, 2.000 times as fast (1.500 to 2.500)",
        "kept: 2 channels (softmax over channels)",
        "one note",
    ]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v["baseline"].pop("accuracy"), "`baseline.accuracy` is missing"),
        (lambda v: v["rows"][0].update(accuracy="x"), "`rows[0].accuracy` must be"),
        (lambda v: v.update(methods=3), "`methods` must be"),
        (lambda v: v.update(schema=3), "made by a newer edgeprune"),
    ],
)
def test_a_damaged_comparison_is_refused(change: Callable[[dict[str, Any]], Any], reason: str) -> None:
    value = json.loads((EARLIER / "comparison-masks.json").read_text())
    change(value)
    with pytest.raises(RunError) as error:
        ComparisonResult.from_dict(value, "result.json")
    assert str(error.value).startswith("result.json") and reason in str(error.value)
    assert "\n" not in str(error.value)


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    result = changed()
    result.write(tmp_path / "bench.json")
    assert BenchResult.read(tmp_path / "bench.json") == result
    assert kept(GOOD, json.loads((tmp_path / "bench.json").read_text()))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda v: v["models"]["pruned"].update(throughput_ips=0), "`models.pruned.throughput_ips` must be"),
        (lambda v: v["models"].pop("pruned"), "`models.pruned` is missing"),
        (lambda v: v.update(models={}), "`models.baseline` is missing"),
        (lambda v: v.update(speedup=None), "`speedup` must be object (it is null)"),
        (lambda v: v["device"]["fingerprint"].pop("board"), "`device.fingerprint.board` is missing"),
        (lambda v: v.update(schema=2), "made by a newer edgeprune"),
    ],
)
def test_a_damaged_measurement_is_refused(change: Callable[[dict[str, Any]], Any], reason: str) -> None:
    value = json.loads((EARLIER / "bench.json").read_text())
    change(value)
    with pytest.raises(RunError) as error:
        BenchResult.from_dict(value, "cpu.json")
    assert str(error.value).startswith("cpu.json") and reason in str(error.value)
    assert "\n" not in str(error.value)


def test_every_record_is_frozen() -> None:
    def below(kind: type) -> set[type]:
        return {kind}.union(*map(below, kind.__subclasses__()))

    kinds = below(Record)
    assert {BenchResult, Summary, RuntimesTable} <= kinds
    for kind in kinds:
        assert kind.__struct_config__.frozen, kind  # type: ignore[attr-defined]
        for field, form in kind.__annotations__.items():
            assert not str(form).startswith(("list", "dict")), f"{kind.__name__}.{field} can be changed"


@pytest.mark.parametrize("name", ["demo", "resnet56-cifar10-learned"])
def test_results_that_are_kept_with_the_code_still_load(name: str) -> None:
    kept_result = json.loads((EARLIER.parents[2] / "results" / f"{name}.json").read_text())
    summary = Summary.from_dict(kept_result["summary"])
    assert summary.models.pruned.score("accuracy") == kept_result["summary"]["models"]["pruned"]["accuracy"]
    for content in kept_result["bench"].values():
        assert BenchResult.from_dict(content).speedup is not None


def test_the_relative_error_says_what_it_is_of_and_when_it_says_little() -> None:
    of = "relative error: squared difference from the original's outputs, over their variance on these inputs"
    assert error_line(Agreement(top1=None, relative_error=2.0, inputs=40)) == of
    judged = f"{of}; the top-1 agreement says more of a classifier"
    assert error_line(Agreement(top1=0.99, relative_error=0.02, inputs=40)) == judged
    assert error_line(Agreement(top1=0.3, relative_error=1.2, inputs=40)) == judged  # cut too far
    same = error_line(Agreement(top1=1.0, relative_error=21.7, inputs=40))
    assert (
        "above 1 these outputs hardly differ from input to input" in same and "scale, mean and std?" in same
    )
