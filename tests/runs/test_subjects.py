"""Subjects of a measurement by what the user names: a run, an export, files."""

import json
import os
from pathlib import Path

import pytest
from bench.conftest import Scripted, few_rounds, loopback, sshd  # noqa: F401
from bench.remote_fixtures import digits_run, linear_onnx
from boards.loopback import Loopback
from click.testing import CliRunner
from onnx_files import summing_onnx

from edgeprune.bench import run as bench_module
from edgeprune.cli import main
from edgeprune.errors import EdgePruneError
from edgeprune.runs.subject_options import SubjectOptions
from edgeprune.runs.subjects import subjects_of


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Scripted:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgeprune.bench.options.MIN_ROUNDS", 2)
    transport = Scripted()
    monkeypatch.setattr(bench_module, "LocalTransport", lambda: transport)
    return transport


def bench(*words: str) -> dict:
    done = CliRunner().invoke(main, ["bench", *words, "--seconds", "0.1", "--threads", "1", "--json", "-"])
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


def fails(*words: str) -> str:
    done = CliRunner().invoke(main, [*words])
    assert done.exit_code == 1, done.output
    assert done.stderr.count("error: ") == 1
    return done.stderr.strip().splitlines()[-1]  # a bar may stand before it


def test_two_files(scripted: Scripted) -> None:
    for name in ("baseline", "pruned"):
        summing_onnx(Path(f"{name}.onnx"), x=(None, 3, 8, 8))
    result = bench("baseline.onnx", "pruned.onnx", "--batch", "2")
    assert [model for _, model in scripted.asked[1:]] == ["baseline", "pruned", "pruned", "baseline"]
    assert result["speedup"]["value"] == 2.0  # the transport's script: 2 ms and 1 ms
    assert result["models"]["pruned"]["origin"] == "pruned.onnx"
    assert result["models"]["pruned"]["accuracy"] is None
    assert "name a data set with --data" in result["models"]["pruned"]["accuracy_reason"]
    assert "--shape" not in scripted.arguments[1]  # a free first size is the runner's to fill
    assert not Path("bench").exists() and not Path("runs").exists()


def test_one_file_alone(scripted: Scripted) -> None:
    summing_onnx(Path("net.onnx"), x=(None, 3, 8, 8))
    scripted.latency_ns = {"net": 3_000_000}
    result = bench("net.onnx", "--out", "measured")
    assert list(result["models"]) == ["model"]
    assert result["models"]["model"]["latency_ms"]["p50"] == 3.0
    assert result["speedup"] is None and result["complete"]
    assert [path.name for path in Path("measured/bench").iterdir()] == ["cpu.json"]
    shown = CliRunner().invoke(main, ["bench", "net.onnx", "--seconds", "0.1"])
    assert "model" in shown.stdout and "speedup" not in shown.stdout


def test_inputs_are_fed_by_name(scripted: Scripted) -> None:
    for name in ("baseline", "pruned"):
        summing_onnx(Path(f"{name}.onnx"), x=(None, 3, None, 8), mask=(None, 5, "bool"))
    result = bench("baseline.onnx", "pruned.onnx", "--input", "x=2x3x9x8", "--input", "mask=2x5:bool")
    words = scripted.arguments[1]
    shapes = [words[place + 1] for place, word in enumerate(words) if word == "--shape"]
    assert shapes == ["x=2x3x9x8"]  # that of the mask follows from the batch
    assert words[words.index("--batch") + 1] == "2" == str(result["settings"]["batch"])


def test_scored_on_data(scripted: Scripted) -> None:
    for name in ("baseline", "pruned"):
        linear_onnx(Path(f"{name}.onnx"), layers=1)
    result = bench("baseline.onnx", "pruned.onnx", "--data", "digits")
    assert result["models"]["pruned"]["accuracy"] == 0.75  # the transport's script


def test_rounds_are_kept_to_resume(scripted: Scripted) -> None:
    for name in ("baseline", "pruned"):
        summing_onnx(Path(f"{name}.onnx"), x=(None, 3))
    files = ["baseline.onnx", "pruned.onnx"]
    scripted.fail_at = 4  # a probe and one pair are through
    fails("bench", *files, "--seconds", "0.1", "--threads", "1", "--out", "o")
    scripted.fail_at = None
    assert bench(*files, "--out", "o", "--resume")["settings"]["stretches"] == 2
    assert [path.name for path in Path("o/bench").iterdir()] == ["cpu.json"]


def test_an_export_without_a_run(scripted: Scripted) -> None:
    digits_run(Path("run"))
    Path("run/config.json").unlink()
    result = bench("run")
    assert result["models"]["pruned"]["accuracy"] is None
    assert Path("run/bench/cpu.json").is_file()


@pytest.mark.slow
def test_a_pair_on_a_board_by_ssh(loopback: Loopback, tmp_path: Path) -> None:  # noqa: F811
    files = [
        str(summing_onnx(tmp_path / f"{name}.onnx", x=(None, 3), mask=(None, None, "bool"))) for name in "ab"
    ]
    board = ["--host", "board", "--host-python", str(loopback.python()), "--host-folder", str(loopback.home)]
    result = bench(*files, "--device", "cpu", *board, "--input", "mask=1x7:bool")
    assert result["device"]["host"] == "board"
    assert result["settings"]["feed"] == {"x": [1, 3], "mask": [1, 7]}


@pytest.mark.slow
def test_a_pair_with_two_inputs_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.bench.options.MIN_ROUNDS", 2)
    os.chdir(tmp_path)
    path = str(summing_onnx(tmp_path / "net.onnx", x=(None, 3), ids=(None, None, "int64")))
    result = bench(path, "--input", "ids=1x7:int64")
    assert result["settings"]["feed"] == {"x": [1, 3], "ids": [1, 7]}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a.onnx", "nowhere.onnx"], "no such model file: nowhere.onnx"),
        (["text.onnx"], "text.onnx cannot be read as ONNX"),
        (["a.onnx", "other.onnx"], "a.onnx has an input 'x' that other.onnx has not (it has y)"),
        (["a.onnx", "wide.onnx"], "the inputs differ: x=?x3 in a.onnx, x=?x4 in wide.onnx"),
        (["a.onnx", "--input", "z=1x3"], "--input: unknown input 'z'; known: x"),
        (["a.onnx", "--input", "x=1"], "--input: x=1 does not fit the file"),
        (["a.onnx", "--input", "x=one"], "--input 'x=one' is not of the form"),
        (["a.onnx", "a.onnx", "a.onnx"], "3 models were named"),
        (["a.onnx", "run"], "run is a folder: a run or an export is named alone"),
        (["a.onnx", "resnet8"], "one is an ONNX file, the other is not"),
        (["weights.pt"], "weights alone need their class"),
        (["a.onnx", "--weights", "weights.pt"], "--weights has no effect on an ONNX file"),
        (["resnet2O"], "no such model: resnet2O (did you mean 'resnet20'?)"),
        (["no.safetensors"], "no such file: no.safetensors; edgeprune.save writes one"),
        (["a.onnx", "--resume"], "measure with --out or a result file"),
        (["a.onnx", "--layers"], "--layers compares the layers of two models"),
        (["a.onnx", "--data", "digitz"], "did you mean 'digits'"),
        (["run", "--input", "x=1x3"], "run is a run folder, which defines it: leave --input out"),
        (["nowhere"], "no such run folder"),
    ],
)
def test_wrong_use_is_one_line(scripted: Scripted, words: list[str], message: str) -> None:
    digits_run(Path("run"))
    Path("text.onnx").write_text("no ONNX")
    Path("weights.pt").write_bytes(b"")
    for name, inputs in (("a", {"x": (None, 3)}), ("other", {"y": (None, 3)}), ("wide", {"x": (None, 4)})):
        summing_onnx(Path(f"{name}.onnx"), **inputs)
    scripted.latency_ns = {"a": 1_000_000}
    assert message in fails("bench", *words, "--seconds", "0.1", "--threads", "1")


def test_a_run_is_a_source_like_others(tmp_path: Path) -> None:
    run = digits_run(tmp_path / "run")
    subjects = subjects_of([str(run)])
    assert subjects.is_run and subjects.names == ("baseline", "pruned") and subjects.folder == run
    assert subjects.data is not None
    images, labels = next(iter(subjects.test_batches()))
    assert images.shape[1:] == (3, 32, 32) and len(labels) == len(images)
    with pytest.raises(EdgePruneError, match="leave `data` out"):
        subjects_of([str(run)], SubjectOptions(data="digits"))
