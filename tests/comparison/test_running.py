"""A comparison from end to end: one baseline, rows one by one, interrupted and gone on with, failures."""

import json
import shutil
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import save_file

from edgeprune.comparison import CompareOptions, check_same_comparison, compare
from edgeprune.comparison.folder import ComparisonFolder
from edgeprune.comparison.rows import planned_rows
from edgeprune.comparison.running import _training
from edgeprune.errors import (
    DataError,
    EdgePruneError,
    InUseError,
    MovedError,
    RunError,
    StorageError,
    TargetError,
    TrainError,
    WeightsError,
)
from edgeprune.files.locks import held
from edgeprune.methods import METHODS
from edgeprune.models import build
from edgeprune.runs.run import Run
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.training import Interrupted

HAS_MOMENTS = "moment" in {field.name for field in fields(TrainPruneOptions)}


def result_of(out: Path) -> dict[str, Any]:
    return json.loads((out / "result.json").read_text())


def accuracies(result: dict[str, Any]) -> list[float]:
    return [row["accuracy"] for row in result["rows"]]


def weights_in(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.safetensors"))}


def stop_at(*starts: str) -> Callable[[float, float, str], None]:
    """A progress callback that stops where a text begins so, each in turn."""
    waiting = list(starts)

    def progress(done: float, total: float, text: str) -> None:
        if waiting and text.startswith(waiting[0]):
            waiting.pop(0)
            if not waiting:
                raise Interrupted

    return progress


# --- from end to end ------------------------------------------------------------------------------


def test_what_a_comparison_leaves(finished: Path) -> None:
    names = {p.name for p in finished.iterdir()}
    assert names == {"compare.json", "attempts.jsonl", "baseline", "rows", "result.json", "accuracy.png"}
    assert {p.name for p in (finished / "rows").iterdir()} == {"learned-seed0", "learned-seed1"}


def test_every_row_starts_from_the_same_baseline_and_trains_alike(finished: Path) -> None:
    rows = [Run.open(finished / f"rows/learned-seed{seed}") for seed in (0, 1)]
    baselines = {(path / "baseline.safetensors").read_bytes() for path in (rows[0].path, rows[1].path)}
    assert baselines == {(finished / "baseline/baseline.safetensors").read_bytes()}
    assert not any(m["stage"] == "baseline" for row in rows for m in row.training.metrics())
    first, second = (row.config["options"] for row in rows)
    assert {key for key in first if first[key] != second[key]} == {"seed"}


def test_the_result_says_what_the_rows_came_to(finished: Path) -> None:
    result = result_of(finished)
    summaries = [Run.open(finished / f"rows/learned-seed{seed}").summary() for seed in (0, 1)]
    after = [summary["models"]["pruned"]["accuracy"] for summary in summaries]
    before = [summary["models"]["settled"]["accuracy"] for summary in summaries]
    (method,) = result["methods"]
    assert method["accuracy"]["values"] == after
    assert method["accuracy"]["mean"] == pytest.approx(sum(after) / 2)
    assert method["accuracy"]["std"] == pytest.approx(abs(after[0] - after[1]) / 2**0.5)
    assert method["accuracy_before"]["values"] == before
    assert method["flops_fraction"]["values"] == [summary["flops_fraction"] for summary in summaries]
    assert method["params_fraction"]["values"] == [summary["params_fraction"] for summary in summaries]
    assert method["seconds"]["mean"] > 0 and result["baseline"]["seconds"] > 0
    assert result["baseline"]["accuracy"] == summaries[0]["models"]["baseline"]["accuracy"]
    assert result["complete"] and result["target"] == "flops=0.6"
    assert [row["status"] for row in result["rows"]] == ["done", "done"]
    assert result["rows"][0]["params"] == summaries[0]["models"]["pruned"]["params"]
    assert {row["latency_reason"] for row in result["rows"]} == {"not asked for (--no-latency)"}
    assert result["settings"]["epochs"] == 3 and "seed" not in result["settings"]


def test_the_result_names_no_place_of_this_machine(finished: Path, place: Path) -> None:
    text = (finished / "result.json").read_text()
    assert str(finished) not in text and str(place) not in text


def test_a_finished_comparison_is_not_done_again(finished: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "copy"))
    before, attempts = weights_in(out), (out / "attempts.jsonl").read_bytes()
    assert compare(out, resume=True, json_path=tmp_path / "second.json").to_dict() == result_of(finished)
    assert weights_in(out) == before and (out / "attempts.jsonl").read_bytes() == attempts
    assert json.loads((tmp_path / "second.json").read_text()) == result_of(finished)


@pytest.mark.parametrize(
    "where",
    [
        ["rows: learned-seed0", "finetune"],
        pytest.param(["baseline"], marks=pytest.mark.slow),
        pytest.param(["rows: learned-seed1", "prune"], marks=pytest.mark.slow),
    ],
)
def test_an_interrupted_comparison_goes_on_to_the_same_result(
    finished: Path, options: CompareOptions, tmp_path: Path, where: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRUNE_CHECKPOINT_SECONDS", "0")
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        compare(out, options, progress=stop_at(*where))
    result = compare(out, resume=True)
    assert weights_in(out) == weights_in(finished)
    outcomes = [event.get("outcome") for event in map(json.loads, (out / "attempts.jsonl").open())]
    assert outcomes.count("stopped") == 1 and outcomes.count("done") == 3
    assert [row["accuracy"] for row in result["rows"]] == [
        row["accuracy"] for row in result_of(finished)["rows"]
    ]


def test_a_comparison_from_a_run(finished: Path, options: CompareOptions, tmp_path: Path) -> None:
    run = finished / "rows/learned-seed0"
    again = CompareOptions(source=str(run), methods=("learned",), seeds=1, latency=False)
    result = compare(tmp_path / "out", again)
    # The same baseline, options and seed as the run itself, so the same model.
    made = tmp_path / "out/rows/learned-seed0"
    assert (made / "pruned.safetensors").read_bytes() == (run / "pruned.safetensors").read_bytes()
    assert result["baseline"]["seconds"] is None
    assert result["baseline"]["seconds_reason"] == "it was not trained here"


def test_a_comparison_from_given_weights(finished: Path, options: CompareOptions, tmp_path: Path) -> None:
    weights = finished / "baseline/baseline.safetensors"
    training = {**options.training, "weights": str(weights)}
    del training["baseline_epochs"]
    compare(tmp_path / "out", replace(options, training=training, seeds=1))
    name = "rows/learned-seed0/pruned.safetensors"
    assert (tmp_path / "out" / name).read_bytes() == (finished / name).read_bytes()


def test_rows_read_the_baseline_and_not_the_file_it_came_from(tmp_path: Path) -> None:
    folder = ComparisonFolder(tmp_path)
    folder.baseline.mkdir()
    (folder.baseline / "baseline.safetensors").touch()
    shared = {"weights": "w.pth", "weights_key": "model_ema", "epochs": 3}
    options = CompareOptions(source="resnet8", methods=("l1",), training=shared)
    training = _training(folder, planned_rows(options)[0], options)
    assert training["weights"] == str(folder.baseline / "baseline.safetensors")
    assert training["weights_key"] is None
    assert training["epochs"] == 3


@pytest.mark.skipif(len(METHODS) < 2, reason="train-prune has one method yet")
def test_methods_get_the_same_baseline_and_training(options: CompareOptions, tmp_path: Path) -> None:
    result = compare(tmp_path / "out", replace(options, methods=("l1", "learned", "random"), seeds=1))
    assert {row["status"] for row in result["rows"]} == {"done"}
    ranks = [method["accuracy"]["mean"] for method in result["methods"]]
    assert ranks == sorted(ranks, reverse=True)
    rows = [Run.open(path) for path in sorted((tmp_path / "out/rows").iterdir())]
    assert len({(row.path / "baseline.safetensors").read_bytes() for row in rows}) == 1
    shared = ("epochs", "batch_size", "lr", "schedule", "seed", "target", "precision", "weights")
    assert len({tuple(row.config["options"][name] for name in shared) for row in rows}) == 1


@pytest.mark.skipif(not HAS_MOMENTS, reason="train-prune has no moments yet")
def test_moments_start_from_random_weights(options: CompareOptions, tmp_path: Path) -> None:
    training = {k: v for k, v in options.training.items() if k not in ("baseline_epochs", "prune_iterations")}
    study = CompareOptions(
        source=options.source, moments=("start", "epoch:1", "end"), seeds=1, training=training, latency=False
    )
    result = compare(tmp_path / "out", study)
    assert {row["status"]: row["reason"] for row in result["rows"]} == {"done": None}
    assert not (tmp_path / "out/baseline").exists()
    assert (
        result["baseline"]["accuracy"] is None and "random weights" in result["baseline"]["accuracy_reason"]
    )
    assert {m["label"] for m in result["methods"]} == {"l1 at start", "l1 at epoch 1", "l1 at end"}


# --- failures -------------------------------------------------------------------------------------


def test_a_row_that_fails_says_why_and_the_rest_goes_on(
    finished: Path, options: CompareOptions, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(Interrupted):
        compare(out, options, progress=stop_at("rows: learned-seed0"))
    in_the_way = out / "rows/learned-seed0/notes.txt"
    in_the_way.parent.mkdir(parents=True)
    in_the_way.write_text("mine")
    result = compare(out, resume=True)
    first, second = result["rows"]
    assert first["status"] == "failed" and "exists and is not a run folder" in first["reason"]
    assert first["accuracy"] is None and first["latency_reason"] == "the row is not finished"
    assert second["status"] == "done" and result["complete"]
    assert result["methods"][0]["done"] == 1 and result["methods"][0]["reasons"] == (first["reason"],)
    assert result["methods"][0]["accuracy"]["std"] is None
    assert in_the_way.read_text() == "mine"
    shutil.rmtree(in_the_way.parent)
    result = compare(out, resume=True)  # a failed row is tried again
    assert [row["accuracy"] for row in result["rows"]] == [
        row["accuracy"] for row in result_of(finished)["rows"]
    ]


@pytest.fixture
def weights(tmp_path: Path, importable: None) -> str:
    path = tmp_path / "w.safetensors"
    save_file(build("compare_nets:tiny", num_classes=3).state_dict(), path)
    return str(path)


def with_weights(options: CompareOptions, model: str, weights: str) -> CompareOptions:
    training = {k: v for k, v in options.training.items() if k != "baseline_epochs"}
    return replace(
        options, source=f"compare_nets:{model}", seeds=1, training={**training, "weights": weights}
    )


def test_nothing_but_failures_is_an_error(options: CompareOptions, tmp_path: Path) -> None:
    wild = replace(options, seeds=1, training={**options.training, "lr": 100.0})
    with pytest.raises(
        TrainError, match="no row could be finished; learned-seed0: the loss became (nan|inf)"
    ) as caught:
        compare(tmp_path / "out", wild)
    assert "\n" not in str(caught.value)
    assert result_of(tmp_path / "out")["rows"][0]["status"] == "failed"
    assert not (tmp_path / "out/accuracy.png").exists()


def test_a_bug_in_one_row_leaves_its_traceback(options: CompareOptions, tmp_path: Path, weights: str) -> None:
    training = {**options.training, "weights": weights, "baseline_epochs": None}
    faulty = replace(options, source="compare_nets:has_a_bug", seeds=1, training=training)
    with pytest.raises(TrainError, match=r"IndexError: off by one \(see rows/learned-seed0.txt\)"):
        compare(tmp_path / "out", faulty)
    assert "raise IndexError" in (tmp_path / "out/rows/learned-seed0.txt").read_text()


def test_a_baseline_that_cannot_be_trained_ends_it(options: CompareOptions, tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="the loss became nan in stage baseline"):
        compare(tmp_path / "out", replace(options, source="compare_nets:explodes"))


@pytest.mark.parametrize(
    ("change", "kind", "message"),
    [
        ({"target": "flops=0.0001"}, TargetError, "the least that can remain"),
        ({"target": "half"}, TargetError, "flops=0.5"),
        ({"data": "digitz"}, DataError, "did you mean 'digits'"),
        ({"epochs": 0}, TrainError, "`epochs` must be at least 1"),
        (
            {"weights": "nowhere.pt", "baseline_epochs": None},
            WeightsError,
            "no such weights file: nowhere.pt",
        ),
        ({"schedule": "sine"}, TrainError, "did you mean 'cosine'"),
    ],
)
def test_a_mistake_that_all_rows_share_leaves_nothing(
    options: CompareOptions, tmp_path: Path, change: dict, kind: type[EdgePruneError], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        compare(tmp_path / "out", replace(options, training={**options.training, **change}))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_place_for_the_second_file_is_tried_first(options: CompareOptions, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgePruneError, match="cannot write"):
        compare(tmp_path / "out", options, json_path=tmp_path / "file/result.json")
    assert not (tmp_path / "out").exists()


def test_an_existing_one_is_not_overwritten(finished: Path, options: CompareOptions) -> None:
    with pytest.raises(RunError, match="exists: go on with --resume, start it anew with --force"):
        compare(finished, options)
    with pytest.raises(RunError, match="needs its options"):
        compare(finished / "new")


# --- the same options -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"epochs": 4}, "begun with epochs=3, not 4"),
        ({"seeds": 3}, "begun with seeds=2, not 3"),
        ({"methods": ("learned", "l1")}, "begun with methods=learned, not learned,l1"),
        ({"latency": True}, "begun with latency=False, not True"),
        ({"target": "flops=0.5"}, "begun with target=flops=0.6, not flops=0.5"),
        ({"align": 8}, "begun with align=None, not 8"),
        ({"source": "resnet8"}, "begun with source=compare_nets:tiny, not resnet8"),
    ],
)
def test_other_options_are_refused(finished: Path, argument: dict, message: str) -> None:
    with pytest.raises(RunError, match=message):
        check_same_comparison(finished, argument)


def test_the_same_options_are_not(finished: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    options = {"epochs": 3, "seeds": 2, "methods": ("learned",), "target": "flops=0.60", "data": "images"}
    check_same_comparison(finished, options)
    assert ComparisonFolder.open(finished).read_options().seeds == 2


# --- nothing lost ---------------------------------------------------------------------------------


def test_a_full_disk_says_so_and_leaves_nothing(
    options: CompareOptions, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not that the baseline exists already, which the first method had begun."""
    weights = str(finished / "baseline/baseline.safetensors")
    training = {**options.training, "weights": weights, "baseline_epochs": None}
    two = replace(options, methods=("learned", "l1"), training=training)
    real = Path.write_bytes

    def refuse(self: Path, content: bytes) -> int:
        if "baseline.safetensors" in self.name:
            raise OSError(28, "No space left on device")
        return real(self, content)

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(StorageError, match="the disk is full"):
        compare(tmp_path / "out", two)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_in_a_row_stops_the_comparison(
    options: CompareOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is not failed for good: no other would fare better, and --resume goes on with it."""
    real = Path.write_bytes

    def refuse(self: Path, content: bytes) -> int:
        if "settled.safetensors" in self.name:
            raise OSError(28, "No space left on device")
        return real(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", refuse)
        with pytest.raises(StorageError, match="settled.safetensors: the disk is full"):
            compare(tmp_path / "out", options)
    assert compare(tmp_path / "out", resume=True)["complete"]


def test_a_comparison_in_use_is_left_alone(finished: Path, options: CompareOptions, tmp_path: Path) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "copy"))
    with held(out):
        for how in ({"resume": True}, {"force": True}):
            with pytest.raises(InUseError, match="is in use by process"):
                compare(out, options, **how)
    assert weights_in(out) == weights_in(finished)


def test_force_keeps_what_is_read_and_what_others_wrote(
    finished: Path, options: CompareOptions, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "copy"))
    from_row = replace(options, source=str(out / "rows/learned-seed0"), training={})
    with pytest.raises(RunError, match="which is read"):
        compare(out, from_row, force=True)
    (out / "rows/notes.md").write_text("mine")
    with pytest.raises(RunError, match="edgeprune did not write .rows/notes.md."):
        compare(out, options, force=True)
    assert weights_in(out) == weights_in(finished)


def test_a_comparison_that_goes_away_is_not_made_anew(options: CompareOptions, tmp_path: Path) -> None:
    def move(done: float, total: float, text: str) -> None:
        if text.startswith("prune") and (tmp_path / "out").exists():
            (tmp_path / "out").rename(tmp_path / "elsewhere")

    with pytest.raises(MovedError, match="was moved or removed"):
        compare(tmp_path / "out", options, progress=move)
    assert not (tmp_path / "out").exists()
    assert compare(tmp_path / "elsewhere", resume=True)["complete"]
