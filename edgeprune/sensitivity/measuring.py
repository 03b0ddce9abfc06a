"""Measure what each group's channels are worth: remove a share exactly, evaluate the smaller network, repeat."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from edgeprune.data import Batch
from edgeprune.errors import RunError
from edgeprune.files.locks import held
from edgeprune.files.paths import explained
from edgeprune.graph.classes import Graph
from edgeprune.graph.groups import shares_of_groups
from edgeprune.graph.plan import Plan
from edgeprune.importance import needs_batches, score
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.sensitivity import SensitiveGroup, SensitivityPoint, SensitivityRecord
from edgeprune.reporting.rows import percent
from edgeprune.rewrite.compaction import compact
from edgeprune.sensitivity.options import SensitivityOptions
from edgeprune.sensitivity.subject import SensitivitySubject
from edgeprune.training import score_of

FILE = "sensitivity.json"
HINT = "remove it, and measure again"


@dataclass(frozen=True)
class Removal:
    """A share of one of the tied groups.

    Attributes:
        group: its name.
        share: of its channels.
        removed: decisions.
        keep: (classes,) mask of what is kept.
    """

    group: str
    share: float
    removed: int
    keep: NDArray[np.bool_]


def measure_sensitivity(
    subject: SensitivitySubject,
    options: SensitivityOptions | None = None,
    progress: ProgressCallback = no_progress,
) -> SensitivityRecord:
    """Return the metric without each share of each group, and write it into the subject's folder after every point.

    What an interrupted measurement of the same network, images and order of channels left is gone on with.

    Args:
        subject: the network and its images.
        options: shares, images, criterion.
        progress: called with (done, total, text) in points.

    Raises:
        RunError: the file that is there is damaged. PlanError: there is no such criterion, or it needs other data.
        InUseError: another process measures there.
    """
    options = options or SensitivityOptions()
    batches = subject.scoring_batches if needs_batches(options.criterion) else None
    with explained(subject.folder):
        subject.folder.mkdir(parents=True, exist_ok=True)
    path = subject.folder / FILE
    with held(subject.folder):
        progress(0, 1, f"scoring channels by {options.criterion}")
        scores = score(subject.graph, options.criterion, batches=batches)
        images = subject.images(options.images)
        record = _begun(path, subject, options, images)
        known = {(point.group, point.share): point for point in record.points}
        removals = list(removals_of(subject.graph, scores, options.removed_shares))
        for number, removal in enumerate(removals):
            if (removal.group, removal.share) in known:
                continue
            progress(number, len(removals), f"{removal.group} without {percent(removal.share, 0)}")
            point = _point(subject, removal, images)
            record = msgspec.structs.replace(record, points=(*record.points, point))
            record.write(path)
        record = msgspec.structs.replace(record, complete=True)
        record.write(path)
        progress(len(removals), len(removals), "sensitivity measured")
    return record


def removals_of(graph: Graph, scores: NDArray[np.float64], shares: tuple[float, ...]) -> Iterator[Removal]:
    """Yield what is removed: of each of the tied groups the lowest-scored channels, at least one and never all.

    Args:
        graph: of the network.
        scores: (classes,), higher is more important.
        shares: of a group's channels, ascending.
    """
    for share in shares:  # the table's first column is complete first
        for tied in graph.tied_groups:
            levels = tied.levels(scores)
            removed = min(len(levels) - 1, max(1, round(share * len(levels))))
            if removed > 0:
                keep = np.ones(graph.classes, dtype=bool)
                keep[levels[len(levels) - removed :].reshape(-1)] = False
                yield Removal(tied.groups[0].name, share, removed, keep)


def read_sensitivity(folder: Path) -> SensitivityRecord | None:
    """Return what was measured in a folder; None where nothing was.

    Raises:
        RunError: the file is damaged.
    """
    path = folder / FILE
    return SensitivityRecord.read(path, error=RunError, hint=HINT) if path.is_file() else None


def _begun(
    path: Path, subject: SensitivitySubject, options: SensitivityOptions, images: list[Batch]
) -> SensitivityRecord:
    """Return the record to go on with: of these conditions, or a new one with the unpruned network's value."""
    count = sum(len(x) for x, _ in images)
    conditions = {**subject.conditions(), "criterion": options.criterion, "images": str(count)}
    stored = read_sensitivity(path.parent)
    shares = options.removed_shares
    if stored is not None and dict(stored.conditions) == conditions:
        return msgspec.structs.replace(stored, shares=shares, complete=False)
    graph = subject.graph
    together = [tied.groups for tied in graph.tied_groups]
    flops = shares_of_groups(graph.groups, graph.by_widths("flops"), together)
    groups = tuple(
        SensitiveGroup(tied.groups[0].name, tied.size, share)
        for tied, share in zip(graph.tied_groups, flops, strict=True)
    )
    baseline = score_of(graph.model, images, subject.task)
    return SensitivityRecord(
        subject.title,
        conditions,
        subject.split,
        count,
        subject.task.metric.record(),
        baseline,
        groups,
        shares,
    )


def _point(subject: SensitivitySubject, removal: Removal, images: list[Batch]) -> SensitivityPoint:
    """Cut the network and evaluate it."""
    graph = subject.graph
    done = compact(graph, Plan.of(graph, removal.keep))
    keep = done.plan.keep
    return SensitivityPoint(
        removal.group,
        removal.share,
        removal.removed,
        score_of(done.model, images, subject.task),
        graph.flops(keep) / graph.flops(),
        graph.params(keep) / graph.params(),
    )
