"""Each kind of file, damaged 100 times: its reader takes it, or says in one line what is wrong with it."""

import json
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from edgeprune_target.trt import store
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import edgeprune
from edgeprune.backends import ExportRecord
from edgeprune.bench.journal import Journal
from edgeprune.comparison.folder import ComparisonFolder
from edgeprune.comparison.options import CompareOptions
from edgeprune.devices import parse_device
from edgeprune.errors import EdgePruneError
from edgeprune.files.reading import parse_toml, read_json
from edgeprune.files.writing import write_json
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.latency.table import Table
from edgeprune.models import build
from edgeprune.records.bench import BenchResult
from edgeprune.report.reading import read_result
from edgeprune.runs.file_runs import FileRun
from edgeprune.runs.run import Run
from edgeprune.runs.verification import read_budget
from edgeprune.search.folder import SearchFolder
from edgeprune.search.options import SearchOptions
from edgeprune.train_prune.steering import status
from edgeprune.train_prune.stored import check_same_options
from fuzz.conftest import NeedsClass
from fuzz.mutate import changed_json, mutated

TIMES, MORE_TIMES = 100, 1000  # damages of each kind of file
EARLIER = Path(__file__).parents[1] / "records" / "earlier"
Reader = Callable[[Path], Any]


def run_of(path: Path) -> Run:
    return Run.open(path.parent)


def profile(path: Path) -> None:
    try:
        content = parse_toml(path.read_text(encoding="utf-8"))
    except ValueError:
        return  # profiles are edgeprune's own: only their values may be wrong
    parse_device("board", content)


@cache
def graph_of_resnet8() -> Graph:
    return build_graph(build("resnet8", num_classes=3), torch.zeros(1, 3, 8, 8))


def plan(path: Path) -> None:
    Plan.from_dict(graph_of_resnet8(), read_json(path))


def model_record(path: Path) -> None:
    """Read the plans; of a few files, rebuild the model too, which takes longest."""
    run = run_of(path)
    for value in run.removals.plans_and_steps()[0]:
        Plan.of_record(graph_of_resnet8(), value)
    run.load("pruned") if path.stat().st_size % 8 == 0 else None


def rounds(path: Path) -> None:
    for pair in Journal(path, resume=True).begin({"--device": "cpu"}):
        assert pair.keys() >= {"baseline", "pruned"}


def comparison(path: Path) -> None:
    folder = ComparisonFolder(path.parent)
    folder.read_options()
    folder.attempts("l1-seed0")


def record_beside_an_engine(path: Path) -> None:
    from edgeprune_target.runtimes.trt import _record_beside

    engine = path.with_name(path.name.removesuffix(".json"))
    store.find_engine(engine, {"a": 1})
    assert isinstance(_record_beside(engine), dict)


READERS: dict[str, tuple[str, Reader]] = {
    "config": ("run/config.json", lambda path: (run_of(path), check_same_options(path.parent, {"lr": 0.1}))),
    "model record": ("run/model.json", model_record),
    "baseline": ("run/baseline.safetensors", lambda path: run_of(path).load("baseline")),
    "pruned": ("run/pruned.safetensors", lambda path: run_of(path).load("pruned")),
    "removed": ("run/removed-1.safetensors", lambda path: run_of(path).removals.load()),
    "checkpoint": ("run/checkpoint.safetensors", lambda path: run_of(path).training.load_checkpoint("prune")),
    "saved model": ("run/saved.safetensors", lambda path: edgeprune.load(path)),
    "saved plans": ("run/plans.safetensors", lambda path: edgeprune.load(path, into=NeedsClass())),
    "summary": ("run/summary.json", lambda path: run_of(path).summary()),
    "times": ("run/latency.json", lambda path: run_of(path).times()),
    "metrics": (
        "run/metrics.jsonl",
        lambda path: (status(path.parent), run_of(path).training.load_checkpoint("x")),
    ),
    "steering": ("run/steer.jsonl", lambda path: run_of(path).training.steering()),
    "plan": ("run/plan.json", plan),
    "export": ("export.json", lambda path: ExportRecord.read(path.parent)),
    "earlier export": ("earlier/export.json", lambda path: ExportRecord.read(path.parent)),
    "measurement": ("bench.json", BenchResult.read),
    "rounds": ("rounds.jsonl", rounds),
    "table": ("table.json", Table.load),
    "profile": ("profile.toml", profile),
    "limits": ("budget.toml", read_budget),
    "comparison": ("compare/compare.json", comparison),
    "attempts": ("compare/attempts.jsonl", comparison),
    "comparison's result": ("compare/result.json", read_result),
    "search's result": ("search/result.json", read_result),
    "pruned file": ("file/prune.json", lambda path: FileRun.open(path.parent)),
    "pruned file's summary": ("file/summary.json", lambda path: FileRun.open(path.parent).summary()),
    "search": ("search/search.json", lambda path: SearchFolder(path.parent).read_options()),
    "engine's record": ("x.engine.json", record_beside_an_engine),
}


@pytest.fixture
def copy(kinds: Path, tmp_path: Path) -> Path:
    place = tmp_path / "copy"
    shutil.copytree(kinds, place)
    options = CompareOptions(source="resnet8", methods=("l1",), seeds=1)
    write_json(place / "compare" / "compare.json", {"schema": 1, **vars(options)})
    folder = ComparisonFolder(place / "compare")
    folder.log("l1-seed0", "began")
    folder.log("l1-seed0", "ended", outcome="done", reason=None, seconds=1.5)
    write_json(
        place / "search" / "search.json",
        {"schema": 1, "storage": None, **vars(SearchOptions(source="resnet8"))},
    )
    for kind, name in (("compare", "comparison-masks"), ("search", "search")):
        shutil.copy(EARLIER / f"{name}.json", place / kind / "result.json")
    (place / "file").mkdir()
    shutil.copy(EARLIER / "prune.json", place / "file" / "prune.json")
    shutil.copy(EARLIER / "prune-summary.json", place / "file" / "summary.json")
    (place / "x.engine").write_bytes(b"engine")
    record = {"schema": 1, "key": {"a": 1}, "engine_sha256": store.sha256_of(place / "x.engine")}
    (place / "x.engine.json").write_text(json.dumps(record))
    return place


@pytest.mark.parametrize("times", [TIMES, pytest.param(MORE_TIMES, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", READERS)
def test_damaged_many_times(copy: Path, kind: str, times: int) -> None:
    name, read = READERS[kind]
    path, rng = copy / name, random.Random(kind)
    original, metrics = path.read_bytes(), (copy / "run" / "metrics.jsonl").read_bytes()
    read(path)  # as it is, it is taken
    for number in range(times):
        content, what = mutated(original, path.name, rng)
        path.write_bytes(content)
        try:
            read(path)
        except EdgePruneError as error:
            assert str(error).strip() and "\n" not in str(error), f"{number}: {what}"
        except Exception as error:
            raise AssertionError(f"{number}: {what}: {type(error).__name__}: {error}") from error
        if name != "run/metrics.jsonl":
            (copy / "run" / "metrics.jsonl").write_bytes(metrics)


@pytest.mark.parametrize("name", ["plans", "saved"])
def test_texts_that_no_digest_guards(copy: Path, name: str) -> None:
    """Whoever writes a file can write its digest: keep-plans and graphs are held against the network itself."""
    path, rng = copy / "run" / f"{name}.safetensors", random.Random(name)
    key = {"plans": "edgeprune-plans", "saved": "edgeprune"}[name]
    with safe_open(str(path), "pt") as handle:
        texts = handle.metadata()
    tensors = load_file(str(path))
    read = {"plans": lambda: edgeprune.load(path, into=NeedsClass()), "saved": lambda: edgeprune.load(path)}[
        name
    ]
    x, taken = torch.zeros(1, 3, 8, 8), 0
    for number in range(TIMES):
        text, what = changed_json(json.loads(texts[key]), rng)
        text = text.encode("utf-8", "replace").decode()
        save_file(tensors, str(path), {key: text})
        try:
            model = read()
        except EdgePruneError as error:
            assert str(error).strip() and "\n" not in str(error), f"{number}: {what}"
            continue
        except Exception as error:
            raise AssertionError(f"{number}: {what}: {type(error).__name__}: {error}") from error
        taken += 1
        if name == "plans":
            assert model(x).shape == (1, 2), f"{number}: {what}"
    assert taken < TIMES / 2


@pytest.mark.parametrize("kind", ["baseline", "pruned", "saved model", "saved plans"])
def test_a_damaged_model_is_refused_or_the_same(copy: Path, kind: str) -> None:
    name, read = READERS[kind]
    path, rng = copy / name, random.Random(1)
    original = path.read_bytes()
    before = {name: value.clone() for name, value in read(path).state_dict().items()}
    loaded = 0
    for _ in range(TIMES):
        content, what = mutated(original, path.name, rng)
        path.write_bytes(content)
        try:
            after = read(path).state_dict()
        except EdgePruneError:
            continue
        loaded += 1
        assert after.keys() == before.keys(), what
        assert all(torch.equal(value, before[name]) for name, value in after.items()), what
    assert loaded < TIMES / 10
