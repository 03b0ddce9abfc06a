"""edgeprune search, from the first option to the plan that train-prune takes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

from edgeprune.cli import main
from edgeprune.search import SearchOptions, search
from edgeprune.search.folder import SearchFolder


def run(*args: str, command: str = "search") -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [command, *args], env={"COLUMNS": "200"})
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def out(finished: Path, tmp_path: Path) -> Path:
    """A finished search, free to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "out"))


def result_of(out: Path) -> dict:
    return json.loads((out / "result.json").read_text())


def test_what_is_left(finished: Path) -> None:
    result = result_of(finished)
    assert len(result["trials"]) == 14 and [trial["number"] for trial in result["trials"]] == list(range(14))
    assert result["best"]["reward"] == max(trial["reward"] for trial in result["trials"])
    for trial in [*result["trials"], result["uniform"]]:
        assert 0.3 < trial["fractions"]["flops"] <= 0.5
        assert all(width <= size for width, size in zip(trial["widths"], result["sizes"], strict=True))
    assert {trial["stage"] for trial in result["trials"]} == {"clusters", "layers"}
    assert result["pictures"] == ["ratios.png", "front.png", "progress.png", "dendrogram.png"]
    assert all((finished / name).stat().st_size > 10_000 for name in result["pictures"])
    plan = json.loads((finished / "plan.json").read_text())
    kept = {group["name"]: len(group["kept"]) for group in plan["groups"]}
    best = dict(zip(result["groups"], result["best"]["widths"], strict=True))
    assert {name: kept[name] for name in best} == best
    assert (
        len({tuple(trial["widths"]) for trial in result["trials"]}) > 4
    )  # of the few that are on the budget
    twins = [trial for trial in result["trials"] if trial["copied_from"] is not None]
    for trial in twins:
        assert trial["widths"] == result["trials"][trial["copied_from"]]["widths"] and trial["seconds"] == 0


def test_a_finished_search_is_shown_again(out: Path) -> None:
    before = result_of(out)
    code, printed, error = run("--out", str(out), "--resume")
    assert code == 0, error
    assert "tiny_nets:tiny, flops=0.5" in " ".join(printed.split())
    assert "unpruned" in printed and "uniform" in printed and "best" in printed
    assert "fine-tune it with: edgeprune train-prune --model tiny_nets:tiny" in printed
    code, printed, _ = run("--out", str(out), "--resume", "--json")
    assert json.loads(printed) == result_of(out)
    assert result_of(out)["trials"] == before["trials"]


def test_the_plan_goes_into_train_prune(out: Path, place: Path, tmp_path: Path) -> None:
    code, _, error = run(
        "--model", "tiny_nets:tiny", "--data", str(place / "images"), "--epochs", "1", "--batch-size", "8",
        "--weights", str(out / "baseline/baseline.safetensors"), "--plan", str(out / "plan.json"),
        "--reconstruct", "kernel", "--out", str(tmp_path / "run"), command="train-prune",
    )  # fmt: skip
    assert code == 0, error
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    best = result_of(out)["best"]["fractions"]["flops"]
    assert summary["flops_fraction"] == pytest.approx(best, abs=0.01)
    code, _, error = run(
        "--model", "resnet8", "--data", str(place / "images"), "--plan", str(out / "plan.json"),
        "--out", str(tmp_path / "other"), command="train-prune",
    )  # fmt: skip
    assert code == 1 and "another model" in error and not (tmp_path / "other").exists()


def test_an_interrupted_search_ends_as_it_would_have(
    finished: Path, requested: dict[str, object], tmp_path: Path, importable: None
) -> None:
    """Killed after 5 trials: what was drawn depends on a trial's number and on what is finished alone."""
    weights = finished / "baseline/baseline.safetensors"
    options = SearchOptions.of({**requested, "weights": str(weights), "baseline_epochs": None})

    class Killed(BaseException):
        pass

    def stop(done: float, total: float, text: str) -> None:
        if text.startswith("trials 5"):
            raise Killed

    with pytest.raises(Killed):
        search(tmp_path / "cut", options, progress=stop)
    assert SearchFolder(tmp_path / "cut").plan.exists()
    cut = search(tmp_path / "cut", resume=True)
    result = result_of(finished)
    assert [[*trial.widths] for trial in cut.trials] == [trial["widths"] for trial in result["trials"]]
    assert cut["best"]["reward"] == result["best"]["reward"]


@pytest.mark.parametrize("sampler", ["uniform", "sensitivity", "random"])
def test_other_ways(
    sampler: str, finished: Path, requested: dict[str, object], tmp_path: Path, importable: None
) -> None:
    tensors = load_file(finished / "baseline/baseline.safetensors")
    weights = str(tmp_path / "w.ckpt")
    torch.save({"net": {name: t * 0 for name, t in tensors.items()}, "my ema": tensors}, weights)
    ours = {**requested, "weights": weights, "weights_key": "my ema", "baseline_epochs": None}
    result = search(tmp_path / "out", SearchOptions.of({**ours, "sampler": sampler, "trials": 3}))
    assert "w.ckpt --weights-key 'my ema' --plan" in result["next"]
    assert result["uniform"]["reward"] == result_of(finished)["uniform"]["reward"]
    count = {"uniform": 1, "sensitivity": 1, "random": 3}[sampler]  # probes are no policies
    assert len(result["trials"]) == count
    assert result["best"]["fractions"]["flops"] <= 0.5
    if sampler == "uniform":
        assert result["best"]["widths"] == result["uniform"]["widths"]


WRONG = {
    "no model": ([], "nothing to search: say a model's name"),
    "no such sampler": (["resnet8", "--sampler", "bo"], "unknown sampler 'bo'"),
    "no such rollback": (["resnet8", "--rollback", "no"], "unknown rollback 'no'"),
    "no trials": (["resnet8", "--trials", "0"], "--trials must be at least 1, not 0"),
    "a bridge that leads back": (["resnet8", "--bridge", "3"], "--bridge 3 must be larger than --clusters 3"),
    "not a share": (["resnet8", "--lowest", "1.5"], "--lowest must be above 0 and below 1, not 1.5"),
    "too many clusters": (["resnet8", "--clusters", "40", "--bridge", "50"], "40 clusters of 6 groups"),
    "out of reach": (["resnet8", "--target", "flops=0.001"], "cannot be reached"),
    "the policies' floors": (["resnet8", "--target", "flops=0.2", "--lowest", "0.6"], "lower --lowest"),
    "no need of a storage": (
        ["resnet8", "--sampler", "uniform", "--storage", "sqlite:///a.db"],
        "leave --storage out",
    ),
    "no data": (["resnet8", "--data", "/nowhere/at/all"], "/nowhere/at/all"),
    "no images to judge on": (["resnet8", "--val-fraction", "0"], "raise --val-fraction above 0"),
    "no such model": (["resnet9000"], "unknown model 'resnet9000'"),
    "no such search": (["--resume", "--out", "none"], "no such search: none"),
    "none to go on with": (["--resume"], "no search under runs/ to go on with"),
}


@pytest.mark.parametrize("args, message", WRONG.values(), ids=WRONG)
def test_a_mistake_is_one_line_and_leaves_nothing(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, error = run(*args)
    assert code == 1 and message in error
    assert error.startswith("error: ") and len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_one_that_exists_and_one_that_was_asked_otherwise(out: Path) -> None:
    code, _, error = run("resnet8", "--out", str(out))
    assert code == 1 and "go on with --resume, start it anew with --force" in error
    code, _, error = run("--out", str(out), "--resume", "--trials", "99")
    assert code == 1 and "begun with trials=14, not 99" in error
    code, _, error = run("--out", str(out), "--resume", "--storage", "sqlite:///other.db")
    assert code == 1 and "begun with another storage" in error
    assert run("--out", str(out), "--resume", "--force")[0] == 2


def test_a_storage_of_another_search(out: Path, finished: Path, place: Path, tmp_path: Path) -> None:
    code, _, error = run(
        "tiny_nets:tiny", "--data", str(place / "images"), "--out", str(tmp_path / "second"),
        "--weights", str(finished / "baseline/baseline.safetensors"), "--clusters", "0",
        "--val-fraction", "0.4",
        "--storage", f"sqlite:///{out / 'study.db'}", "--study", "tiny_nets:tiny-images-flops=0.5",
    )  # fmt: skip
    assert code == 1 and "holds another search" in error
