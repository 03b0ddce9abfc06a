"""The smallest network within a largest drop: which shares are tried, and runs of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeprune.errors import EdgePruneError, TargetError, TrainError
from edgeprune.records.max_drop import MaxDropRecord
from edgeprune.report.page import write_report
from edgeprune.reporting.drops import drop_lines, drop_table
from edgeprune.runs.drop_limits import judged_by, next_share
from edgeprune.runs.points import FILE, read_max_drop, runs_of_points
from edgeprune.runs.run import RUN, Run
from edgeprune.train_prune import max_drop
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_prune
from edgeprune.training import Interrupted

pytestmark = pytest.mark.usefixtures("here")


def test_shares_shrink_until_a_network_loses_too_much_then_close_in() -> None:
    assert next_share({}, 0.5) == 0.5
    assert next_share({0.5: True}, 0.5) == 0.312  # divided by 1.6
    assert next_share({0.5: True, 0.312: False}, 0.5) == 0.395  # the geometric mean
    assert next_share({0.5: True, 0.312: False, 0.395: True}, 0.5) == 0.351
    assert next_share({0.5: True, 0.49: False}, 0.5) is None


def test_shares_grow_while_none_is_good_enough() -> None:
    assert next_share({0.5: False}, 0.5) == 0.707
    assert next_share({0.5: False, 0.707: False}, 0.5) == 0.841


def test_a_lucky_small_network_is_not_the_end() -> None:
    """One that keeps to the limit below one that does not: the search goes on below it."""
    assert next_share({0.5: False, 0.4: True}, 0.5) == 0.25


def test_few_images_are_judged_by_the_estimate() -> None:
    metric = max_drop.tasks.get("classification").metric
    assert judged_by(None, 1.0, 72, metric) == "estimate" and judged_by(None, 1.0, 2500, metric) == "interval"
    assert judged_by("interval", 1.0, 72, metric) == "interval"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, place: Path, options: TrainPruneOptions) -> Path:
    """A run that tried two networks; 60 points of drop are allowed, so that both are good enough."""
    out = tmp_path_factory.mktemp("runs") / "within"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        train_prune(out, replace(options, max_drop=60.0, points=2, epochs=3, prune_iterations=4))
    return out


def test_the_smallest_good_network_becomes_that_of_the_run(finished: Path) -> None:
    run = Run.open(finished)
    record = read_max_drop(run.path)
    assert record is not None and record.chosen == "points/2" and record.drop_by == "interval"
    assert [point.target for point in record.points] == ["flops=0.6", "flops=0.375"]
    first, second = runs_of_points(run)
    assert (finished / "pruned.safetensors").read_bytes() == (second.path / "pruned.safetensors").read_bytes()
    assert (finished / "baseline.safetensors").read_bytes() == (
        first.path / "baseline.safetensors"
    ).read_bytes()
    summary = run.summary()
    assert (
        summary.target.target == "flops=0.375" and summary.flops_fraction == second.summary().flops_fraction
    )
    assert summary.drop_interval is not None and record.confirmed == summary.drop_interval


def test_more_images_are_held_out_for_the_choice(finished: Path) -> None:
    run = Run.open(finished)
    assert run.config["options"]["val_fraction"] == 0.3
    record = read_max_drop(run.path)
    assert record is not None and record.images == run.data().sizes["val"] > 10


def test_tables_and_report_show_every_network(finished: Path, tmp_path: Path) -> None:
    record = read_max_drop(finished)
    assert record is not None
    heads, cells = drop_table(record)
    assert [row[0] for row in cells] == ["points/1", "points/2"] and [row[-1] for row in cells] == [
        "within",
        "chosen",
    ]
    assert all(len(row) == len(heads) for row in cells)
    assert "14 held-out training images" in drop_lines(record)[0]
    page = write_report(finished, tmp_path / "page.html").read_text()
    assert "Networks that were tried" in page and "points/2" in page


def test_the_folder_is_edgeprunes_own(finished: Path) -> None:
    assert RUN.strangers(finished) == []


def test_a_run_that_is_stopped_goes_on(
    finished: Path, tmp_path: Path, options: TrainPruneOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "stopped"
    real: Callable[..., Any] = max_drop.training.evaluate_pair

    def stopping(*args: Any, **more: Any) -> Any:
        raise Interrupted

    monkeypatch.setattr(max_drop.training, "evaluate_pair", stopping)
    with pytest.raises(Interrupted):
        train_prune(out, replace(options, max_drop=60.0, points=2, epochs=3, prune_iterations=4))
    monkeypatch.setattr(max_drop.training, "evaluate_pair", real)
    train_prune(out, resume=True)
    for name in ("pruned.safetensors", "model.json", FILE):
        assert (out / name).read_bytes() == (finished / name).read_bytes()


def test_none_within_is_said_and_the_networks_stay(tmp_path: Path, options: TrainPruneOptions) -> None:
    out = tmp_path / "none"
    chosen = replace(
        options, max_drop=0.001, drop_by="interval", points=1, epochs=2, prune_iterations=2, baseline_epochs=1
    )
    with pytest.raises(
        TargetError, match=r"none of 1 networks keeps within 0\.001 points.*points/1.*raise `max_drop`"
    ):
        train_prune(out, chosen)
    assert (out / "points/1/summary.json").is_file() and not (out / "summary.json").exists()
    record = json.loads((out / FILE).read_text())
    assert record["chosen"] is None and not record["points"][0]["within"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"target": "params=20kB"}, "kB"),
        ({"target": "memory=1MB"}, "begins with one share"),
        ({"target": "flops=0.5,params=0.5"}, "begins with one share"),
        ({"init": "random", "method": "l1"}, "exclude each other"),
        ({"val_fraction": 0.0}, "held-out images"),
        ({"max_drop": -1.0}, "`max_drop`"),
        ({"drop_by": "luck"}, "`drop_by`"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(
    tmp_path: Path, options: TrainPruneOptions, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(EdgePruneError, match=words):
        train_prune(tmp_path / "run", replace(options, **{"max_drop": 1.0, **changes}))
    assert not (tmp_path / "run").exists()


def test_options_of_the_search_have_no_effect_without_it() -> None:
    from edgeprune.train_prune.effects import check_effect

    with pytest.raises(TrainError, match="no `max_drop`"):
        check_effect([TrainPruneOptions(points=3)], ["points"])


def test_a_damaged_record_is_refused(finished: Path, tmp_path: Path) -> None:
    record = read_max_drop(finished)
    assert record is not None
    damaged = record.to_dict()
    damaged["points"][0]["drop"]["confidence"] = 2.0
    with pytest.raises(EdgePruneError, match="confidence"):
        MaxDropRecord.from_dict(damaged)
