"""The smallest network whose metric falls by at most so much: several runs from one baseline, each smaller or larger.

Each network is an ordinary run in points/N of the run folder. They are compared on held-out training images; if the
baseline's weights were given, which may know those, on every second test image. The others confirm the choice. The
chosen one's files become those of the run itself, so that `export`, `bench` and `verify` work on it.
"""

import math
from collections.abc import Callable, Mapping
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
from edgeprune.runs.points import FOLDER, adopt, read_max_drop, write_max_drop
from edgeprune.runs.run import Run
from edgeprune.tasks import Metric
from edgeprune.tasks.paired import half_width_expected
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.summary import summarize

STRIDE = 1.6  # between shares while all networks so far keep to the limit
CLOSE = 1.04  # ratio of a share that keeps to it and one that does not, from which on no further one is tried
Train = Callable[[Path, TrainPruneOptions, bool, ProgressCallback], Summary]


def next_share(tried: Mapping[float, bool], first: float) -> float | None:
    """Return the share to be tried next; None where the last two are close enough.

    Args:
        tried: whether the network keeps to the limit, by the share that it was pruned to.
        first: share of the first network.
    """
    if not tried:
        return first
    smallest = min((share for share, within in tried.items() if within), default=1.0)
    largest_below = max(
        (share for share, within in tried.items() if not within and share < smallest), default=None
    )
    if largest_below is None:
        return round(smallest / STRIDE, 3)
    if smallest / largest_below < CLOSE:
        return None
    return round(math.sqrt(smallest * largest_below), 3)


def judged_by(options: TrainPruneOptions, images: int, metric: Metric) -> str:
    """Return what is held against the limit: the interval, unless these images can hardly ever prove so little.

    Args:
        options: with a ``max_drop``.
        images: held out.
        metric: of the task.
    """
    if options.drop_by is not None:
        return options.drop_by
    limit = (options.max_drop or 0.0) / metric.scale
    return "interval" if metric.unit != "%" or half_width_expected(images) < limit else "estimate"


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
        while (share := self._next(record)) is not None:
            record = self._tried(record, share)
            write_max_drop(self.run, record)
        chosen = self._chosen(record)
        adopt(self.run, Run.open(self.run.path / chosen.run))
        summary = summarize(self.run, self.data, replace(self.options, target=chosen.target))
        write_max_drop(
            self.run, structs.replace(record, chosen=chosen.run, confirmed=self._confirmed(record, summary))
        )
        self.run.finish(summary)
        return summary

    @property
    def _metric(self) -> Metric:
        return tasks.get(self.options.task).metric

    def _begun(self) -> MaxDropRecord:
        """Return what is known from before, or an empty record."""
        if (record := read_max_drop(self.run)) is not None:
            return record
        split = "val" if self.options.weights is None else "test"
        images = self.data.sizes["val"] if split == "val" else (self.data.sizes["test"] + 1) // 2
        by = judged_by(self.options, images, self._metric)
        notes = []
        if split == "test":
            notes.append(
                "the given weights may know the held-out training images: networks were compared on every second "
                "test image, and the others confirm the choice"
            )
        if by == "estimate":
            notes.append(
                f"{images} images cannot prove a drop of at most {self._limit_text()}: networks were judged by "
                "the drop itself, not by its interval"
            )
        limit = self.options.max_drop or 0.0
        return MaxDropRecord(
            metric=self._metric.record(),
            max_drop=limit,
            drop_by=by,
            split=split,
            images=images,
            notes=tuple(notes),
        )

    def _limit_text(self) -> str:
        return f"{self.options.max_drop:g} {self._metric.unit_of_changes}".rstrip()

    def _next(self, record: MaxDropRecord) -> float | None:
        """Return the share to be tried next; None when the search is over."""
        if len(record.points) >= self.options.points:
            return None
        (first,) = parse_targets(self.options.target)
        tried = {_share(point.target): point.within for point in record.points}
        return next_share({**tried, **dict.fromkeys(record.too_small, False)}, first.fraction or 0.5)

    def _tried(self, record: MaxDropRecord, share: float) -> MaxDropRecord:
        """Return the record with the network of a share, or with the share among those that cannot be reached."""
        number = len(record.points) + 1
        (first,) = parse_targets(self.options.target)
        target = str(Target(first.kind, share, sustained=first.sustained))
        place = self.run.path / FOLDER / str(number)
        self.progress(
            number - 1, self.options.points, f"network {number} of at most {self.options.points}: {target}"
        )
        options = replace(
            self.options, target=target, weights=str(self.run.path / "baseline.safetensors"), weights_key=None,
            baseline_epochs=None, baseline_lr=None, max_drop=None, drop_by=None,
        )  # fmt: skip
        begun = (place / "config.json").is_file()
        try:
            summary = self.train(place, options, begun, self.progress)
        except TargetError:
            if begun or number == 1:
                raise
            return structs.replace(record, too_small=(*record.too_small, share))
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
            within=self._is_within(record, pair.drop, pair.first[name], pair.second[name]),
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

    def _is_within(self, record: MaxDropRecord, drop: PairedDrop | None, before: float, after: float) -> bool:
        """Return whether a drop keeps to the limit."""
        metric = self._metric
        limit = record.max_drop / metric.scale
        if record.drop_by == "interval":
            return drop is not None and drop.high <= limit
        # Shares of images are not exact: 0.9 - 0.89 is more than 0.01.
        return metric.worth(before) - metric.worth(after) <= limit + 1e-9

    def _chosen(self, record: MaxDropRecord) -> DropPoint:
        """Return the smallest network that keeps to the limit.

        Raises:
            TargetError: there is none; says which was nearest.
        """
        within = [point for point in record.points if point.within]
        if within:
            return min(within, key=lambda point: (_share(point.target), point.run))
        nearest = min(
            record.points,
            key=lambda point: self._metric.worth(point.baseline) - self._metric.worth(point.pruned),
        )
        change = self._metric.change(nearest.baseline, nearest.pruned)
        raise TargetError(
            f"none of {len(record.points)} networks keeps within {self._limit_text()} on {record.images} "
            f"images; nearest is {self.run.path / nearest.run} ({nearest.target}: {change}{self._doubt(nearest)}): "
            "raise `max_drop` or `epochs`"
        )

    def _doubt(self, point: DropPoint) -> str:
        if point.drop is None:
            return ""
        scale, drop = self._metric.scale, point.drop
        return f", drop of up to {scale * drop.high:.2f} at {100 * drop.confidence:.0f} % confidence"


def _share(target: str) -> float:
    """Return the share of a point's target."""
    return Target.parse(target).fraction or 0.0
