"""The run folder: the only place that knows its file names and formats.

config.json            every option as resolved, versions
model.json             how to rebuild the dense model: factory, arguments, keep-plans in order, preprocessing
removed-N.safetensors  the model right after its Nth removal, while more are to come
baseline.safetensors   the unpruned weights
settled.safetensors    the pruned model before fine-tuning
pruned.safetensors     the pruned model
checkpoint.safetensors where training stands; gone when it is done
metrics.jsonl          one JSON object a line
steer.jsonl            what `edgeprune steer` asked for
summary.json           what came out
tensorboard/  export/  bench/
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.records.earlier import named_now
from edgeprune.errors import RunError, WeightsError
from edgeprune.files.writing import append_line
from edgeprune.files.paths import check_links
from edgeprune.files.paths import explained
from edgeprune.files.reading import parse_json
from edgeprune.files.reading import parse_json_object
from edgeprune.files.writing import write_json
from edgeprune.runs.folders import Kind, check_folder_free, folder_aside
from edgeprune.files.locks import sweep_parts
from edgeprune.processes.ranks import ranks
from edgeprune.records import check, check_schema, good_lines, read_record
from edgeprune.records.runs import (
    CheckpointState,
    Config,
    MetricLine,
    ModelRecord,
    SteeringLine,
    Summary,
    Times,
    check_image_fields,
    check_model_record,
)
from edgeprune.files.tensors import check_momentum, load_exactly, read_tensor_file, read_tensors, save_tensors
from edgeprune.records.trust import check_factory, named_folders

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeprune.data import DataBundle
    from edgeprune.graph.classes import Graph
    from edgeprune.graph.plan import Plan

SCHEMA = 1
WHICH = ("baseline", "settled", "pruned")
RUN = Kind(
    "run folder",
    "config.json",
    (
        "config.json", "model.json", "summary.json", "latency.json", "metrics.jsonl", "steer.jsonl",
        "baseline.safetensors", "settled.safetensors", "pruned.safetensors", "checkpoint.safetensors",
        "removed-*.safetensors", "tensorboard/events.out.tfevents.*",
        "export/export.json", "export/*.onnx", "export/*.engine", "export/*.engine.json",
        "bench/*.json", "bench/*.json.partial", "bench/*.rounds.jsonl",
    ),
)  # fmt: skip


class Run:
    """One run folder. Make it with `create`, find it with `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # --- finding and making ------------------------------------------------------------------------

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """An existing run; raises RunError when ``path`` is none."""
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
        _ = run.config  # raises RunError for one that is damaged
        return run

    @classmethod
    def check_free(cls, path: str | Path, *, force: bool = False, inputs: Iterable[str | None] = ()) -> None:
        """Raise RunError unless `create` may make a run at ``path``; nothing is changed.

        Args:
            path: of the run folder.
            force: whether a run may be replaced.
            inputs: paths that are read: they must not lie in a run that is replaced.
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
        """Make a run folder that holds ``config``.

        Args:
            path: of the run folder.
            config: all options, as resolved.
            force: replace a run; it is deleted once the new one stands.
            tensors: models to begin with, by the name of their file.

        Raises:
            RunError: the folder exists and ``force`` is off, or may not be replaced.
            StorageError: the place is not writable.
        """
        with folder_aside(Path(path), RUN, force=force) as aside:
            for which, state in (tensors or {}).items():
                save_tensors(aside / f"{which}.safetensors", state)
            write_json(aside / "config.json", {"schema": SCHEMA, **config})
        return cls(Path(path))

    def sweep(self) -> None:
        """Remove what a killed process left half-written. Not while another one trains here."""
        if ranks().main:
            sweep_parts(self.path)

    # --- what is in it -------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """Options as resolved when the run was made."""
        path = self.path / "config.json"
        config = read_record(
            path, Config, schema=SCHEMA, hint="was it edited, or made by another version of edgeprune?"
        )
        if {"input_shape", "mean", "std"} <= config.keys():
            check_image_fields(config, str(path))
        return config

    def summary(self) -> dict[str, Any]:
        """What came out; raises RunError while training is not finished."""
        if not (self.path / "summary.json").is_file():
            hint = f"go on with 'edgeprune train-prune --out {self.path} --resume'"
            raise RunError(f"{self.path} is not finished: {hint}")
        return read_record(self.path / "summary.json", Summary, schema=SCHEMA)

    def data(self) -> "DataBundle":
        """The data set the run was trained on, split as then."""
        from edgeprune.data import load_from_spec

        return load_from_spec(self._setting("data_spec"))

    def _setting(self, name: str) -> Any:
        config = self.config
        if name not in config:
            path = self.path / "config.json"
            raise RunError(f"{path} has no {name!r}: it was edited, or another program wrote it")
        return config[name]

    def has(self, name: str) -> bool:
        """Whether a file of this name is there."""
        return (self.path / name).is_file()

    # --- models --------------------------------------------------------------------------------------

    def build(self) -> "nn.Module":
        """The unpruned architecture with random weights.

        Raises:
            ModelError: it is made by code that nobody has vouched for; see `edgeprune.records.trust`.
        """
        from edgeprune.models import build

        model = self._setting("model")
        folders = named_folders(self.config.get("options") or {})
        check_factory(model["factory"], model["args"], self.path, folders)
        return build(model["factory"], **model["args"])

    def save_tensors(self, which: str, state: "dict[str, Tensor]") -> None:
        """Write WHICH.safetensors."""
        if ranks().main:
            save_tensors(self.path / f"{which}.safetensors", state)
        ranks().wait()

    def save_plans(self, plans: "list[dict[str, Any]]", steps: list[int]) -> None:
        """Write model.json: all that is needed to rebuild the dense model, without the training code.

        Args:
            plans: keep-plans in the order in which they were carried out, each for the graph of the model
                that the one before it left.
            steps: training steps taken before each.
        """
        fields = {k: self._setting(k) for k in ("model", "input_shape", "classes", "mean", "std")}
        record = {"schema": SCHEMA, **fields, "plans": plans, "steps": steps}
        if ranks().main:
            write_json(self.path / "model.json", record)
        ranks().wait()

    def save_removal(
        self, state: "dict[str, Tensor]", momentum: "dict[str, Tensor]", plan: dict[str, Any], step: int
    ) -> None:
        """The model after one more removal, of which there may be several; its plan goes into model.json.

        Args:
            state: the smaller model's.
            momentum: what its optimizer starts with, by parameter name.
            plan: for the graph of the model before.
            step: training steps taken so far.
        """
        plans, steps = self.removals()
        number = len(plans) + 1
        tensors = {f"model/{k}": v for k, v in state.items()}
        tensors.update({f"momentum/{k}": v for k, v in momentum.items()})
        self.save_tensors(f"removed-{number}", tensors)
        self.save_plans([*plans, plan], [*steps, step])

    def load_removal(self) -> "tuple[nn.Module, dict[str, Tensor]]":
        """The model after the latest removal, and its optimizer's momentum; the baseline before the first."""
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

    def removals(self) -> tuple[list[dict[str, Any]], list[int]]:
        """The keep-plans carried out so far, and the training steps taken before each."""
        if not self.has("model.json"):
            return [], []
        record = self._model_record()
        return record["plans"], record["steps"]

    def drop_removals(self) -> None:
        """Forget the models between removals: the last one is saved as 'settled'."""
        if ranks().main:
            with explained(self.path):
                for path in self.path.glob("removed-*.safetensors"):
                    path.unlink(missing_ok=True)

    def load(self, which: str = "pruned") -> "nn.Module":
        """'baseline', 'settled' (pruned, not fine-tuned) or 'pruned', in eval mode on the CPU.

        Raises:
            RunError: it is not there (yet). WeightsError: its file is damaged.
        """
        if which not in WHICH:
            raise RunError(f"no model {which!r} in a run; there are {', '.join(WHICH)}")
        from edgeprune.models.weights import check_values

        path = self.path / f"{which}.safetensors"
        if not path.is_file():
            raise RunError(f"{self.path} has no {which} model yet: finish it with --resume")
        tensors = read_tensors(path)  # first: a damaged file is found without building anything
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
        """The modules that are kept whole in it."""
        options = self.config.get("options")
        names = options.get("opaque") if isinstance(options, dict) else None
        if names is None:
            return ()
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise RunError(
                f"{self.path / 'config.json'} options: `opaque` is no list of names: was it edited?"
            )
        return tuple(names)

    def plans(self) -> "Iterator[tuple[Graph, Plan]]":
        """Each keep-plan with the graph of the model it applies to, the unpruned architecture's first."""
        import torch

        from edgeprune.graph.classes import build_graph
        from edgeprune.graph.plan import Plan
        from edgeprune.rewrite.compaction import compact

        record, model = self._model_record(), self.build()
        example = torch.zeros(1, *record["input_shape"])
        for value in record["plans"]:
            graph = build_graph(model, example, opaque=self.opaque)
            plan = Plan.from_dict(graph, value)
            yield graph, plan
            model = compact(graph, plan).model

    def notes(self) -> list[str]:
        """What the removals left alone, and why."""
        return [note for plan in self._model_record()["plans"] for note in plan.get("notes", [])]

    def _model_record(self) -> dict[str, Any]:
        path = self.path / "model.json"
        return check_model_record(read_record(path, ModelRecord, schema=SCHEMA), str(path))

    def save_times(self, record: dict[str, Any]) -> None:
        """What was measured when the widths were settled for a device."""
        if ranks().main:
            write_json(self.path / "latency.json", record)

    def times(self) -> dict[str, Any] | None:
        """What `save_times` wrote; None where no device was asked."""
        place = self.path / "latency.json"
        return read_record(place, Times, schema=SCHEMA) if place.is_file() else None

    # --- training state ------------------------------------------------------------------------------

    @property
    def metrics_path(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    def log(self, record: dict[str, Any]) -> None:
        """Append one record to metrics.jsonl."""
        if ranks().main:
            append_line(self.metrics_path, record)

    def metrics(self) -> list[dict[str, Any]]:
        """Return all records so far; damaged lines are left out, with a warning."""
        return good_lines(self.metrics_path, MetricLine)

    def save_checkpoint(self, tensors: "dict[str, Tensor]", state: dict[str, Any]) -> None:
        """Remember where training stands; the metrics written so far belong to it."""
        if not ranks().main:
            return
        size = self.metrics_path.stat().st_size if self.metrics_path.exists() else 0
        state = {"schema": SCHEMA, **state, "metrics_bytes": size}
        save_tensors(self.path / "checkpoint.safetensors", tensors, {"state": json.dumps(state)})

    def load_checkpoint(self, stage: str) -> "tuple[dict[str, Tensor], dict[str, Any]] | None":
        """Where ``stage`` stands, or None when it has no checkpoint of its own.

        Its later metrics (all of them, without a checkpoint) are cut off, since they will be written again.

        Raises:
            RunError: the checkpoint is damaged.
        """
        path = self.path / "checkpoint.safetensors"
        found = self._read_checkpoint(path) if path.is_file() else None
        if found is None or found[1]["stage"] != stage:
            self._cut_metrics(self._metrics_before(stage))
            return None
        self._cut_metrics(found[1]["metrics_bytes"])
        return found

    def _read_checkpoint(self, path: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
        try:
            tensors, texts = read_tensor_file(path)
        except WeightsError as error:
            hint = "delete it, and --resume starts this stage again"
            raise RunError(f"{path} is damaged ({error}): {hint}") from error
        return tensors, _checkpoint_state(path, texts)

    def _metrics_before(self, stage: str) -> int:
        """Bytes of whole records ahead of the stage's first one."""
        if not self.metrics_path.exists():
            return 0
        size = 0
        for line in self.metrics_path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n") or _stage_of(line) == stage:
                break
            size += len(line)
        return size

    def _cut_metrics(self, size: int) -> None:
        if ranks().main and self.metrics_path.exists() and self.metrics_path.stat().st_size > size:
            with explained(self.metrics_path):
                os.truncate(self.metrics_path, size)

    def finish(self, summary: dict[str, Any]) -> None:
        """Write what came out; the checkpoint is no longer wanted."""
        if ranks().main:
            write_json(self.path / "summary.json", summary)
        ranks().wait()
        self.drop_checkpoint()

    def has_checkpoint(self) -> bool:
        """Whether training has left a place to go on from."""
        return self.has("checkpoint.safetensors")

    def drop_checkpoint(self) -> None:
        """Training is done."""
        if ranks().main:
            with explained(self.path):
                (self.path / "checkpoint.safetensors").unlink(missing_ok=True)

    # --- steering ------------------------------------------------------------------------------------

    def steer(self, command: dict[str, Any]) -> None:
        """Leave a command for the training process."""
        append_line(self.path / "steer.jsonl", command)

    def steering(self) -> list[dict[str, Any]]:
        """Return all commands so far, oldest first; damaged lines are left out, with a warning."""
        return good_lines(self.path / "steer.jsonl", SteeringLine)

    def steering_bytes(self) -> int:
        """Size of all commands so far: whether there is a new one, without reading them."""
        try:
            return (self.path / "steer.jsonl").stat().st_size
        except FileNotFoundError:
            return 0


def _stage_of(line: bytes) -> Any:
    """Return the stage that a line of metrics is of; None for a damaged line."""
    try:
        return parse_json_object(line).get("stage")
    except ValueError:
        return None


def _checkpoint_state(path: Path, texts: dict[str, str]) -> dict[str, Any]:
    """Read the state that a checkpoint holds beside its tensors; raises RunError, with what to do."""
    hint = "delete it, and --resume starts this stage again"
    try:
        state = parse_json(texts["state"])
    except (KeyError, ValueError) as error:
        raise RunError(f"{path} is damaged (its state is not readable: {error}): {hint}") from error
    check_schema(state, path, hint=hint)
    checked: dict[str, Any] = check(state, CheckpointState, f"{path} is damaged", hint=hint)
    return checked
