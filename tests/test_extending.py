"""What can be added from outside: one test for each axis, through public registries alone, nothing patched.

Each addition is a function of under 40 lines, which `test_additions_are_short` counts; what it registers is
taken back after the test.
"""

import inspect
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch.nn.functional as F

import edgeprune
from edgeprune import backends, devices, importance, methods, resources, tasks
from edgeprune.bench import bench_run
from edgeprune.errors import RunError
from edgeprune.graph.pointwise import pointwise
from edgeprune.runs.run import Run
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_prune
from edgeprune.training import Callback

MOST_LINES = 40
ADDITIONS: list[Callable[..., Any]] = []  # the functions that add something


def addition(function: Callable[..., Any]) -> Callable[..., Any]:
    """Note a function among those whose lines are counted."""
    ADDITIONS.append(function)
    return function


@addition
def add_criterion() -> Callable[[], None]:
    """The place of a channel in its layer: the first ones stay."""

    def place(graph: Any, *, reduction: str = "mean") -> Any:
        scores = np.zeros(graph.classes)
        for group in graph.groups:
            scores[group.classes] = 1.0 / np.arange(1, len(group.classes) + 1)
        return scores

    importance.register("toy-place", place)
    return lambda: importance.CRITERIA.unregister("toy-place")


@addition
def add_method() -> Callable[[], None]:
    """Two removals by the toy criterion; training counts its steps, and notes how many there were."""

    class Counting(Callback):
        steps = 0

        def after_step(self, step: int, loss: float = 0.0) -> dict[str, Any]:
            self.steps += 1
            return {"toy_steps": self.steps}

        def state(self) -> dict[str, Any]:
            return {"steps": self.steps}

        def restore(self, state: dict[str, Any]) -> None:
            self.steps = state["steps"]

    class Toy(methods.Method):
        name = "toy-method"
        help = "the place of a channel, in several removals"
        criteria = ("toy-place",)
        schedule = "iterative"

        def callback(self, phase: Any) -> Callback:
            return Counting()

    methods.register(Toy)
    return lambda: methods.METHODS.unregister("toy-method")


@addition
def add_resource() -> Callable[[], None]:
    """How many channels there are, as a target."""

    class Channels(resources.Resource):
        name = "toy-channels"

        def cost(self, graph: Any, keep: Any = None) -> float:
            return float(graph.classes if keep is None else keep.sum())

    resources.register(Channels)
    return lambda: resources.RESOURCES.unregister("toy-channels")


@addition
def add_task() -> Callable[[], None]:
    """The number of an image's class, to be met by the mean of the outputs."""

    class Toy(tasks.Task):
        name = "toy-task"
        metrics = (tasks.Metric("toy_error", higher_is_better=False),)

        def loss(self, output: Any, target: Any, *, label_smoothing: float = 0.0) -> Any:
            return F.mse_loss(output.float().mean(1), target.float())

        def measures(self, output: Any, target: Any) -> dict[str, Any]:
            return {"toy_error": (output.float().mean(1).cpu() - target).abs()}

    tasks.register(Toy)
    return lambda: tasks.TASKS.unregister("toy-task")


@addition
def add_operation() -> Callable[[], None]:
    """The lower triangle of each map: channels pass one by one, and zeros stay zeros."""
    edgeprune.register_op(edgeprune.OpSpec("tril", pointwise, keeps_zero=True))
    return lambda: edgeprune.unregister_op("tril")


@addition
def add_device() -> Callable[[], None]:
    """A board of one's own, by its profile."""
    with tempfile.TemporaryDirectory() as folder:
        profile = Path(folder) / "toy-board.toml"
        profile.write_text('title = "Toy board"\nbatch = 1\n[runtimes]\nonnxruntime = "fp32"\n')
        devices.register(profile)
    return lambda: devices.unregister("toy-board")


@addition
def add_backend() -> Callable[[], None]:
    """ONNX files turned around byte by byte, and a runtime that turns them back."""
    folder = tempfile.TemporaryDirectory()
    target_side = Path(folder.name) / "toy_runtime.py"
    target_side.write_text(
        "import onnxruntime\n"
        "from edgeprune_target.runtimes import Runtime, register\n"
        "@register\n"
        "class Toy(Runtime):\n"
        "    name, library = 'toy', 'onnxruntime'\n"
        "    def load(self):\n"
        "        self.session = onnxruntime.InferenceSession(open(self.model, 'rb').read()[::-1])\n"
        "        one = self.session.get_inputs()[0]\n"
        "        shape = tuple(n if isinstance(n, int) else None for n in one.shape)\n"
        "        self.inputs = {one.name: (shape, 'float32')}\n"
        "    def infer(self, feed):\n"
        "        return {'logits': self.session.run(None, feed)[0]}\n"
    )

    class Toy(backends.Backend):
        name, title, runtime, runtime_file = "toy", "Toy", "toy", target_side
        needs: ClassVar[dict[str, tuple[str, ...]]] = {"fp32": ("onnx",)}

        def convert(self, job: Any, path: Path) -> dict[str, Any]:
            path.write_bytes((job.folder / f"{job.name}.onnx").read_bytes()[::-1])
            return {"turned": True}

    backends.register(Toy)

    def take_back() -> None:
        backends.unregister("toy")
        folder.cleanup()

    return take_back


@pytest.fixture
def added() -> Iterator[None]:
    """Everything that `train-prune`, `export` and `bench` ask, from outside."""
    take_back = [add() for add in ADDITIONS]
    yield
    for undo in take_back:
        undo()


@pytest.mark.usefixtures("added", "here", "older_exporter")
def test_one_run_uses_everything_from_outside(
    tmp_path: Path, options: TrainPruneOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeprune.bench.options.MIN_ROUNDS", 2)
    toys = replace(
        options,
        model="tiny_nets:lower",
        method="toy-method",
        target="toy-channels=0.6",
        task="toy-task",
        prune_steps=2,
    )
    summary = train_prune(tmp_path / "run", toys)
    assert summary["target"]["kind"] == "toy-channels"
    assert 0.5 < summary["target"]["got_fraction"] <= 0.6 == summary["target"]["fraction"]
    assert summary["metric"]["name"] == "toy_error" and "accuracy_drop" not in summary
    assert summary["models"]["pruned"]["toy_error"] > 0
    plans = json.loads((tmp_path / "run" / "model.json").read_text())["plans"]
    assert len(plans) == 2
    assert "inside" in [group["name"] for group in plans[0]["groups"]]  # which lies before the operation
    kept = [group["kept"] for group in plans[0]["groups"]]
    assert any(len(item) > 1 for item in kept) and all(item == list(range(len(item))) for item in kept)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert any("toy_steps" in line for line in lines) and any("val_toy_error" in line for line in lines)
    again = train_prune(tmp_path / "run", resume=True)
    assert again == summary
    _export_and_measure(tmp_path / "run")


def _export_and_measure(run: Path) -> None:
    record = backends.export_run(run, to=["toy"], images=8)
    made = {(artifact["backend"], artifact["model"]): artifact for artifact in record["artifacts"]}
    assert set(made) == {(backend, model) for backend in ("onnx", "toy") for model in backends.MODELS}
    toy = made["toy", "pruned"]
    assert (toy["file"], toy["details"], toy["parity"]) == ("pruned.toy", {"turned": True}, None)
    result = bench_run(run, device="toy-board", runtime="toy", seconds=0.2)
    assert result["settings"]["runtime"] == "toy"
    assert result["device"]["name"] == "toy-board"
    assert result["models"]["pruned"]["latency_ms"]["p50"] > 0
    Run.check_free(
        run, force=True
    )  # the toy's files are the run's own, as long as they are what was exported
    (run / "export" / "pruned.toy").write_text("a letter")
    with pytest.raises(RunError, match=r"export/pruned\.toy"):
        Run.check_free(run, force=True)


@pytest.mark.parametrize("addition", ADDITIONS)
def test_additions_are_short(addition: Callable[..., Any]) -> None:
    assert len(inspect.getsource(addition).splitlines()) < MOST_LINES
