"""Any model through inspect, export and bench: saved by the library, by name, by a factory; with any inputs."""

import json
from pathlib import Path

import onnx
import pytest
import torch
from bench.conftest import Scripted
from click.testing import CliRunner

import edgeprune
from edgeprune.bench import run as bench_module
from edgeprune.cli import main
from edgeprune.errors import EdgePruneError
from edgeprune.runs.sources import model_and_example
from edgeprune.runs.subject_options import SubjectOptions

CODE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.conv, self.embedding = nn.Conv2d(3, width, 3), nn.Embedding(10, width)
        self.inner, self.head = nn.Conv2d(width, width, 1), nn.Linear(width, 4)
    def forward(self, x, ids):
        maps = torch.relu(self.inner(torch.relu(self.conv(x))))
        return {"classes": self.head(maps.mean((2, 3)) + self.embedding(ids).mean(1)), "map": maps.sum(1)}

class Odd(Net):
    def forward(self, x, ids):
        if x.sum() > 1e9:  # no tracer follows
            x = -x
        return super().forward(x, ids)

def make(): return Net()
def odd(): return Odd()
def wide(width): return Net(width)
def example(): return torch.randn(1, 3, 8, 8), torch.zeros(1, 5, dtype=torch.int64)
def text(): return "no tensor"
"""
INPUTS = ["--input", "x=1x3x8x8", "--input", "ids=1x5:int64"]


@pytest.fixture
def nets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's in the working folder, weights of its network, and what was pruned of it."""
    name = f"nets_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    options = SubjectOptions(example=f"{name}:example")
    for factory, file in (("make", "pruned.safetensors"), ("odd", "odd.safetensors")):
        torch.manual_seed(0)
        model, arguments = model_and_example(f"{name}:{factory}", options)
        torch.save(model.state_dict(), f"{factory}.pt")
        edgeprune.save(edgeprune.prune(model, arguments, target="params=0.5").model, file)
    return name


def run(*words: str) -> str:
    done = CliRunner().invoke(main, [*words])
    assert done.exit_code == 0, done.stderr
    return done.stdout


def fails(*words: str) -> str:
    done = CliRunner().invoke(main, [*words])
    assert done.exit_code == 1, (done.output, done.exception)
    assert done.stderr.count("error: ") == 1
    return done.stderr.strip().splitlines()[-1]


def test_inspect_takes_any_model(nets: str) -> None:
    by_function = json.loads(run("inspect", f"{nets}:make", "--example", f"{nets}:example", "--json"))
    assert [group["name"] for group in by_function["groups"]] == ["conv", "inner"]
    assert json.loads(run("inspect", f"{nets}:make", *INPUTS, "--json")) == by_function
    pruned = json.loads(run("inspect", "pruned.safetensors", "--json"))  # the file knows its example
    assert pruned["params"] <= 0.5 * by_function["params"]
    assert "load it with edgeprune.load" in fails("inspect", "odd.safetensors")
    assert "conv" in run("inspect", "odd.safetensors", "--into", f"{nets}:odd")


@pytest.mark.parametrize(("name", "classes"), [("lraspp_mobilenet_v3_large", 21), ("resnet8", 10)])
def test_inspect_takes_names(name: str, classes: int) -> None:
    description = json.loads(run("inspect", name, "--input", "3x32x32", "--json"))
    assert any(part["channels"] % classes == 0 for part in description["protected"])


def test_export_keeps_names_and_compares_all_outputs(nets: str) -> None:
    record = json.loads(
        run(
            "export",
            f"{nets}:make",
            "pruned.safetensors",
            "--weights",
            "make.pt",
            *INPUTS,
            "--out",
            "files",
            "--json",
        )
    )
    baseline, pruned = record["artifacts"]
    assert (baseline["model"], pruned["model"]) == ("baseline", "pruned")
    assert baseline["details"]["inputs"] == ["x", "ids"] == pruned["details"]["inputs"]
    assert baseline["details"]["outputs"] == ["classes", "map"] and baseline["details"]["batch"] is None
    assert 0 < baseline["parity"]["max_rel_diff"] < 1e-4 and baseline["parity"]["images"] == 8
    trained = torch.load("make.pt", weights_only=True)["conv.weight"]
    stored = {tensor.name: tensor for tensor in onnx.load("files/export/baseline.onnx").graph.initializer}
    assert (onnx.numpy_helper.to_array(stored["conv.weight"]) == trained.numpy()).all()


def test_bench_exports_first(nets: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeprune.bench.options.MIN_ROUNDS", 2)
    scripted = Scripted({"model": 4_000_000})
    monkeypatch.setattr(bench_module, "LocalTransport", lambda: scripted)
    quick = ["--seconds", "0.1", "--threads", "1", "--json", "-"]
    result = json.loads(run("bench", "pruned.safetensors", *quick))
    assert result["models"]["model"]["latency_ms"]["p50"] == 4.0
    assert result["models"]["model"]["origin"] == "pruned.safetensors"
    assert not Path("export").exists() and not Path("runs").exists()
    run("bench", "pruned.safetensors", "--out", "kept", *quick)
    kept = sorted(str(path.relative_to("kept")) for path in Path("kept").rglob("*.*"))
    assert kept == ["bench/cpu.json", "export/export.json", "export/model.onnx"]
    assert json.loads(run("bench", "kept", *quick))["models"].keys() == {"model"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["{n}:make", "--out", "o"],
            "Net does not run on 1x3x224x224 (TypeError: .* say what it takes with --input",
        ),
        (["{n}:make", *INPUTS], "nothing says where the files of .*:make go: name a folder with --out"),
        (
            ["{n}:make", "--out", "o", "--input", "imgs=1x3"],
            "unknown input 'imgs'; known: ids, x (of Net.forward)",
        ),
        (
            ["{n}:make", "--out", "o", "--input", "x=1x3"],
            "cannot be called with x: missing a required argument: 'ids'",
        ),
        (
            ["{n}:wide", "--out", "o"],
            "wants width, which nothing gives: name a function that is called without it",
        ),
        (["{n}:nothing", "--out", "o"], "has no 'nothing': is .*:nothing spelt right"),
        (
            ["{n}:make", "--out", "o", "--example", "{n}:text"],
            "returned a str: it must return a tensor, or a tuple",
        ),
        (["{n}:make", "--out", "o", "--example", "{n}:wide"], "wants width, which nothing gives"),
        (
            ["{n}:make", "--out", "o", "--example", "{n}:example", *INPUTS],
            "both say what is fed: give one of them",
        ),
        (["{n}:make", "--out", "o", "--into", "{n}:make"], "--into is for saved networks"),
        (
            ["pruned.safetensors", "--out", "o", "--weights", "make.pt"],
            "--weights is given 1 times for 0 models",
        ),
        (
            ["pruned.safetensors", "--out", "o", "--classes", "5"],
            "which has its classes: leave --classes out",
        ),
        (["pruned.safetensors", "--out", "o", "--into", "{n}:wide"], "wants width, which nothing gives"),
        (["odd.safetensors", "--out", "o"], "load it with edgeprune.load"),
    ],
)
def test_wrong_use_is_one_line(nets: str, words: list[str], message: str) -> None:
    line = fails("export", *(word.format(n=nets) for word in words))
    parts = message.split(".*")
    assert all(part in line for part in parts), line
    assert not Path("o/export").exists()


def test_a_run_folder_defines_its_model(tmp_path: Path) -> None:
    with pytest.raises(EdgePruneError, match="is a run folder, which defines it: leave `inputs` out"):
        model_and_example(str(tmp_path), SubjectOptions(inputs=["3x8x8"]))
