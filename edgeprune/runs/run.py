"""The run folder: only this module, `settings`, `removal_files` and `training_state` know its file names and formats.

config.json            every option as resolved, versions
model.json             how to rebuild the dense model: factory, arguments, keep-plans in order, preprocessing
removed-N.safetensors  the model right after its Nth removal, while more are to come
baseline.safetensors   the unpruned weights
settled.safetensors    the pruned model before fine-tuning
pruned.safetensors     the pruned model
quantized.safetensors  constants and ranges of its int8, where it was trained for that
checkpoint.safetensors the state of training; deleted when training is finished
metrics.jsonl          one JSON object per line
steer.jsonl            the commands of `edgeprune steer`
summary.json           the result
max_drop.json          the networks that were tried with a largest drop
points/N/              a run folder for each of them
tensorboard/  export/  bench/
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.errors import RunError
from edgeprune.files.locks import sweep_parts
from edgeprune.files.paths import check_links
from edgeprune.files.tensors import load_exactly, read_tensors, save_tensors
from edgeprune.files.writing import write_json
from edgeprune.processes.distributed import world
from edgeprune.records import read_record
from edgeprune.records.earlier import named_now
from edgeprune.records.runs import (
    LayerPrecisions,
    Summary,
    TimesRecord,
)
from edgeprune.runs.folders import Kind, check_folder_free, folder_aside
from edgeprune.runs.near import CONFIG, run_near, similar_run
from edgeprune.runs.removal_files import RemovalFiles
from edgeprune.runs.settings import SCHEMA, RunSettings
from edgeprune.runs.training_state import TrainingState

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeprune.data import DataBundle

WHICH = ("baseline", "settled", "pruned")
_ALONE = Kind(
    "run folder",
    "config.json",
    (
        "config.json", "model.json", "summary.json", "latency.json", "metrics.jsonl", "steer.jsonl", "progress.json",
        "baseline.safetensors", "settled.safetensors", "pruned.safetensors", "quantized.safetensors",
        "checkpoint.safetensors", "removed-*.safetensors", "tensorboard/events.out.tfevents.*",
        "sensitivity.json", "sensitivity.html", "report.html",
        "export/export.json", "export/*.onnx", "export/*.engine", "export/*.engine.json",
        "bench/*.json", "bench/*.json.partial", "bench/*.rounds.jsonl",
    ),
)  # fmt: skip
RUN = replace(_ALONE, own=(*_ALONE.own, "max_drop.json", *_ALONE.within("points/*")))


class Run:
    """A run folder, made by `create` or opened by `open`.

    Attributes:
        path: of the folder.
        training: the state of what trains in it.
        settings: its config.json.
        removals: keep-plans, and the models between removals.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.training = TrainingState(path)
        self.settings = RunSettings(path)
        self.removals = RemovalFiles(path, self.settings, lambda: self.load("baseline"))

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
            hint = similar_run(run.path) or f"; make one with 'edgeprune train-prune --out {path}'"
            raise RunError(f"no such run folder: {path}{hint}")
        if not (run.path / CONFIG).is_file():
            near = run_near(run.path)
            hint = f": name {near}" if near else ""
            raise RunError(f"{path} is not a run folder (no {CONFIG} of edgeprune's in it){hint}")
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
        """Options as resolved when the run was created; raises RunError if config.json is damaged."""
        return self.settings.config

    @property
    def task(self) -> str:
        """The name of the task that the run was made for; raises ModelError if its code is not trusted."""
        return self.settings.task

    @property
    def opaque(self) -> tuple[str, ...]:
        """Names of the modules that are neither traced nor pruned."""
        return self.settings.opaque

    def summary(self) -> Summary:
        """Return the result of the run.

        Raises:
            RunError: training is not finished, or the file is damaged.
        """
        if not (self.path / "summary.json").is_file():
            raise self._unfinished()
        return Summary.read(self.path / "summary.json")

    def _unfinished(self) -> RunError:
        return RunError(
            f"{self.path} is not finished: go on with 'edgeprune train-prune --out {self.path} --resume'"
        )

    def data(self, **reading: Any) -> "DataBundle":
        """Load the data set that the run was trained on; ``reading`` is passed on to `load_from_spec`."""
        from edgeprune.data import load_from_spec

        return load_from_spec(self.settings.required("data_spec"), **reading)

    def has(self, name: str) -> bool:
        """Return whether the folder has a file of this name."""
        return (self.path / name).is_file()

    # --- models --------------------------------------------------------------------------------------

    def build(self) -> "nn.Module":
        """Build the unpruned architecture with random weights; raises ModelError if its code is not trusted."""
        return self.settings.build()

    def check_trusted(self) -> None:
        """Check that the user trusts the code of the model and of the task; raises ModelError."""
        _ = self.task
        self.settings.check_trusted()

    def save_tensors(self, which: str, state: "dict[str, Tensor]") -> None:
        """Write WHICH.safetensors."""
        if world().is_main:
            save_tensors(self.path / f"{which}.safetensors", state)
        world().wait()

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
            if not self.has("summary.json"):
                raise self._unfinished()
            raise RunError(
                f"{path} is missing, though the run is finished: restore it, or start the run anew"
            )
        tensors = read_tensors(path)  # first: a damaged file is reported before anything is built
        model = self.build() if which == "baseline" else self.removals.dense()
        tensors = tensors if which == "baseline" else named_now(tensors, model.state_dict())
        check_values(tensors, model.state_dict(), path)
        load_exactly(model, tensors, path, "config.json" if which == "baseline" else "model.json")
        return model.eval()

    def precisions(self) -> LayerPrecisions | None:
        """Return the precision that each layer of the pruned model is deployed in; None where none were chosen."""
        return self.removals.precisions()

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
