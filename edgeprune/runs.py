"""The run folder: the only place that knows its file names and formats.

    config.json            every option as resolved, versions
    model.json             how to rebuild the dense model: factory, arguments, keep-plan, preprocessing
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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.errors import EdgePruneError, RunError, WeightsError
from edgeprune.files import explain_os_error, read_json, write_json, written_aside

if TYPE_CHECKING:
    from torch import Tensor, nn

    from edgeprune.data import DataBundle
    from edgeprune.plan import Plan

SCHEMA = 1
WHICH = ("baseline", "settled", "pruned")


class Run:
    """One run folder. Make it with `create`, find it with `open`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # --- finding and making ------------------------------------------------------------------------

    @classmethod
    def open(cls, path: str | Path) -> "Run":
        """An existing run; raises RunError when ``path`` is none."""
        run = cls(Path(path))
        if not run.path.exists():
            raise RunError(f"no such run folder: {path}; make one with 'edgeprune train-prune --out {path}'")
        if not (run.path / "config.json").is_file() or "schema" not in run.config:
            raise RunError(f"{path} is not a run folder (no config.json of edgeprune's in it)")
        return run

    @classmethod
    def create(cls, path: str | Path, config: dict[str, Any], *, force: bool = False) -> "Run":
        """A new run folder holding ``config``.

        Raises:
            RunError: the folder exists and ``force`` is off, or holds something that is no run.
            EdgePruneError: the place is not writable.
        """
        run = cls(Path(path))
        if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
            run._clear(force)
        write_json(run.path / "config.json", {"schema": SCHEMA, **config})
        return run

    def _clear(self, force: bool) -> None:
        if not self.path.is_dir() or not (self.path / "config.json").is_file():
            raise RunError(f"{self.path} exists and is not a run folder: choose another --out")
        if not force:
            raise RunError(
                f"{self.path} exists: go on with --resume, start it anew with --force, or choose another --out"
            )
        import shutil

        try:
            shutil.rmtree(self.path)
        except OSError as error:
            raise explain_os_error(error, self.path) from error

    # --- what is in it -------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """Options as resolved when the run was made."""
        value = read_json(self.path / "config.json")
        if not isinstance(value, dict):
            raise RunError(f"{self.path / 'config.json'} does not hold a configuration")
        return value

    def summary(self) -> dict[str, Any]:
        """What came out; raises RunError while training is not finished."""
        if not (self.path / "summary.json").is_file():
            raise RunError(f"{self.path} is not finished: go on with 'edgeprune train-prune --out {self.path} --resume'")
        found: dict[str, Any] = read_json(self.path / "summary.json")
        return found

    def data(self) -> "DataBundle":
        """The data set the run was trained on, split as then."""
        from edgeprune.data import load_from_spec

        return load_from_spec(self.config["data_spec"])

    def has(self, name: str) -> bool:
        """Whether a file of this name is there."""
        return (self.path / name).is_file()

    # --- models --------------------------------------------------------------------------------------

    def build(self) -> "nn.Module":
        """The unpruned architecture with random weights."""
        from edgeprune.models import build

        model = self.config["model"]
        return build(model["factory"], **model["args"])

    def save_tensors(self, which: str, state: "dict[str, Tensor]") -> None:
        """Write WHICH.safetensors."""
        save_tensors(self.path / f"{which}.safetensors", state)

    def save_plan(self, plan: "dict[str, Any]") -> None:
        """Write model.json: all that is needed to rebuild the dense model, without the training code."""
        config = self.config
        fields = ("model", "input_shape", "classes", "mean", "std")
        write_json(self.path / "model.json", {"schema": SCHEMA, **{k: config[k] for k in fields}, "plan": plan})

    def load(self, which: str = "pruned") -> "nn.Module":
        """'baseline', 'settled' (pruned, not fine-tuned) or 'pruned', in eval mode on the CPU.

        Raises:
            RunError: it is not there (yet). WeightsError: its file is damaged.
        """
        if which not in WHICH:
            raise RunError(f"no model {which!r} in a run; there are {', '.join(WHICH)}")
        path = self.path / f"{which}.safetensors"
        if not path.is_file():
            raise RunError(f"{self.path} has no {which} model yet: finish it with --resume")
        model = self.build() if which == "baseline" else self._dense()
        state = read_tensors(path)
        try:
            model.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise WeightsError(f"{path} does not fit model.json: {str(error).splitlines()[-1].strip()}") from error
        return model.eval()

    def _dense(self) -> "nn.Module":
        from edgeprune.compact import compact

        graph, plan = self.plan()
        return compact(graph, plan).model

    def plan(self) -> "tuple[Any, Plan]":
        """The channel graph of the unpruned architecture and the run's keep-plan."""
        import torch

        from edgeprune.graph.classes import build_graph
        from edgeprune.plan import Plan

        record = read_json(self.path / "model.json")
        graph = build_graph(self.build(), torch.zeros(1, *record["input_shape"]))
        return graph, Plan.from_dict(graph, record["plan"])

    # --- training state ------------------------------------------------------------------------------

    @property
    def metrics_path(self) -> Path:
        """One JSON object a line."""
        return self.path / "metrics.jsonl"

    def log(self, record: dict[str, Any]) -> None:
        """Append one record to metrics.jsonl."""
        append_line(self.metrics_path, record)

    def metrics(self) -> list[dict[str, Any]]:
        """All whole records so far."""
        return read_lines(self.metrics_path)

    def save_checkpoint(self, tensors: "dict[str, Tensor]", state: dict[str, Any]) -> None:
        """Remember where training stands; the metrics written so far belong to it."""
        size = self.metrics_path.stat().st_size if self.metrics_path.exists() else 0
        state = {"schema": SCHEMA, **state, "metrics_bytes": size}
        save_tensors(self.path / "checkpoint.safetensors", tensors, {"state": json.dumps(state)})

    def load_checkpoint(self) -> "tuple[dict[str, Tensor], dict[str, Any]] | None":
        """Where training stands, or None; later metrics are cut off, since they will be written again."""
        path = self.path / "checkpoint.safetensors"
        if not path.is_file():
            return None
        tensors = read_tensors(path)
        from safetensors import safe_open

        with safe_open(str(path), "pt") as handle:
            state = json.loads(handle.metadata()["state"])
        if self.metrics_path.exists():
            os.truncate(self.metrics_path, min(state["metrics_bytes"], self.metrics_path.stat().st_size))
        return tensors, state

    def drop_checkpoint(self) -> None:
        """Training is done."""
        (self.path / "checkpoint.safetensors").unlink(missing_ok=True)

    # --- steering ------------------------------------------------------------------------------------

    def steer(self, command: dict[str, Any]) -> None:
        """Leave a command for the training process."""
        append_line(self.path / "steer.jsonl", command)

    def steering(self) -> list[dict[str, Any]]:
        """All commands so far, oldest first."""
        return read_lines(self.path / "steer.jsonl")


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Append one JSON line in a single write."""
    try:
        with path.open("a") as handle:
            handle.write(json.dumps(record) + "\n")
    except OSError as error:
        raise explain_os_error(error, path) from error


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The whole JSON lines of a file; a last line that was cut is left out."""
    if not path.exists():
        return []
    found = []
    for line in path.read_text().splitlines(keepends=True):
        if line.endswith("\n"):
            try:
                found.append(json.loads(line))
            except ValueError as error:
                raise RunError(f"{path} has a line that is not JSON: {line.strip()[:60]!r}") from error
    return found


def save_tensors(path: Path, tensors: "dict[str, Tensor]", metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file aside and rename it into place."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    plain = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    with written_aside(path) as aside:
        try:
            save_file(plain, str(aside), metadata)
        except SafetensorError as error:
            raise EdgePruneError(f"cannot write {path}: {error}") from error


def read_tensors(path: Path) -> "dict[str, Tensor]":
    """Read a safetensors file; raises WeightsError when it is truncated or none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is not a whole safetensors file ({error})") from error
