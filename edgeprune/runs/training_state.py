"""What a training process writes and reads while it runs: metrics, a checkpoint, and commands that steer it.

checkpoint.safetensors the state of training; deleted when training is finished
progress.json          how far it is, likewise
metrics.jsonl          one JSON object per line
steer.jsonl            the commands of `edgeprune steer`
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.errors import RunError, WeightsError
from edgeprune.files.paths import explained
from edgeprune.files.reading import parse_json, parse_json_object
from edgeprune.files.tensors import read_tensor_file, save_tensors
from edgeprune.files.writing import append_line
from edgeprune.processes.distributed import world
from edgeprune.records import check, check_schema, good_lines
from edgeprune.records.runs import CheckpointState, MetricLine, SteeringLine
from edgeprune.runs.progress_file import FILE as PROGRESS

if TYPE_CHECKING:
    from torch import Tensor

SCHEMA = 1


class TrainingState:
    """The state of training in a folder, of a run or of any other command that trains."""

    def __init__(self, path: Path) -> None:
        self.path = path

    # --- metrics and checkpoint ----------------------------------------------------------------------

    @property
    def metrics_path(self) -> Path:
        """The file of metrics, one JSON object per line."""
        return self.path / "metrics.jsonl"

    def log(self, record: dict[str, Any]) -> None:
        """Append one record to metrics.jsonl."""
        if world().is_main:
            append_line(self.metrics_path, record)

    def metrics(self) -> list[dict[str, Any]]:
        """Return all records so far; damaged lines are skipped with a warning."""
        return good_lines(self.metrics_path, MetricLine)

    def save_checkpoint(self, tensors: "dict[str, Tensor]", state: dict[str, Any]) -> None:
        """Save the state of training, with the length of the metrics file that belongs to it."""
        if not world().is_main:
            return
        size = self.metrics_path.stat().st_size if self.metrics_path.exists() else 0
        state = {"schema": SCHEMA, **state, "metrics_bytes": size}
        save_tensors(self.path / "checkpoint.safetensors", tensors, {"state": json.dumps(state)})

    def load_checkpoint(self, stage: str) -> "tuple[dict[str, Tensor], dict[str, Any]] | None":
        """Return the checkpoint of ``stage``, or None if it has none.

        Metrics of the stage after the checkpoint (all of them, if there is none) are truncated, since they will be
        written again.

        Returns:
            Tensors by name, and the remaining state.

        Raises:
            RunError: the checkpoint is damaged.
        """
        path = self.path / "checkpoint.safetensors"
        checkpoint = self._read_checkpoint(path) if path.is_file() else None
        if checkpoint is None or checkpoint[1]["stage"] != stage:
            self._cut_metrics(self._metrics_before(stage))
            return None
        self._cut_metrics(checkpoint[1]["metrics_bytes"])
        return checkpoint

    def _read_checkpoint(self, path: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
        try:
            tensors, texts = read_tensor_file(path)
        except WeightsError as error:
            hint = "delete it, and --resume starts this stage again"
            raise RunError(f"{path} is damaged ({error}): {hint}") from error
        return tensors, _checkpoint_state(path, texts)

    def _metrics_before(self, stage: str) -> int:
        """Return the size in bytes of the complete records before the stage's first record."""
        if not self.metrics_path.exists():
            return 0
        size = 0
        for line in self.metrics_path.read_bytes().splitlines(keepends=True):
            if not line.endswith(b"\n") or _stage_of(line) == stage:
                break
            size += len(line)
        return size

    def _cut_metrics(self, size: int) -> None:
        if world().is_main and self.metrics_path.exists() and self.metrics_path.stat().st_size > size:
            with explained(self.metrics_path):
                os.truncate(self.metrics_path, size)

    def has_checkpoint(self) -> bool:
        """Return whether there is a checkpoint to resume from."""
        return (self.path / "checkpoint.safetensors").is_file()

    def drop_checkpoint(self) -> None:
        """Delete the checkpoint, and what was known of the progress."""
        if world().is_main:
            with explained(self.path):
                (self.path / "checkpoint.safetensors").unlink(missing_ok=True)
                (self.path / PROGRESS).unlink(missing_ok=True)

    # --- steering ------------------------------------------------------------------------------------

    def steer(self, command: dict[str, Any]) -> None:
        """Append a command for the training process."""
        append_line(self.path / "steer.jsonl", command)

    def steering(self) -> list[dict[str, Any]]:
        """Return all commands so far, oldest first; damaged lines are skipped with a warning."""
        return good_lines(self.path / "steer.jsonl", SteeringLine)

    def steering_bytes(self) -> int:
        """Return the size of all commands so far, to detect a new one without reading them."""
        try:
            return (self.path / "steer.jsonl").stat().st_size
        except FileNotFoundError:
            return 0


def _stage_of(line: bytes) -> Any:
    """Return the stage of a line of metrics; None for a damaged line."""
    try:
        return parse_json_object(line).get("stage")
    except ValueError:
        return None


def _checkpoint_state(path: Path, texts: dict[str, str]) -> dict[str, Any]:
    """Parse the state beside a checkpoint's tensors; raises RunError if it is damaged."""
    hint = "delete it, and --resume starts this stage again"
    try:
        state = parse_json(texts["state"])
    except (KeyError, ValueError) as error:
        raise RunError(f"{path} is damaged (its state is not readable: {error}): {hint}") from error
    check_schema(state, path, hint=hint)
    checked: dict[str, Any] = check(state, CheckpointState, f"{path} is damaged", hint=hint)
    return checked
