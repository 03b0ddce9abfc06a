"""What pruning a file did, as JSON and as rows of text."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from edgeprune.post_training.agreement import Agreement


@dataclass(frozen=True)
class Step:
    """How far the pruned network gives what the original does on held-out inputs, after one of the steps."""

    name: str
    agreement: Agreement

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {"step": self.name, **self.agreement.to_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Step":
        """Return what `to_dict` wrote."""
        agreement = Agreement(record["top1"], record["relative_error"], record["inputs"])
        return cls(record["step"], agreement)


@dataclass(frozen=True)
class Sizes:
    """Parameters, FLOPs and bytes of one network.

    FLOPs are of one input where the file takes any number of them, else of the batch that it was exported for.
    """

    params: int
    flops: int
    size_bytes: int


@dataclass(frozen=True)
class Learned:
    """What label-free fine-tuning did.

    Attributes:
        epochs: over the inputs.
        inputs: number that it learned from.
        norms: BatchNorms that were trained, most of them beside convolutions that an exporter had folded them into.
        untrained: constants of the file that learn nothing: a node that ONNX Runtime runs alone reads or follows them.
        kept: whether the weights that were learned are those of the result: not where they agree less.
    """

    epochs: int
    inputs: int
    norms: int
    untrained: tuple[str, ...] = ()
    kept: bool = True

    def dropped(self) -> "Learned":
        """Return this for weights that are not used, since the fitted ones agree more."""
        return replace(self, kept=False)

    def line(self) -> str:
        """Return it as one row of text."""
        what = f"learned from {self.inputs} inputs for {self.epochs} epochs"
        if self.untrained:
            names = ", ".join(self.untrained[:3]) + (", ..." if len(self.untrained) > 3 else "")
            what += f"; {len(self.untrained)} weights cannot learn, since no gradient reaches them ({names})"
        return what if self.kept else f"{what}; the fitted weights agree more and were kept"


@dataclass(frozen=True)
class Accuracy:
    """The accuracy of both networks on labelled images."""

    baseline: float
    pruned: float
    images: int


@dataclass(frozen=True)
class Result:
    """What was done to a file; ``latency`` is that of both files on the device that widths were chosen for."""

    model: str
    out: str
    target: str
    inputs: str | None
    baseline: Sizes
    pruned: Sizes
    steps: tuple[Step, ...]
    fit: str
    seconds: float
    learned: Learned | None = None
    latency: dict[str, Any] | None = None
    accuracy: Accuracy | None = None
    protected: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        models = {"baseline": asdict(self.baseline), "pruned": asdict(self.pruned)}
        scored: dict[str, Any] = {}
        if self.accuracy is not None:
            for name, model in models.items():
                model |= {"accuracy": getattr(self.accuracy, name), "test_images": self.accuracy.images}
            scored["accuracy_drop"] = self.accuracy.baseline - self.accuracy.pruned
        return {
            "schema": 1,
            "model": self.model,
            "out": self.out,
            "target": self.target,
            "inputs": self.inputs,
            "models": models,
            **scored,
            "params_fraction": self.pruned.params / max(1, self.baseline.params),
            "flops_fraction": self.pruned.flops / max(1, self.baseline.flops),
            "held_out": [step.to_dict() for step in self.steps],
            "fit": self.fit,
            "distilled": None if self.learned is None else asdict(self.learned),
            "latency": self.latency,
            "seconds": round(self.seconds, 3),
            "protected_channels": self.protected,
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }


def result_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return a result's JSON as rows of text."""
    lines = [] if summary["inputs"] is None else [f"inputs: {summary['inputs']}"]
    for step in map(Step.from_dict, summary["held_out"]):
        lines.append(f"{step.name}: {step.agreement} on {step.agreement.inputs} held-out inputs")
    if summary["distilled"] is not None:
        lines.append(Learned(**summary["distilled"]).line())
    before, after = summary["models"]["baseline"], summary["models"]["pruned"]
    if "accuracy" in before:
        drop = 100 * summary["accuracy_drop"]
        lines.append(
            f"accuracy {100 * before['accuracy']:.2f} % -> {100 * after['accuracy']:.2f} % ({-drop:+.2f} points) on "
            f"{before['test_images']} labelled images"
        )
    for name, key in (("FLOPs", "flops"), ("parameters", "params"), ("bytes", "size_bytes")):
        lines.append(f"{name} {before[key]:,} -> {after[key]:,} ({after[key] / max(before[key], 1):.3f})")
    if summary["latency"] is not None:
        lines.append(latency_line(summary["latency"]))
    lines += [f"kept: {count} channels ({reason})" for reason, count in summary["protected_channels"].items()]
    return [*lines, *summary["notes"]]


def latency_line(latency: Mapping[str, Any]) -> str:
    """Return the latencies of both files as one row of text."""
    value, low, high = latency["speedup"]
    device = latency["conditions"]["device"]
    return (
        f"on {device}: {latency['baseline_ms']:.4g} ms -> {latency['pruned_ms']:.4g} ms, "
        f"{value:.3f} times as fast ({low:.3f} to {high:.3f})"
    )
