"""The command line: help without heavy packages, one line for each mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgeprune.cli import finished_run, free_place, latest_run, main
from edgeprune.cli.base import MEASURED, REPORTED, Begun
from edgeprune.devices import device_rows
from edgeprune.errors import RunError
from edgeprune.runs.run import Run

HEAVY = (
    "torch",
    "torchvision",
    "onnx",
    "onnxruntime",
    "tensorrt",
    "pycuda",
    "fvcore",
    "scipy",
    "sklearn",
    "rich",
    "matplotlib",
)


def run(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(args))
    return result.exit_code, result.stdout, result.stderr


@pytest.mark.parametrize(
    "command", [[], *[[name] for name in sorted(main.commands)]], ids=lambda c: " ".join(c) or "main"
)
def test_help_needs_no_heavy_package(command: list[str]) -> None:
    code = f"""
import sys
for name in {HEAVY!r}:
    sys.modules[name] = None
from edgeprune.cli import main
main({[*command, "--help"]!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout


@pytest.mark.parametrize("name", sorted(main.commands))
def test_every_help_has_an_example(name: str) -> None:
    _, out, _ = run(name, "--help")
    assert f"edgeprune {name}" in out.split("Usage:")[1].split("\n", 1)[1]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["train-prune", "--model", "resnet2O"], "did you mean 'resnet20'"),
        (["train-prune", "--method", "magic"], "known: "),
        (["train-prune", "--data", "digitz"], "did you mean 'digits'"),
        (["train-prune", "--data", "no/such/folder"], "no/such/folder"),
        (["train-prune", "--target", "flops=1.5"], "outside (0, 1]"),
        (["train-prune", "--target", "half"], "flops=0.5"),
        (["train-prune", "--target", "flops=0.0001"], "the least that can remain"),
        (["train-prune", "--epochs", "0"], "at least 1"),
        (["train-prune", "--weights", "nowhere.safetensors"], "nowhere.safetensors"),
        (["train-prune", "--weights-key", "ema"], "--weights-key has no effect here: there is no --weights"),
        (["train-prune", "--weights", "w.pt", "--weights-key", ""], "--weights-key is empty"),
        (["train-prune", "--schedule", "sine"], "did you mean 'cosine'"),
        (["train-prune", "--precision", "int3"], "known: "),
        (["export", "nowhere"], "no such run folder"),
        (["bench", "nowhere"], "no such run folder"),
        (["steer", "nowhere", "--show"], "no such run folder"),
        (["export"], "no run under runs/ yet"),
        (["compare", "resnet8", "--methods", "magic"], "known: all, "),
        (["compare", "resnet8"], "no methods: say --methods all"),
        (["compare", "resnet8", "--methods", ","], "no methods"),
        (["compare", "resnet8", "--methods", "learned", "--seeds", "0"], "--seeds must be at least 1"),
        (["compare", "resnet8", "--methods", "learned", "--moments", "middle"], "unknown moment 'middle'"),
        (["compare", "resnet8", "--methods", "learned", "--seconds", "0"], "--seconds must be above 0"),
        (["compare", "resnet2O", "--methods", "learned"], "did you mean 'resnet20'"),
        (["compare", "--methods", "learned"], "nothing to prune"),
        (["compare", "resnet8", "--methods", "l1", "--weights-key", "ema"], "there is no --weights"),
        (["search", "resnet8", "--weights-key", "ema"], "there is no --weights"),
        (["compare", "--resume"], "no comparison under runs/"),
        (["compare", "--out", "nowhere", "--resume"], "no such comparison: nowhere"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(*args)
    assert code == 1
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and message in lines[0]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "args",
    [
        ["nonsense"],
        ["train-prune", "--epochs", "many"],
        ["train-prune", "--resume", "--force"],
        ["compare", "--resume", "--force"],
        ["bench", "--ssh-option", "Port=1"],
    ],
)
def test_wrong_usage_is_exit_code_2(args: list[str]) -> None:
    assert run(*args)[0] == 2


def config() -> dict:
    spec = {"data": "digits", "root": None, "image_size": None, "val_fraction": 0.1, "seed": 0}
    return {
        "options": {"epochs": 3},
        "data_spec": {**spec, "native_size": None, "fingerprint": "0123456789abcdef"},
    }


def test_latest_run_is_the_one_made_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="no run under runs/ yet"):
        latest_run(None)
    for name in ("b", "a"):
        Run.create(tmp_path / "runs" / name, config())
    assert latest_run(None).name == "a"
    assert latest_run("elsewhere") == Path("elsewhere")


def test_a_taken_name_gets_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = Path("runs/resnet20-digits"), Path("runs/resnet20-digits-2")
    assert free_place("resnet20", "digits") == (first, None)
    first.mkdir(parents=True)
    assert free_place("resnet20", "digits") == (second, first)
    assert free_place("my.models:net", "/data/birds/") == (Path("runs/my.models-net-birds"), None)


def test_what_a_folder_is_written_beside_is_said_once_it_is_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = Begun(tmp_path / "r-2", "config.json", resumed=False, taken=tmp_path / "r")
    reports: list[str] = []
    progress = begun.announcing(lambda done, total, text: reports.append(text))
    progress(0, 1, "reading")
    assert capsys.readouterr().err == ""
    Run.create(tmp_path / "r-2", config())
    progress(0, 1, "baseline")
    progress(1, 1, "baseline")
    assert capsys.readouterr().err == f"{tmp_path / 'r'} exists: writing {tmp_path / 'r-2'}\n"
    assert reports == ["reading", "baseline", "baseline"]


def test_steer_sends_and_shows(tmp_path: Path) -> None:
    made = Run.create(tmp_path / "r", config())
    made.training.log(
        {"stage": "prune", "kind": "step", "step": 50, "flops_fraction": 0.9, "interacting": -3.0}
    )
    code, out, _ = run("steer", str(made.path), "--interacting", "+200", "--json")
    assert code == 0
    assert json.loads(out)["flops_fraction"] == 0.9
    assert made.training.steering() == [{"interacting": 200.0, "relative": True}]
    run("steer", str(made.path), "--auto")
    assert made.training.steering()[-1] == {"auto": True}
    code, _, err = run("steer", str(made.path), "--interacting", "lots")
    assert code == 1 and "is not a number" in err
    (made.path / "settled.safetensors").write_bytes(b"")
    code, _, err = run("steer", str(made.path), "--interacting", "5")
    assert code == 1 and "is over" in err


def test_devices_lists_every_profile() -> None:
    code, out, _ = run("devices", "--json")
    assert code == 0
    assert {"cpu", "jetson-agx-orin", "raspberry-pi-5"} <= {row["name"] for row in json.loads(out)}
    code, out, _ = run("devices")
    assert code == 0 and all(len(line) <= 80 for line in out.splitlines())
    for device in device_rows():
        for name in (device["name"], *(f"{name} {numbers}" for name, numbers in device["runtimes"].items())):
            assert f"│ {name} " in out, name


def test_devices_detect_says_which_sensors_answer_or_why_not() -> None:
    code, out, _ = run("devices", "--detect")
    assert code == 0
    assert out.startswith("device: ") and "power sensor" in out


def test_what_needs_a_finished_run_takes_the_latest_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        Run.create(Path("runs") / name, config())
    assert finished_run(None) == Path("runs/second")  # its error says how to finish it
    assert capsys.readouterr().err == ""
    Path("runs/first/summary.json").write_text("{}")
    assert finished_run(None) == Path("runs/first")
    line = "runs/second has nothing for this command yet: taking runs/first\n"
    assert capsys.readouterr().err == line
    curve = Path("runs/curve")
    curve.mkdir()
    for name in ("prune.json", "curve.json"):
        (curve / name).write_text("{}")
    assert finished_run(None) == finished_run(None, MEASURED) == Path("runs/first")
    assert finished_run(None, REPORTED) == curve
    (curve / "summary.json").write_text("{}")
    assert finished_run(None, MEASURED) == curve
    assert (finished_run("elsewhere"), latest_run(None)) == (Path("elsewhere"), Path("runs/second"))


@pytest.mark.parametrize(
    ("words", "room", "marker"),
    [
        ("train-prune", "edgeprune.train_prune.pipeline.train_prune", "config.json"),
        ("compare resnet8 --methods l1", "edgeprune.comparison.running.compare", "compare.json"),
        ("search resnet8", "edgeprune.search.searching.search", "search.json"),
    ],
)
def test_what_is_stopped_says_how_to_go_on_once_something_was_begun(
    words: str, room: str, marker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = [*words.split(), "--out", "there"]

    def stopped(place: Path, *_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def stopped_later(place: Path, *_: object, **__: object) -> None:
        (tmp_path / "there").mkdir(exist_ok=True)
        (tmp_path / "there" / marker).write_text('{"schema": 1}')
        raise KeyboardInterrupt

    nothing = "stopped before anything was begun: give the same command again\n"
    monkeypatch.setattr(room, stopped)
    assert run(*command) == (130, "", nothing)
    monkeypatch.setattr(room, stopped_later)
    later = f"stopped; go on with: edgeprune {command[0]} --out there --resume\n"
    assert run(*command) == (130, "", later)
    monkeypatch.setattr(room, stopped)
    assert run(*command, "--force") == (130, "", nothing)  # what is there is the run before


def test_a_prune_that_is_stopped_while_it_reads_has_begun_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    Path("net.onnx").touch()
    monkeypatch.setattr("edgeprune.post_training.files.begin", stopped)
    nothing = "stopped before anything was begun: give the same command again\n"
    assert run("prune", "net.onnx", "--target", "flops=0.5") == (130, "", nothing)
