"""The records of a run that prunes a finished network."""

from collections.abc import Mapping
from typing import Annotated, Any

from msgspec import UNSET, Meta, UnsetType

from edgeprune.records.base import FileRecord, Record
from edgeprune.records.fields import Amount, Count, Digest, Name, Positive, Share, Steps
from edgeprune.records.times import PlanTimes


class PruneConfig(FileRecord, frozen=True, kw_only=True):
    """prune.json; its options are checked where they are used.

    Attributes:
        options: all of them, by name.
        model: the file or the model, as the user named it.
        source: what was typed of a torch network that is pruned itself; None for a file.
        sha256: of the file; of the network as ONNX.
        images: place of the inputs; None to prune by weights alone.
        out: where the smaller file is written beside the run; None for the run alone.
        external: constants that the file keeps in a file of their own.
        versions: package -> version.
    """

    options: Mapping[str, Any]
    model: Name
    source: Mapping[str, Any] | None = None
    sha256: Digest
    images: Name | None
    out: Name | None
    external: tuple[str, ...] = ()
    versions: Mapping[str, str] = {}


class Agreement(Record, frozen=True, kw_only=True):
    """How far two networks give the same on the same inputs.

    Attributes:
        top1: fraction of inputs of which both name the same class; None where the output is no vector of classes.
        relative_error: squared difference of all outputs, as a fraction of their variance over the inputs.
        inputs: number of inputs.
    """

    top1: Share | None
    relative_error: Amount
    inputs: Positive

    @property
    def loss(self) -> float:
        """The share of inputs that change their class, or the relative error where there are no classes."""
        return self.relative_error if self.top1 is None else 1 - self.top1

    def __str__(self) -> str:
        error = f"relative error {self.relative_error:.4f}"
        return error if self.top1 is None else f"top-1 agreement {100 * self.top1:.2f} %, {error}"


NEARLY_ALL = 0.9  # of the inputs keep their class


def error_line(agreement: Agreement) -> str:
    """Return what the relative error is of, and what it says where a network names classes."""
    line = (
        "relative error: squared difference from the original's outputs, over their variance on these inputs"
    )
    if agreement.top1 is None:
        return line
    if agreement.relative_error <= 1 or agreement.top1 < NEARLY_ALL:
        return f"{line}; the top-1 agreement says more of a classifier"
    return (
        f"{line}; above 1 these outputs hardly differ from input to input, and even the top-1 agreement says little: "
        "are the inputs what the network was made for, with its scale, mean and std?"
    )


class HeldOut(Agreement, frozen=True, kw_only=True):
    """How far the pruned network agrees with the original on held-out inputs after a step."""

    step: Name


class CutRecord(FileRecord, frozen=True, kw_only=True):
    """cut.json: the file was cut and fitted.

    Attributes:
        target: that it was cut to.
        held_out: the agreement after each step.
        fit: that the file has; "none" where fits made it worse.
        flops: of the original and of the smaller network.
        seconds: that it took.
        protected_channels: reason -> number of channels that are kept for it.
        notes: what was asked and could not be done.
        times: what a device's budget measured.
    """

    target: Name
    held_out: tuple[HeldOut, ...]
    fit: Name
    flops: tuple[Count, Count]
    seconds: Amount
    protected_channels: Mapping[str, Count]
    notes: tuple[str, ...]
    times: Mapping[str, Any] | None = None


class CurvePoint(Agreement, frozen=True, kw_only=True):
    """One network of a curve, by what remains of the original's FLOPs and latency."""

    flops_fraction: Amount
    latency_fraction: Amount | None


class CurveRecord(FileRecord, frozen=True, kw_only=True):
    """curve.json: how far a network can go."""

    model: Name
    points: tuple[CurvePoint, ...]
    notes: tuple[str, ...] = ()


class SizedModel(Record, frozen=True, kw_only=True):
    """One network of a summary.

    Attributes:
        params: floating-point numbers of its constants.
        flops: of one input where the file takes any number of them, else of the batch that it was exported for.
        size_bytes: of the file.
        accuracy: on labelled images, where there are any.
        test_images: number of them.
    """

    params: Count
    flops: Count
    size_bytes: Positive
    accuracy: Share | UnsetType = UNSET
    test_images: Positive | UnsetType = UNSET


class SizedModels(Record, frozen=True):
    """Both networks of a summary."""

    baseline: SizedModel
    pruned: SizedModel


class LearnedRecord(Record, frozen=True, kw_only=True):
    """What label-free fine-tuning did.

    Attributes:
        epochs: over the inputs.
        inputs: number that it learned from.
        precision: that both networks computed in; older files lack it, and were in fp32.
        norms: BatchNorms that were trained, most of them beside convolutions that an exporter had folded them into.
        untrained: constants of the file that learn nothing: a node that ONNX Runtime runs alone reads or follows them.
        kept: whether the weights that were learned are those of the result: not where they agree less.
    """

    epochs: Steps
    inputs: Positive
    precision: Name | UnsetType = UNSET
    norms: Count = 0
    untrained: tuple[str, ...] = ()
    kept: bool = True


class FileTimes(PlanTimes, frozen=True, kw_only=True):
    """Latencies of both files, measured in turn, and the conditions of that."""

    conditions: Mapping[str, Any]


class PruneSummary(FileRecord, frozen=True, kw_only=True):
    """summary.json: what was done to a file.

    Attributes:
        model: the file, as the user named it.
        out: the smaller file.
        target: that it was pruned to.
        inputs: note on them; None where it was pruned by weights alone.
        models: sizes of both.
        accuracy_drop: what the smaller file lost on labelled images, where there are any.
        params_fraction: of the parameters that remain.
        flops_fraction: of the FLOPs that remain.
        held_out: the agreement after each step.
        fit: that the file has; "none" where fits made it worse.
        distilled: what label-free fine-tuning did; None without it.
        latency: of both files on the device that widths were chosen for.
        seconds: that it took.
        protected_channels: reason -> number of channels that are kept for it.
        notes: what was asked and could not be done.
        warnings: what costs accuracy.
    """

    model: Name
    out: Name
    target: Name
    inputs: str | None
    models: SizedModels
    accuracy_drop: Annotated[float, Meta(ge=-1, le=1)] | UnsetType = UNSET
    params_fraction: Amount
    flops_fraction: Amount
    held_out: tuple[HeldOut, ...]
    fit: Name
    distilled: LearnedRecord | None = None
    latency: FileTimes | None = None
    seconds: Amount
    protected_channels: Mapping[str, Count] = {}
    notes: tuple[str, ...]
    warnings: tuple[str, ...]
