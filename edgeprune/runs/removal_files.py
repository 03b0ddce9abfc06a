"""The removals of channels in a run folder: keep-plans, and the model after each while more are to come."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import UNSET, UnsetType

from edgeprune.errors import WeightsError
from edgeprune.files.paths import explained
from edgeprune.files.tensors import check_momentum, load_exactly, read_tensors, save_tensors
from edgeprune.processes.distributed import world
from edgeprune.records.earlier import named_now
from edgeprune.records.runs import Factory, KeepPlan, LayerPrecisions, ModelRecord
from edgeprune.runs.settings import RunSettings

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeprune.graph.classes import Graph
    from edgeprune.graph.plan import Plan


class RemovalFiles:
    """What a run keeps of its removals; each keep-plan is for the graph of the model that its predecessor left."""

    def __init__(self, path: Path, settings: RunSettings, baseline: "Callable[[], nn.Module]") -> None:
        """Refer to a run's files; nothing is read.

        Args:
            path: of the run folder.
            settings: of the run.
            baseline: loads the unpruned model.
        """
        self._path, self._settings, self._baseline = path, settings, baseline

    def save_plans(self, plans: Iterable[KeepPlan], steps: Iterable[int]) -> None:
        """Write model.json: everything that is needed to rebuild the dense model without the training code.

        Args:
            plans: keep-plans in the order in which they were applied.
            steps: training steps taken before each.
        """
        names = ("model", "input_shape", "classes", "mean", "std")
        fields = {name: self._settings.required(name) for name in names}
        model = Factory.from_dict(fields.pop("model"), self._path / "config.json")
        record = ModelRecord(model=model, **fields, plans=(*plans,), steps=(*steps,))
        if world().is_main:
            record.write(self._path / "model.json")
        world().wait()

    def save(
        self, state: "dict[str, Tensor]", momentum: "dict[str, Tensor]", plan: KeepPlan, step: int
    ) -> None:
        """Save the model after another removal of channels; its plan is added to model.json.

        Args:
            state: state dict of the smaller model.
            momentum: initial momentum of its optimizer, by parameter name.
            plan: keep-plan for the graph of the larger model.
            step: training steps taken so far.
        """
        plans, steps = self.plans_and_steps()
        tensors = {f"model/{k}": v for k, v in state.items()}
        tensors.update({f"momentum/{k}": v for k, v in momentum.items()})
        if world().is_main:
            save_tensors(self._file(len(plans) + 1), tensors)
        world().wait()
        self.save_plans([*plans, plan], [*steps, step])

    def load(self) -> "tuple[nn.Module, dict[str, Tensor]]":
        """Load the model after the latest removal, and its optimizer's momentum; the baseline before the first."""
        plans, _ = self.plans_and_steps()
        if not plans:
            return self._baseline(), {}
        path = self._file(len(plans))
        tensors = read_tensors(path)
        model, parts = self.dense(), {"model": {}, "momentum": {}}  # type: ignore[var-annotated]
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            if kind not in parts:
                raise WeightsError(f"{path} does not fit model.json: it has {name[:80]!r}")
            parts[kind][rest] = value
        load_exactly(model, named_now(parts["model"], model.state_dict()), path, "model.json")
        momentum = named_now(parts["momentum"], dict(model.named_parameters()))
        check_momentum(model, momentum, path)
        return model, momentum

    def _file(self, number: int) -> Path:
        return self._path / f"removed-{number}.safetensors"

    def plans_and_steps(self) -> tuple[tuple[KeepPlan, ...], tuple[int, ...]]:
        """Return the keep-plans applied so far, and the training steps taken before each."""
        if not (self._path / "model.json").is_file():
            return (), ()
        record = self._record()
        return record.plans, record.steps

    def notes(self) -> list[str]:
        """Return the notes of the keep-plans: what they left unpruned, and why."""
        return [note for plan in self._record().plans for note in plan.notes]

    def precisions(self) -> LayerPrecisions | None:
        """Return the precision that each layer of the pruned model is deployed in; None where none were chosen."""
        plans, _ = self.plans_and_steps()
        chosen = plans[-1].precisions if plans else UNSET
        return None if isinstance(chosen, UnsetType) else chosen

    def drop(self) -> None:
        """Delete the models between removals: the last one is saved as 'settled'."""
        if world().is_main:
            with explained(self._path):
                for path in self._path.glob("removed-*.safetensors"):
                    path.unlink(missing_ok=True)

    def graphs(self) -> "Iterator[tuple[Graph, Plan]]":
        """Yield each keep-plan with the graph of the model that it applies to, starting with the unpruned one."""
        import torch

        from edgeprune.graph.classes import build_graph
        from edgeprune.graph.plan import Plan
        from edgeprune.rewrite.compaction import compact

        record, model = self._record(), self._settings.build()
        example = torch.zeros(1, *record.input_shape)
        for kept in record.plans:
            graph = build_graph(model, example, opaque=self._settings.opaque)
            plan = Plan.of_record(graph, kept)
            yield graph, plan
            model = compact(graph, plan).model

    def dense(self) -> "nn.Module":
        """Build the architecture after all removals so far, with random weights."""
        from edgeprune.rewrite.compaction import compact

        model = None
        for graph, plan in self.graphs():
            model = compact(graph, plan).model
        return self._settings.build() if model is None else model

    def _record(self) -> ModelRecord:
        return ModelRecord.read(self._path / "model.json")
