"""The smallest network whose metric falls by at most so much: several runs from one baseline, each smaller or larger.

Each network is an ordinary run in points/N of the run folder. They are compared on held-out training images; if the
baseline's weights were given, which may know those, on every second test image. The others confirm the choice. The
chosen one's files become those of the run itself, so that `export`, `bench` and `verify` work on it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from msgspec import UnsetType, structs

from edgeprune import tasks, training
from edgeprune.budget import Target, parse_targets
from edgeprune.data import DataBundle
from edgeprune.errors import TargetError
from edgeprune.processes.progress import ProgressCallback
from edgeprune.records.max_drop import DropPoint, MaxDropRecord
from edgeprune.records.metrics import PairedDrop
from edgeprune.records.runs import Summary
from edgeprune.runs.drop_limits import empty_record, is_within, next_target, smallest_within
from edgeprune.runs.points import FOLDER, adopt, read_max_drop, write_max_drop
from edgeprune.runs.run import Run
from edgeprune.tasks import Metric
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.summary import summarize

ADOPTED = (
    "latency.json",
    "settled.safetensors",
    "pruned.safetensors",
    "model.json",
)  # the chosen run's files
Train = Callable[[Path, TrainPruneOptions, bool, ProgressCallback], Summary]


@dataclass(frozen=True)
class MaxDropSearch:
    """Prunes networks of several sizes from the baseline of a run, and makes the smallest that is good enough its own.

    Attributes:
        run: with its baseline.
        data: of the run.
        options: resolved ones, with a ``max_drop``.
        train: trains the run of one network: called with its folder, its options, whether to resume, and the progress.
        progress: called with (done, total, text).
    """

    run: Run
    data: DataBundle
    options: TrainPruneOptions
    train: Train
    progress: ProgressCallback

    def execute(self) -> Summary:
        """Try networks until the limit is met closely, or as many as there may be; return the summary of the best.

        Raises:
            TargetError: no network keeps to the limit; their runs stay.
        """
        record = self._begun()
        (first,) = parse_targets(self.options.target)
        while (target := next_target(record, first, self.options.points)) is not None:
            record = self._tried(record, target)
            write_max_drop(self.run.path, record)
        chosen = smallest_within(record, self.run.path, advice="raise `max_drop` or `epochs`")
        adopt(self.run.path, self.run.path / chosen.run, ADOPTED)
        summary = summarize(self.run, self.data, replace(self.options, target=chosen.target))
        write_max_drop(
            self.run.path,
            structs.replace(record, chosen=chosen.run, confirmed=self._confirmed(record, summary)),
        )
        self.run.finish(summary)
        return summary

    @property
    def _metric(self) -> Metric:
        return tasks.get(self.options.task).metric

    def _begun(self) -> MaxDropRecord:
        """Return what is known from before, or an empty record."""
        if (record := read_max_drop(self.run.path)) is not None:
            return record
        split = "val" if self.options.weights is None else "test"
        images = self.data.sizes["val"] if split == "val" else (self.data.sizes["test"] + 1) // 2
        notes = []
        if split == "test":
            notes.append(
                "the given weights may know the held-out training images: networks were compared on every second "
                "test image, and the others confirm the choice"
            )
        return empty_record(
            self._metric,
            self.options.max_drop or 0.0,
            self.options.drop_by,
            split=split,
            images=images,
            notes=notes,
        )

    def _tried(self, record: MaxDropRecord, target: Target) -> MaxDropRecord:
        """Return the record with the network of a target, or with its share among those that cannot be reached."""
        number = len(record.points) + 1
        place = self.run.path / FOLDER / str(number)
        self.progress(
            number - 1, self.options.points, f"network {number} of at most {self.options.points}: {target}"
        )
        options = replace(
            self.options, target=str(target), weights=str(self.run.path / "baseline.safetensors"), weights_key=None,
            baseline_epochs=None, baseline_lr=None, max_drop=None, drop_by=None,
        )  # fmt: skip
        begun = (place / "config.json").is_file()
        try:
            summary = self.train(place, options, begun, self.progress)
        except TargetError:
            if begun or number == 1:
                raise
            return structs.replace(record, too_small=(*record.too_small, target.fraction or 0.0))
        return structs.replace(
            record, points=(*record.points, self._judged(record, Run.open(place), summary))
        )

    def _judged(self, record: MaxDropRecord, run: Run, summary: Summary) -> DropPoint:
        """Return the point of a network, compared with the baseline on the held-out images."""
        pair = self._compared(run, record.split, 0 if record.split == "test" else None)
        name = self._metric.name
        return DropPoint(
            run=str(run.path.relative_to(self.run.path)),
            target=summary.target.target,
            got_fraction=summary.target.got_fraction,
            flops_fraction=summary.flops_fraction,
            params_fraction=summary.params_fraction,
            baseline=pair.first[name],
            pruned=pair.second[name],
            drop=pair.drop,
            within=is_within(record, pair.first[name], pair.second[name], pair.drop),
        )

    def _compared(self, run: Run, split: str, half: int | None) -> training.PairedScores:
        """Return the scores of a run's baseline and pruned network."""
        before, after = (run.load(which).to(self.options.device) for which in ("baseline", "pruned"))
        task = tasks.get(self.options.task)
        return training.evaluate_pair(before, after, self.data, split, task, self.options.device, half=half)

    def _confirmed(self, record: MaxDropRecord, summary: Summary) -> PairedDrop | None:
        """Return the chosen network's drop on the test images that did not choose it: all, or every second one."""
        if record.split == "test":
            return self._compared(self.run, "test", 1).drop
        return None if isinstance(summary.drop_interval, UnsetType) else summary.drop_interval
