"""The record of a search: its result.json."""

from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from edgeprune.records.base import FileRecord, Record
from edgeprune.records.fields import Amount, Count, Name, Positive, Share, Width
from edgeprune.records.metrics import StoredMetric
from edgeprune.records.times import PlanTimes


class Rewarded(Record, frozen=True, kw_only=True):
    """What a network reached without training.

    Attributes:
        reward: worth of the task's metric on held-out images, higher is better.
        test: the metric on the test images.
    """

    reward: float | None
    test: float | None


class UniformPolicy(Rewarded, frozen=True, kw_only=True):
    """The network whose groups all keep the same share.

    Attributes:
        widths: of each group.
        fractions: kind of cost -> share of the unpruned model's.
    """

    widths: tuple[Positive, ...]
    fractions: Mapping[str, Amount]


class TrialRecord(Record, frozen=True, kw_only=True):
    """A policy that was evaluated.

    Attributes:
        number: of the trial.
        stage: of the search.
        reward: worth of the task's metric on held-out images, higher is better.
        widths: of each group.
        ratios: share that each group keeps.
        fractions: kind of cost -> share of the unpruned model's.
        seconds: that the evaluation took.
        copied_from: number of the trial that evaluated the same widths before.
    """

    number: Count
    stage: str
    reward: float
    widths: tuple[Positive, ...]
    ratios: tuple[Share, ...]
    fractions: Mapping[str, Amount]
    seconds: Amount
    copied_from: Count | None


class TrialAttributes(Struct, frozen=True, kw_only=True):
    """What a study holds of a policy beside its reward; while it is evaluated, only a part.

    Attributes:
        stage: of the search.
        probe: whether it probes a single group.
        widths: of each group.
        ratios: share that each group keeps.
        seconds: that the evaluation took.
        copied: number of the trial that evaluated the same widths before.
    """

    stage: str | None = None
    probe: bool | None = None
    widths: tuple[Width, ...] | None = None
    ratios: tuple[Share, ...] | None = None
    seconds: Amount | None = None
    copied: Count | None = None


class SearchResult(FileRecord, frozen=True, kw_only=True):
    """result.json of `edgeprune search`.

    Attributes:
        source: name of the run or model that was searched.
        model: its name.
        data: name of the data set.
        target: of the search.
        target_fractions: kind of cost -> share of the unpruned model's that the budget allows.
        precision: of the evaluation.
        images: number of held-out images.
        metric: of the task; None in the first versions' results, which are of accuracy.
        plan: file of the best plan.
        next: the command that trains it.
        sampler: of policies.
        wall: mode of the projection onto the budget.
        reconstruct: how the layers of a policy are fitted.
        criterion: that ranks the channels of a group.
        seed: of the search.
        clusters: number of clusters to begin with; None without them, as for ``rollback``, ``distance``, ``bridge``.
        rollback: how variables go from clusters to groups.
        distance: by which groups are clustered.
        bridge: number of clusters in the intermediate stage.
        trials_asked: number of evaluations.
        groups: names of those that may be pruned.
        sizes: their full widths.
        links: of the dendrogram, a row for each merge.
        baseline: the unpruned model.
        uniform: equal ratios.
        best_test: the task's metric of the best policy on the test images.
        measured: the best plan on the device; None without a latency target.
        notes: on what was asked and could not be done.
        seconds_per_trial: median of the evaluations.
        best: the policy with the highest reward.
        trials: in their order.
        versions: package -> version.
        machine: that evaluated.
        pictures: files of the plots.
        pictures_reason: why there are none.
    """

    source: Name
    model: Name
    data: Name
    target: str
    target_fractions: Mapping[str, Amount]
    precision: str
    images: Count
    metric: StoredMetric | None = None
    plan: str
    next: str
    sampler: str
    wall: str
    reconstruct: str = "kernel"
    criterion: str
    seed: int
    clusters: Positive | None
    rollback: str | None
    distance: str | None
    bridge: Positive | None
    trials_asked: Count
    groups: tuple[str, ...]
    sizes: tuple[Positive, ...]
    links: tuple[tuple[float, ...], ...]
    baseline: Rewarded
    uniform: UniformPolicy | None
    best_test: float | None
    measured: PlanTimes | None
    notes: tuple[str, ...]
    seconds_per_trial: Amount | None
    best: TrialRecord
    trials: tuple[TrialRecord, ...]
    versions: Mapping[str, str]
    machine: Mapping[str, Any]
    pictures: tuple[str, ...] = ()
    pictures_reason: str | None = None
