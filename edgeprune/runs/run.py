"""The run folder: only this module and `training_state` know its file names and formats.

config.json            every option as resolved, versions
model.json             how to rebuild the dense model: factory, arguments, keep-plans in order, preprocessing
removed-N.safetensors  the model right after its Nth removal, while more are to come
baseline.safetensors   the unpruned weights
settled.safetensors    the pruned model before fine-tuning
pruned.safetensors     the pruned model
checkpoint.safetensors the state of training; deleted when training is finished
metrics.jsonl          one JSON object per line
steer.jsonl            the commands of `edgeprune steer`
summary.json           the result
max_drop.json          the networks that were tried with a largest drop
points/N/              a run folder for each of them
tensorboard/  export/  bench/
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.errors import RunError, WeightsError
from edgeprune.files.locks import sweep_parts
from edgeprune.files.paths import check_links, explained
from edgeprune.files.tensors import check_momentum, load_exactly, read_tensors, save_tensors
from edgeprune.files.writing import write_json
from edgeprune.processes.distributed import world
from edgeprune.records import read_record
from edgeprune.records.earlier import named_now
from edgeprune.records.runs import (
    Config,
    Factory,
    KeepPlan,
    ModelRecord,
    Summary,
    TimesRecord,
    check_image_fields,
)
from edgeprune.records.trust import check_factory, named_folders
from edgeprune.runs.folders import Kind, check_folder_free, folder_aside
from edgeprune.runs.training_state import TrainingState
from edgeprune.tasks import Classification

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeprune.data import DataBundle
    from edgeprune.graph.classes import Graph
    from edgeprune.graph.plan import Plan

SCHEMA = 1
WHICH = ("baseline", "settled", "pruned")
_ALONE = Kind(
    "run folder",
    "config.json",
    (
        "config.json", "model.json", "summary.json", "latency.json", "metrics.jsonl", "steer.jsonl",
        "baseline.safetensors", "settled.safetensors", "pruned.safetensors", "checkpoint.safetensors",
        "removed-*.safetensors", "tensorboard/events.out.tfevents.*",
        "sensitivity.json", "sensitivity.html",
        "export/export.json", "export/*.onnx", "export/*.engine", "export/*.engine.json",
        "bench/*.json", "bench/*.json.partial", "bench/*.rounds.jsonl",
    ),
)  # fmt: skip
RUN = replace(_ALONE, own=(*_ALONE.own, "max_drop.json", *_ALONE.within("points/*")))


class Run:
    """A run folder, made by `create` or opened by `open`; ``training`` is the state of what trains in it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.training = TrainingState(path)

    # --- opening and creating ----------------------------------------------------------------------

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """Open an existing run.

        Raises:
            RunError: ``path`` is not a run folder, or its config.json is damaged.
        """
        run = cls(Path(path))
        try:
            exists = run.path.exists()
        except OSError as error:  # a name that is too long, say
            raise RunError(f"no such run folder: {str(path)[:80]} ({error.strerror})") from error
        if not exists:
            raise RunError(f"no such run folder: {path}; make one with 'edgeprune train-prune --out {path}'")
        if not (run.path / "config.json").is_file():
            raise RunError(f"{path} is not a run folder (no config.json of edgeprune's in it)")
        check_links(run.path)
        _ = run.config  # raises RunError if it is damaged
        return run

    @classmethod
    def check_free(cls, path: str | Path, *, force: bool = False, inputs: Iterable[str | None] = ()) -> None:
        """Check that `create` may make a run at ``path``; nothing is changed.

        Args:
            path: of the run folder.
            force: whether a run may be replaced.
            inputs: paths that are read: they must not lie in a run that is replaced.

        Raises:
            RunError: something is at ``path`` that may not be replaced.
        """
        check_folder_free(Path(path), RUN, force=force, inputs=inputs)

    @classmethod
    def create(
        cls,
        path: str | Path,
        config: dict[str, Any],
        *,
        force: bool = False,
        tensors: "Mapping[str, dict[str, Tensor]] | None" = None,
    ) -> "Run":
        """Make a run folder with ``config``.

        Args:
            path: of the run folder.
            config: all options, as resolved.
            force: replace an existing run; it is deleted once the new one is in place.
            tensors: state dicts to start with, by the stem of their file.

        Raises:
            RunError: the folder exists and ``force`` is off, or it may not be replaced.
            StorageError: the folder cannot be written.
        """
        with folder_aside(Path(path), RUN, force=force) as aside:
            for which, state in (tensors or {}).items():
                save_tensors(aside / f"{which}.safetensors", state)
            write_json(aside / "config.json", {"schema": SCHEMA, **config})
        return cls(Path(path))

    def sweep(self) -> None:
        """Remove half-written files of a killed process. Not to be called while another process trains here."""
        if world().is_main:
            sweep_parts(self.path)

    # --- contents ------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """Options as resolved when the run was created."""
        path = self.path / "config.json"
        config = read_record(
            path, Config, schema=SCHEMA, hint="was it edited, or made by another version of edgeprune?"
        )
        if {"input_shape", "mean", "std"} <= config.keys():
            check_image_fields(config, str(path))
        return config

    @property
    def task(self) -> str:
        """The name of the task that the run was made for; runs of earlier versions classify."""
        options = self.config.get("options") or {}
        name = options.get("task", Classification.name)
        check_factory(name, {}, self.path, named_folders(options), what="task")
        return str(name)

    def summary(self) -> Summary:
        """Return the result of the run.

        Raises:
            RunError: training is not finished, or the file is damaged.
        """
        if not (self.path / "summary.json").is_file():
            hint = f"go on with 'edgeprune train-prune --out {self.path} --resume'"
            raise RunError(f"{self.path} is not finished: {hint}")
        return Summary.read(self.path / "summary.json")

    def data(self) -> "DataBundle":
        """Load the data set that the run was trained on, with the same splits."""
        from edgeprune.data import load_from_spec

        return load_from_spec(self._setting("data_spec"))

    def _setting(self, name: str) -> Any:
        config = self.config
        if name not in config:
            path = self.path / "config.json"
            raise RunError(f"{path} has no {name!r}: it was edited, or another program wrote it")
        return config[name]

    def has(self, name: str) -> bool:
        """Return whether the folder has a file of this name."""
        return (self.path / name).is_file()

    # --- models --------------------------------------------------------------------------------------

    def build(self) -> "nn.Module":
        """Build the unpruned architecture with random weights.

        Raises:
            ModelError: the code that builds it is not trusted; see `edgeprune.records.trust`.
        """
        from edgeprune.models import build

        model = self._setting("model")
        folders = named_folders(self.config.get("options") or {})
        check_factory(model["factory"], model["args"], self.path, folders)
        return build(model["factory"], **model["args"])

    def save_tensors(self, which: str, state: "dict[str, Tensor]") -> None:
        """Write WHICH.safetensors."""
        if world().is_main:
            save_tensors(self.path / f"{which}.safetensors", state)
        world().wait()

    def save_plans(self, plans: Iterable[KeepPlan], steps: Iterable[int]) -> None:
        """Write model.json: everything that is needed to rebuild the dense model without the training code.

        Args:
            plans: keep-plans in the order in which they were applied, each for the graph of the model that its
                predecessor produced.
            steps: training steps taken before each.
        """
        fields = {k: self._setting(k) for k in ("model", "input_shape", "classes", "mean", "std")}
        model = Factory.from_dict(fields.pop("model"), self.path / "config.json")
        record = ModelRecord(model=model, **fields, plans=(*plans,), steps=(*steps,))
        if world().is_main:
            record.write(self.path / "model.json")
        world().wait()

    def save_removal(
        self, state: "dict[str, Tensor]", momentum: "dict[str, Tensor]", plan: KeepPlan, step: int
    ) -> None:
        """Save the model after another removal of channels; its plan is added to model.json.

        Args:
            state: state dict of the smaller model.
            momentum: initial momentum of its optimizer, by parameter name.
            plan: keep-plan for the graph of the larger model.
            step: training steps taken so far.
        """
        plans, steps = self.removals()
        number = len(plans) + 1
        tensors = {f"model/{k}": v for k, v in state.items()}
        tensors.update({f"momentum/{k}": v for k, v in momentum.items()})
        self.save_tensors(f"removed-{number}", tensors)
        self.save_plans([*plans, plan], [*steps, step])

    def load_removal(self) -> "tuple[nn.Module, dict[str, Tensor]]":
        """Load the model after the latest removal, and its optimizer's momentum; the baseline before the first."""
        plans, _ = self.removals()
        if not plans:
            return self.load("baseline"), {}
        path = self.path / f"removed-{len(plans)}.safetensors"
        tensors = read_tensors(path)
        model, parts = self._dense(), {"model": {}, "momentum": {}}  # type: ignore[var-annotated]
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            if kind not in parts:
                raise WeightsError(f"{path} does not fit model.json: it has {name[:80]!r}")
            parts[kind][rest] = value
        load_exactly(model, named_now(parts["model"], model.state_dict()), path, "model.json")
        momentum = named_now(parts["momentum"], dict(model.named_parameters()))
        check_momentum(model, momentum, path)
        return model, momentum

    def removals(self) -> tuple[tuple[KeepPlan, ...], tuple[int, ...]]:
        """Return the keep-plans applied so far, and the training steps taken before each."""
        if not self.has("model.json"):
            return (), ()
        record = self._model_record()
        return record.plans, record.steps

    def drop_removals(self) -> None:
        """Delete the models between removals: the last one is saved as 'settled'."""
        if world().is_main:
            with explained(self.path):
                for path in self.path.glob("removed-*.safetensors"):
                    path.unlink(missing_ok=True)

    def load(self, which: str = "pruned") -> "nn.Module":
        """Load a model in eval mode on the CPU.

        Args:
            which: 'baseline', 'settled' (pruned, not fine-tuned) or 'pruned'.

        Raises:
            RunError: the run has no such model (yet).
            WeightsError: its file is damaged.
        """
        if which not in WHICH:
            raise RunError(f"no model {which!r} in a run; there are {', '.join(WHICH)}")
        from edgeprune.models.weights import check_values

        path = self.path / f"{which}.safetensors"
        if not path.is_file():
            raise RunError(f"{self.path} has no {which} model yet: finish it with --resume")
        tensors = read_tensors(path)  # first: a damaged file is reported before anything is built
        model = self.build() if which == "baseline" else self._dense()
        tensors = tensors if which == "baseline" else named_now(tensors, model.state_dict())
        check_values(tensors, model.state_dict(), path)
        load_exactly(model, tensors, path, "config.json" if which == "baseline" else "model.json")
        return model.eval()

    def _dense(self) -> "nn.Module":
        from edgeprune.rewrite.compaction import compact

        model = None
        for graph, plan in self.plans():
            model = compact(graph, plan).model
        return self.build() if model is None else model

    @property
    def opaque(self) -> tuple[str, ...]:
        """Names of the modules that are neither traced nor pruned."""
        options = self.config.get("options")
        names = options.get("opaque") if isinstance(options, dict) else None
        if names is None:
            return ()
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RunError(
                f"{self.path / 'config.json'} options.opaque is not a list of names: was it edited?"
            )
        return tuple(names)

    def plans(self) -> "Iterator[tuple[Graph, Plan]]":
        """Yield each keep-plan with the graph of the model that it applies to, starting with the unpruned one."""
        import torch

        from edgeprune.graph.classes import build_graph
        from edgeprune.graph.plan import Plan
        from edgeprune.rewrite.compaction import compact

        record, model = self._model_record(), self.build()
        example = torch.zeros(1, *record.input_shape)
        for kept in record.plans:
            graph = build_graph(model, example, opaque=self.opaque)
            plan = Plan.of_record(graph, kept)
            yield graph, plan
            model = compact(graph, plan).model

    def notes(self) -> list[str]:
        """Return the notes of the keep-plans: what they left unpruned, and why."""
        return [note for plan in self._model_record().plans for note in plan.notes]

    def _model_record(self) -> ModelRecord:
        return ModelRecord.read(self.path / "model.json")

    def save_times(self, record: dict[str, Any]) -> None:
        """Save the latencies that were measured when the channel counts were chosen for a device."""
        if world().is_main:
            write_json(self.path / "latency.json", record)

    def times(self) -> dict[str, Any] | None:
        """Return what `save_times` wrote; None if nothing was measured."""
        path = self.path / "latency.json"
        return read_record(path, TimesRecord, schema=SCHEMA) if path.is_file() else None

    def finish(self, summary: Summary) -> None:
        """Write the result and delete the checkpoint."""
        if world().is_main:
            summary.write(self.path / "summary.json")
        world().wait()
        self.training.drop_checkpoint()
