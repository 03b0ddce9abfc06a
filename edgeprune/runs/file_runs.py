"""The run folder of `edgeprune prune`: only this module knows its file names.

prune.json              every option, the file and the inputs
cut.onnx  cut.json      the network (cut.safetensors of a torch network) after the cut and the fits, and what that did
checkpoint.safetensors  the state of label-free fine-tuning; deleted when it is finished
metrics.jsonl           its losses, one JSON object per line
export/                 both files, baseline.onnx from the beginning, and their record
summary.json            the result
curve.json  curve.png   how far the network can go, where that alone was asked for
bench/
"""

import shlex
from collections.abc import Iterable
from pathlib import Path

from edgeprune.errors import RunError
from edgeprune.files.paths import check_links
from edgeprune.records.pruning import CurveRecord, CutRecord, PruneConfig, PruneSummary
from edgeprune.runs.folders import Kind, check_folder_free, folder_aside
from edgeprune.runs.training_state import TrainingState

MARKER = "prune.json"
OF_IMAGES = ("scale", "mean", "std", "color", "layout", "size")  # options of `prune`
FILE_RUN = Kind(
    "run folder of prune",
    MARKER,
    (
        MARKER, "cut.json", "cut.onnx", "cut.onnx.data", "cut.safetensors", "checkpoint.safetensors",
        "metrics.jsonl", "summary.json",
        "curve.json", "curve.png",
        "export/export.json", "export/*.onnx", "export/*.onnx.data",
        "bench/*.json", "bench/*.json.partial", "bench/*.rounds.jsonl",
    ),
    option="--run",
)  # fmt: skip


class FileRun:
    """One pruning of a finished network, in a folder; made by `create` or opened by `open`."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.export = self.path / "export"
        self.baseline, self.pruned = self.export / "baseline.onnx", self.export / "pruned.onnx"

    @staticmethod
    def matches(path: str | Path) -> bool:
        """Return whether a folder is of this kind."""
        return (Path(path) / MARKER).is_file()

    @classmethod
    def open(cls, path: str | Path) -> "FileRun":
        """Open an existing run.

        Raises:
            RunError: ``path`` is not the folder of one, or its prune.json is damaged.
        """
        run = cls(path)
        if not run.path.exists():
            raise RunError(f"no such run folder: {path}; leave --resume out to begin it")
        if not cls.matches(path):
            raise RunError(f"{path} is not a run folder of prune (no {MARKER} of edgeprune's in it)")
        check_links(run.path)
        _ = run.config
        return run

    def inputs_words(self) -> str:
        """Return the options that give `edgeprune prune` the same inputs again; '' where there were none."""
        config = self.config
        if config.images is None:
            return ""
        typed = {"images": config.images} | {name: config.options.get(name) for name in OF_IMAGES}
        words = (f"--{name} {shlex.quote(str(value))}" for name, value in typed.items() if value is not None)
        return " ".join(words)

    @classmethod
    def check_free(cls, path: str | Path, *, force: bool = False, inputs: Iterable[str | None] = ()) -> None:
        """Check that `create` may make a run at ``path``; nothing is changed.

        Args:
            path: of the folder.
            force: whether a run may be replaced.
            inputs: paths that are read: they must not lie in a run that is replaced.

        Raises:
            RunError: something is at ``path`` that may not be replaced.
        """
        check_folder_free(Path(path), FILE_RUN, force=force, inputs=inputs)

    @classmethod
    def create(cls, path: str | Path, config: PruneConfig, *, force: bool = False) -> "FileRun":
        """Make the folder with its prune.json.

        Args:
            path: of the folder.
            config: the file, the inputs and all options.
            force: replace an existing run.

        Raises:
            RunError: the folder exists and ``force`` is off, or it may not be replaced.
            StorageError: it cannot be written.
        """
        with folder_aside(Path(path), FILE_RUN, force=force) as aside:
            (aside / "export").mkdir()
            config.write(aside / MARKER)
        return cls(path)

    @property
    def config(self) -> PruneConfig:
        """The file, the inputs and the options."""
        hint = "was it edited, or made by another version of edgeprune?"
        return PruneConfig.read(self.path / MARKER, hint=hint)

    @property
    def is_finished(self) -> bool:
        """Tell whether it has its result."""
        return self.has("summary.json") or self.has("curve.json")

    @property
    def training(self) -> TrainingState:
        """The state of label-free fine-tuning: checkpoints and metrics."""
        return TrainingState(self.path)

    def has(self, name: str) -> bool:
        """Return whether the folder has a file of this name."""
        return (self.path / name).is_file()

    def cut(self, suffix: str) -> Path:
        """Return the place of the network after the cut and the fits.

        Args:
            suffix: of its file.
        """
        return self.path / f"cut{suffix}"

    def save_cut(self, record: CutRecord) -> None:
        """Note what the cut did, after its file was written."""
        record.write(self.path / "cut.json")

    def cut_record(self, suffix: str) -> CutRecord | None:
        """Return what `save_cut` noted; None if the network is yet to be cut.

        Args:
            suffix: of its file.
        """
        path = self.path / "cut.json"
        return CutRecord.read(path) if path.is_file() and self.cut(suffix).is_file() else None

    @property
    def picture(self) -> Path:
        """The plot of the curve."""
        return self.path / "curve.png"

    def save_curve(self, record: CurveRecord) -> None:
        """Write how far the network can go."""
        record.write(self.path / "curve.json")

    def curve(self) -> CurveRecord | None:
        """Return what `save_curve` wrote; None if there is none yet."""
        path = self.path / "curve.json"
        return CurveRecord.read(path) if path.is_file() else None

    def finish(self, summary: PruneSummary) -> None:
        """Write the result and delete the checkpoint."""
        summary.write(self.path / "summary.json")
        self.training.drop_checkpoint()

    def summary(self) -> PruneSummary:
        """Return the result.

        Raises:
            RunError: the run is not finished, or the file is damaged.
        """
        if not self.has("summary.json"):
            raise RunError(
                f"{self.path} is not finished: go on with 'edgeprune prune --run {self.path} --resume'"
            )
        return PruneSummary.read(self.path / "summary.json")


def latest_file_run(runs: Path) -> Path:
    """Return the run of `prune` under ``runs`` that was begun last; raises RunError if there is none."""
    markers = sorted(runs.glob(f"*/{MARKER}"), key=lambda path: path.stat().st_mtime_ns)
    if not markers:
        raise RunError(f"no run of prune under {runs}/ to go on with: name its folder with --run")
    return markers[-1].parent
