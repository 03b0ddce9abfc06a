"""The run folder: made, found, filled and read back."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edgeprune.errors import EdgePruneError, RunError, WeightsError
from edgeprune.files.tensors import read_tensors, save_tensors
from edgeprune.graph.classes import build_graph
from edgeprune.graph.plan import Plan
from edgeprune.rewrite.compaction import compact
from edgeprune.runs.run import Run

CONFIG = {
    "options": {"epochs": 3},
    "model": {"factory": "resnet20", "args": {"num_classes": 5, "in_channels": 3, "width": 4}},
    "input_shape": [3, 16, 16],
    "classes": list("abcde"),
    "mean": [0.5, 0.5, 0.5],
    "std": [0.2, 0.2, 0.2],
}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path / "runs" / "one", CONFIG)


@pytest.fixture
def pruned(run: Run) -> tuple[Run, nn.Module]:
    """A run that holds a pruned model, and that model."""
    torch.manual_seed(0)
    model = run.build()
    run.save_tensors("baseline", model.state_dict())
    graph = build_graph(model, torch.zeros(1, 3, 16, 16))
    keep = np.ones(graph.classes, dtype=bool)
    keep[[g.classes[0] for g in graph.groups if g.size > 2]] = False
    done = compact(graph, Plan.of(graph, keep))
    run.removals.save_plans([done.plan.record(graph)], [0])
    run.save_tensors("pruned", done.model.state_dict())
    return run, done.model.eval()


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def one_line(error: BaseException) -> str:
    assert isinstance(error, EdgePruneError) and "\n" not in str(error)
    return str(error)


# --- finding and making ---------------------------------------------------------------------------


def test_create_then_open(run: Run) -> None:
    assert Run.open(run.path).config == {"schema": 1, **CONFIG}
    assert Run.open(str(run.path)).path == run.path
    assert [p.name for p in run.path.iterdir()] == ["config.json"]


def test_an_empty_folder_may_become_a_run(tmp_path: Path) -> None:
    (tmp_path / ".config.json.123.part").write_text("{")  # what a killed process left is no content
    assert Run.create(tmp_path, CONFIG).has("config.json")
    assert [p.name for p in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("force", [False, True])
def test_what_is_no_run_is_never_overwritten(tmp_path: Path, force: bool) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="is not a run folder: choose another --out") as error:
        Run.create(tmp_path, CONFIG, force=force)
    one_line(error.value)
    with pytest.raises(RunError, match="is not a run folder: choose another --out"):
        Run.create(tmp_path / "thesis.txt", CONFIG, force=force)
    assert everything(tmp_path) == {"thesis.txt": b"years of work"}


def test_a_run_is_replaced_only_with_force(run: Run) -> None:
    (run.path / "export").mkdir()
    (run.path / "export" / "old.onnx").write_text("old")
    before = everything(run.path)
    with pytest.raises(RunError) as error:
        Run.create(run.path, {"options": {}})
    assert all(word in one_line(error.value) for word in ("--resume", "--force", "--out"))
    Run.check_free(run.path, force=True)
    assert everything(run.path) == before
    Run.create(run.path, {"options": {}}, force=True)
    assert list(everything(run.path)) == ["config.json"] and run.config["options"] == {}


@pytest.mark.parametrize("content", [None, "{}", "[1]", "{", '{"schema": '])
def test_what_is_not_a_run_cannot_be_opened(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(EdgePruneError) as error:
        Run.open(tmp_path)
    assert str(tmp_path) in one_line(error.value)


def test_a_missing_run_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such run folder: .*nowhere; make one with 'edgeprune train-prune"):
        Run.open(tmp_path / "nowhere")


def test_a_run_near_the_path_is_named(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "resnet20-digits", {"options": {}})
    (run.path / "export").mkdir()
    (tmp_path / "other" / "weights").mkdir(parents=True)
    (tmp_path / "other" / "config.json").write_text("{}")  # of another program
    with pytest.raises(RunError, match=f"in it\\): name {run.path}$"):
        Run.open(run.path / "export")
    with pytest.raises(RunError, match=f"in it\\): name {run.path}$"):
        Run.open(tmp_path)
    with pytest.raises(RunError, match="in it\\)$"):
        Run.open(tmp_path / "other" / "weights")
    with pytest.raises(RunError, match=f"did you mean '{run.path}'"):
        Run.open(tmp_path / "resnet20")


def test_a_place_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, content: bytes) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(EdgePruneError, match="no permission to write there") as error:
        Run.create(tmp_path / "new", CONFIG)
    one_line(error.value)
    assert list(tmp_path.iterdir()) == []


def test_sweep_removes_half_written_files_only(run: Run) -> None:
    (run.path / ".checkpoint.safetensors.99.part").write_bytes(b"half")
    (run.path / "notes.part").write_text("mine")
    run.sweep()
    assert sorted(p.name for p in run.path.iterdir()) == ["config.json", "notes.part"]


# --- models ---------------------------------------------------------------------------------------


def test_models_there_and_back(pruned: tuple[Run, nn.Module]) -> None:
    run, model = pruned
    x = torch.randn(2, 3, 16, 16)
    loaded = run.load()
    assert not loaded.training
    assert torch.equal(loaded(x), model(x))
    baseline = run.load("baseline")
    assert sum(p.numel() for p in loaded.parameters()) < sum(p.numel() for p in baseline.parameters())
    ((graph, plan),) = run.removals.graphs()
    assert graph.params(plan.keep) == sum(p.numel() for p in loaded.parameters())


def test_loading_needs_no_training_code_and_no_pickle(pruned: tuple[Run, nn.Module]) -> None:
    run, model = pruned
    x = torch.linspace(-1, 1, 2 * 3 * 16 * 16).view(2, 3, 16, 16)
    save_file({"x": x, "y": model(x).detach()}, run.path / "expected")
    code = f"""
import sys, pickle
for name in ("learned", "learned.analyser", "training", "pipeline", "data", "importance"):
    sys.modules["edgeprune." + name] = None
import torch
def refuse(*args, **kwargs): raise SystemExit("pickle")
torch.load = pickle.load = pickle.loads = pickle.Unpickler = refuse
from safetensors.torch import load_file
from edgeprune.runs.run import Run
run = Run.open({str(run.path)!r})
torch.set_num_threads(1)
expected = load_file({str(run.path / "expected")!r})
model = run.load("pruned")
assert not any(type(m).__module__.startswith("edgeprune.learned") for m in model.modules())
assert torch.allclose(model(expected["x"]), expected["y"], rtol=1e-5, atol=1e-6)
print("loaded")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "loaded\n", done.stderr


@pytest.mark.parametrize("which", ["baseline", "settled", "pruned"])
def test_a_model_that_is_not_there_yet(run: Run, which: str) -> None:
    with pytest.raises(
        RunError, match="is not finished: go on with 'edgeprune train-prune --out .* --resume'"
    ):
        run.load(which)
    (run.path / "summary.json").write_text("{}")
    with pytest.raises(RunError, match=f"{which}.safetensors is missing, though the run is finished"):
        run.load(which)


def test_an_unknown_model(run: Run) -> None:
    with pytest.raises(RunError, match="no model 'best' in a run; there are baseline, settled, pruned"):
        run.load("best")


def test_a_truncated_file_is_named(pruned: tuple[Run, nn.Module]) -> None:
    run, _ = pruned
    path = run.path / "pruned.safetensors"
    content = path.read_bytes()
    for cut in (0, 5, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        with pytest.raises(WeightsError, match="pruned.safetensors is not a whole safetensors file") as error:
            run.load()
        one_line(error.value)


def test_a_model_with_numbers_that_are_not_finite_is_refused(pruned: tuple[Run, nn.Module]) -> None:
    run, model = pruned
    path = run.path / "pruned.safetensors"
    state = read_tensors(path)
    name = next(name for name in state if name.endswith("running_var"))
    for value, message in ((float("nan"), "not finite"), (-1.0, "negative variances")):
        state[name][0] = value
        run.save_tensors("pruned", state)
        with pytest.raises(
            WeightsError, match=rf"pruned\.safetensors holds .*{message}.*1 in {name}"
        ) as error:
            run.load()
        one_line(error.value)


def test_a_pickle_is_refused_unread(pruned: tuple[Run, nn.Module]) -> None:
    run, _ = pruned

    class Bomb:
        def __reduce__(self) -> tuple:
            return (run.path.joinpath("exploded").mkdir, ())

    (run.path / "pruned.safetensors").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(WeightsError, match="is not a whole safetensors file"):
        run.load()
    assert not (run.path / "exploded").exists()


@pytest.mark.parametrize("tensors", [{"a": torch.zeros(2)}, "baseline"])
def test_a_foreign_file_does_not_fit(pruned: tuple[Run, nn.Module], tensors: dict | str) -> None:
    run, _ = pruned
    foreign = load_file(run.path / f"{tensors}.safetensors") if isinstance(tensors, str) else tensors
    save_file(foreign, run.path / "pruned.safetensors")
    with pytest.raises(WeightsError, match="pruned.safetensors does not fit model.json") as error:
        run.load()
    one_line(error.value)


@pytest.mark.parametrize(
    "content", ["{}", "[]", "{", '{"input_shape": [3, 16, 16], "steps": [0], "plans": [{"groups": []}]}']
)
def test_a_damaged_model_json(pruned: tuple[Run, nn.Module], content: str) -> None:
    run, _ = pruned
    (run.path / "model.json").write_text(content)
    with pytest.raises(EdgePruneError) as error:
        run.load()
    one_line(error.value)


def test_a_config_without_a_model(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "r", {"options": {}})
    for read in (run.build, run.data):
        with pytest.raises(RunError, match="config.json has no '(model|data_spec)'"):
            read()


def test_summary_of_an_unfinished_run(run: Run) -> None:
    with pytest.raises(
        RunError, match="is not finished: go on with 'edgeprune train-prune --out .* --resume'"
    ):
        run.summary()


def test_tensors_of_every_layout_there_and_back(tmp_path: Path) -> None:
    original = torch.arange(24.0).view(1, 2, 3, 4)
    tensors = {
        "plain": original,
        "channels_last": original.to(memory_format=torch.channels_last),
        "view": original[..., 1:3],
        "same": original,  # shared memory
        "scalar": torch.tensor(3),
        "grad": torch.ones(2, requires_grad=True),
        "bf16": torch.ones(2, dtype=torch.bfloat16),
    }
    save_tensors(tmp_path / "t.safetensors", tensors)
    loaded = read_tensors(tmp_path / "t.safetensors")
    assert all(torch.equal(loaded[k], v) and loaded[k].dtype == v.dtype for k, v in tensors.items())
    assert [p.name for p in tmp_path.iterdir()] == ["t.safetensors"]


# --- metrics, checkpoints, steering ---------------------------------------------------------------


def test_metrics_leave_out_a_line_that_was_cut(run: Run) -> None:
    assert run.training.metrics() == []
    run.training.log({"stage": "prune", "step": 50})
    with run.training.metrics_path.open("a") as handle:
        handle.write('{"stage": "pru')
    assert run.training.metrics() == [{"stage": "prune", "step": 50}]


def log(run: Run, *records: tuple[str, int]) -> None:
    for stage, step in records:
        run.training.log({"stage": stage, "step": step})


def logged(run: Run) -> list[tuple[str, int]]:
    return [(m["stage"], m["step"]) for m in run.training.metrics()]


def test_a_checkpoint_takes_metrics_back_to_where_it_was_made(run: Run) -> None:
    log(run, ("baseline", 1), ("prune", 1))
    run.training.save_checkpoint({"w": torch.ones(2)}, {"stage": "prune", "step": 1})
    log(run, ("prune", 2), ("prune", 3))
    checkpoint = run.training.load_checkpoint("prune")
    assert checkpoint is not None
    assert (
        checkpoint[0]["w"].tolist() == [1, 1]
        and checkpoint[1]["step"] == 1
        and checkpoint[1]["stage"] == "prune"
    )
    assert logged(run) == [("baseline", 1), ("prune", 1)]
    run.training.drop_checkpoint()
    run.training.drop_checkpoint()
    assert not run.has("checkpoint.safetensors")


def test_a_checkpoint_of_an_earlier_stage_takes_back_nothing_of_it(run: Run) -> None:
    log(run, ("baseline", 1))
    run.training.save_checkpoint({}, {"stage": "baseline", "step": 1})
    log(run, ("baseline", 2), ("prune", 1), ("prune", 2))
    with run.training.metrics_path.open("a") as handle:
        handle.write('{"stage": "pru')
    assert run.training.load_checkpoint("prune") is None
    assert logged(run) == [("baseline", 1), ("baseline", 2)]
    assert run.training.metrics_path.read_bytes().endswith(b"\n")


def test_no_checkpoint_at_all(run: Run) -> None:
    assert run.training.load_checkpoint("baseline") is None
    log(run, ("baseline", 1))
    assert run.training.load_checkpoint("baseline") is None
    assert logged(run) == []


@pytest.mark.parametrize("content", [b"", b"nonsense", b"foreign"])
def test_a_damaged_checkpoint_says_what_to_do(run: Run, content: bytes) -> None:
    path = run.path / "checkpoint.safetensors"
    path.write_bytes(content)
    if content == b"foreign":
        save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(
        RunError, match="checkpoint.safetensors is damaged .*delete it, and --resume"
    ) as error:
        run.training.load_checkpoint("baseline")
    one_line(error.value)


def test_steering_commands(run: Run) -> None:
    assert run.training.steering() == [] and run.training.steering_bytes() == 0
    run.training.steer({"interacting": 200.0, "relative": True})
    size = run.training.steering_bytes()
    run.training.steer({"auto": True})
    assert run.training.steering() == [{"interacting": 200.0, "relative": True}, {"auto": True}]
    assert run.training.steering_bytes() > size > 0
    assert json.loads((run.path / "steer.jsonl").read_text().splitlines()[1]) == {"auto": True}
