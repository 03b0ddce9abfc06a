"""What a comparison is asked for, checked before anything is written."""

import re
from dataclasses import dataclass, field, fields
from typing import Any

from edgeprune.bench import BenchOptions
from edgeprune.devices import load_device
from edgeprune.errors import TrainError, known
from edgeprune.recipe import METHODS, dashed

ALL = "all"
MOMENTS = ("start", "epoch:N", "plateau", "end")
MOMENT = re.compile(r"start|plateau|end|epoch:[1-9]\d*")
MOMENT_METHOD = "l1"  # of the moment-of-pruning study: Li et al. 2017, as its source has it


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """One comparison.

    Attributes:
        source: a run folder (its baseline, data and options are used) or a model's name.
        methods: of `edgeprune.recipe.METHODS`; ``("all",)`` for all of them.
        moments: empty, or when to prune once, from random weights: "start", "epoch:N", "plateau", "end".
        seeds: how many; they are 0 to seeds - 1.
        training: fields of `TrainPruneOptions` that all rows share.
        latency: whether each row is exported and measured beside the baseline.
        seconds: of timed inference per model, for that.

    Raises:
        TrainError: no methods, an unknown method or moment, no seeds. BenchError: ``seconds`` is none.
    """

    source: str
    methods: tuple[str, ...] = ()
    moments: tuple[str, ...] = ()
    seeds: int = 3
    training: dict[str, Any] = field(default_factory=dict)
    latency: bool = True
    seconds: float = 2.0

    @classmethod
    def of(cls, asked: dict[str, Any]) -> "CompareOptions":
        """From fields of this class and of `TrainPruneOptions` together."""
        if not asked.get("source"):
            raise TrainError("nothing to prune: say a model's name, such as resnet20, or a run folder")
        own = {field.name for field in fields(cls)}
        training = {name: value for name, value in asked.items() if name not in own}
        return cls(**{name: value for name, value in asked.items() if name in own}, training=training)

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", chosen_methods(self.methods, self.moments))
        object.__setattr__(self, "moments", tuple(dict.fromkeys(self.moments)))
        for moment in self.moments:
            if not MOMENT.fullmatch(moment):
                raise TrainError(known("moment", moment, list(MOMENTS)))
        if self.seeds < 1:
            raise TrainError(f"--seeds must be at least 1, not {self.seeds}")
        for name in ("weights", "baseline_epochs", "baseline_lr") if self.moments else ():
            if self.training.get(name) is not None:
                raise TrainError(f"--moments trains from random weights: leave --{dashed(name)} out")
        BenchOptions(load_device("cpu"), seconds=self.seconds)


def chosen_methods(methods: tuple[str, ...], moments: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Each once, in the order given; raises TrainError for an unknown one, or none at all."""
    if not methods and moments:
        methods = (MOMENT_METHOD,)
    if not methods:
        raise TrainError(f"no methods: say --methods all, or some of {', '.join(METHODS)}")
    if ALL in methods:
        return tuple(METHODS)
    for method in methods:
        if method not in METHODS:
            raise TrainError(known("method", method, [*METHODS, ALL]))
    return tuple(dict.fromkeys(methods))


def asked(typed: dict[str, Any]) -> dict[str, Any]:
    """Options as they were typed, with lists for what is written with commas.

    Raises TrainError for an unknown method.
    """
    found = dict(typed)
    for name in ("methods", "moments"):
        if name in typed:
            found[name] = listed(typed[name])
    if found.get("methods"):
        found["methods"] = chosen_methods(found["methods"])
    return found


def listed(text: str | None) -> tuple[str, ...]:
    """'l1, fpgm' as ('l1', 'fpgm')."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
