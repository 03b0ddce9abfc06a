"""edgeprune search --max-drop: which networks are tried, which is chosen, and going on after a kill."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edgeprune.cli import main
from edgeprune.comparison.source import shared_training
from edgeprune.errors import StorageError, TargetError
from edgeprune.records.max_drop import DropPoint, MaxDropRecord
from edgeprune.report.page import write_report
from edgeprune.runs.points import FILE, read_max_drop
from edgeprune.runs.run import Run
from edgeprune.search import SearchOptions, max_drop, search
from edgeprune.search.folder import SEARCH
from edgeprune.tasks.paired import drop_by_counts
from edgeprune.training import PairedScores

LIMIT = 5.0  # points of accuracy
IMAGES = 10_000


class Killed(BaseException):
    """Ends a search at some point, as a signal that cannot be caught."""


def scores(before: Any, after: Any, *_: Any, **__: Any) -> PairedScores:
    """Say that a network loses a tenth of a point by each hundredth of the parameters that it lost."""
    left, all_of_them = (sum(p.numel() for p in model.parameters()) for model in (after, before))
    lost = round(0.1 * (1 - left / all_of_them) * IMAGES)
    return PairedScores({"accuracy": 0.9}, {"accuracy": 0.9 - lost / IMAGES}, drop_by_counts(lost, 0, IMAGES))


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch, importable: None) -> pytest.MonkeyPatch:
    """Networks are judged by their size, so that the limit lies between two of them."""
    monkeypatch.setattr(max_drop.training, "evaluate_pair", scores)
    return monkeypatch


@pytest.fixture(scope="module")
def options(requested: dict[str, object], finished: Path) -> SearchOptions:
    few = {"trials": 2, "clusters": 0, "target": "params=0.6", "max_drop": LIMIT, "points": 4}
    weights = str(finished / "baseline/baseline.safetensors")
    return SearchOptions.of({**requested, **few, "weights": weights, "baseline_epochs": None})


@pytest.fixture(scope="module")
def within(tmp_path_factory: pytest.TempPathFactory, options: SearchOptions, importable: None) -> Path:
    """A search that tried several shares; not to be changed."""
    out = tmp_path_factory.mktemp("searches") / "within"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(max_drop.training, "evaluate_pair", scores)
        search(out, options)
    return out


def record_of(out: Path) -> MaxDropRecord:
    record = read_max_drop(out)
    assert record is not None
    return record


def share(point: DropPoint) -> float:
    return float(point.target.partition("=")[2])


def test_the_smallest_within_the_limit_is_chosen(within: Path) -> None:
    record = record_of(within)
    assert record.drop_by == "estimate" and record.split == "val"
    assert record.images == Run.open(within / "baseline").data().sizes["val"] > 10
    (chosen,) = (point for point in record.points if point.run == record.chosen)
    assert chosen.within and chosen.drop is not None and chosen.drop.value <= LIMIT / 100
    smaller = [point for point in record.points if share(point) < share(chosen)]
    assert smaller and not any(point.within for point in smaller)
    assert [point.run for point in record.points] == [f"points/{n + 1}" for n in range(len(record.points))]
    assert [point.target for point in record.points[:2]] == ["params=0.6", "params=0.375"]
    assert record.confirmed == chosen.tested and chosen.params_fraction == pytest.approx(
        chosen.got_fraction, abs=0.01
    )


def test_its_plan_and_result_are_those_of_the_folder(within: Path) -> None:
    point = within / str(record_of(within).chosen)
    assert (within / "plan.json").read_bytes() == (point / "plan.json").read_bytes()
    result, own = (json.loads((folder / "result.json").read_text()) for folder in (within, point))
    assert f"--plan {within / 'plan.json'}" in result.pop("next") and own.pop("next")
    assert result == own and all((within / name).is_file() for name in result["pictures"])
    assert SEARCH.strangers(within) == []
    weights = {path.read_bytes() for path in within.glob("**/baseline.safetensors")}
    assert len(weights) == 1  # not trained again


def test_the_report_shows_every_network(within: Path, tmp_path: Path) -> None:
    page = write_report(within, tmp_path / "page.html").read_text()
    assert "Networks that were tried" in page and all(point.run in page for point in record_of(within).points)


def test_a_finished_one_is_shown_again(within: Path, judged: pytest.MonkeyPatch) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    judged.setattr(max_drop, "finish", never)
    printed = CliRunner().invoke(
        main, ["search", "--out", str(within), "--resume", "--json"], env={"COLUMNS": "200"}
    )
    assert json.loads(printed.stdout)["max_drop"] == json.loads((within / FILE).read_text())
    table = CliRunner().invoke(main, ["search", "--out", str(within), "--resume"], env={"COLUMNS": "200"})
    assert "chosen" in table.stdout and "held-out training images" in table.stdout


@pytest.mark.parametrize("moment", ["network 2 ", "trials 1", "comparing network 1 "])
def test_one_that_was_killed_ends_as_it_would_have(
    moment: str, within: Path, options: SearchOptions, judged: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def kill(done: float, total: float, text: str) -> None:
        if text.startswith(moment):
            raise Killed

    with pytest.raises(Killed):
        search(tmp_path / "cut", options, progress=kill)
    assert not (tmp_path / "cut/result.json").exists()
    search(tmp_path / "cut", resume=True)
    for name in (FILE, "plan.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (within / name).read_bytes()


def test_workers_of_one_storage_agree(
    options: SearchOptions, judged: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The second would judge otherwise, by its rounding or its device: it takes what the first one noted."""
    storage = f"sqlite:///{tmp_path / 'shared.db'}"
    search(tmp_path / "first", options, storage=storage)
    judged.setattr(max_drop.training, "evaluate_pair", lambda *_: PairedScores({}, {}, None))
    search(tmp_path / "second", options, storage=storage)
    for name in (FILE, "plan.json"):
        assert (tmp_path / "second" / name).read_bytes() == (tmp_path / "first" / name).read_bytes()


def test_what_a_storage_says_of_a_network_is_checked(
    options: SearchOptions, judged: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Edited(DropPoint, frozen=True):
        def to_dict(self) -> dict[str, Any]:
            return {**super().to_dict(), "pruned": "all of it"}

    judged.setattr(max_drop, "DropPoint", Edited)
    with pytest.raises(StorageError, match="pruned"):
        search(tmp_path / "out", options)


def test_none_within_names_the_nearest(
    options: SearchOptions, judged: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hard = replace(options, training={**options.training, "max_drop": 0.001, "points": 2})
    with pytest.raises(
        TargetError, match=r"none of 2 networks keeps within 0\.001 points.*points/2.*`trials`"
    ):
        search(tmp_path / "none", hard)
    assert (tmp_path / "none/points/2/plan.json").is_file() and not (tmp_path / "none/plan.json").exists()


def test_a_run_with_a_largest_drop_does_not_give_it_to_a_search(within: Path) -> None:
    stored = json.loads((within / "baseline/config.json").read_text())
    assert {"max_drop", "points"} <= {*stored["typed"]} and stored["options"]["max_drop"] == LIMIT
    taken = shared_training(str(within / "baseline"), {})
    assert not {"max_drop", "drop_by", "points"} & taken.keys()
    assert taken["val_fraction"] == stored["options"]["val_fraction"]
    assert shared_training(str(within / "baseline"), {"max_drop": 2.0})["max_drop"] == 2.0


WRONG = {
    "below 0": (["resnet8", "--max-drop", "-1"], "--max-drop must be above 0"),
    "no drop to judge": (["resnet8", "--drop-by", "interval"], "there is no --max-drop; leave it out"),
    "no points to count": (["resnet8", "--points", "3"], "there is no --max-drop; leave it out"),
    "an unknown way": (["resnet8", "--max-drop", "1", "--drop-by", "luck"], "unknown drop-by 'luck'"),
    "two targets": (
        ["resnet8", "--max-drop", "1", "--target", "flops=0.5,params=0.5"],
        "--max-drop begins with one share",
    ),
    "an amount": (
        ["resnet8", "--max-drop", "1", "--target", "memory=1MB"],
        "--max-drop begins with one share",
    ),
    "out of reach": (["resnet8", "--max-drop", "1", "--target", "flops=0.001"], "cannot be reached"),
}


@pytest.mark.parametrize("args, message", WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_line_and_leaves_nothing(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["search", *args], env={"COLUMNS": "200"})
    assert result.exit_code == 1 and message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


def test_options_without_effect_are_refused_beside_a_run_too(within: Path) -> None:
    result = CliRunner().invoke(
        main, ["search", str(within / "baseline"), "--points", "3"], env={"COLUMNS": "200"}
    )
    assert result.exit_code == 1 and "there is no --max-drop" in result.stderr


def test_help_says_that_no_run_determines_it() -> None:
    text = " ".join(CliRunner().invoke(main, ["search", "--help-all"]).stdout.split())
    assert "is the first that is tried. [default: `target` alone]" in text
    assert "networks for `max_drop`. [default: 5]" in text
