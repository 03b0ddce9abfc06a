"""Options of a comparison, checked before anything is written. Nothing heavy is imported."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from edgeprune.bench.options import BenchOptions
from edgeprune.errors import TrainError, known
from edgeprune.methods import names
from edgeprune.options.checks import Count
from edgeprune.options.fields import check_fields, like, option
from edgeprune.train_prune.options import TrainPruneOptions

ALL = "all"
MOMENTS = ("start", "epoch:N", "plateau", "end")
MOMENT = re.compile(r"start|plateau|end|epoch:[1-9][0-9]{0,5}")
MOMENT_METHOD = "l1"  # of the moment-of-pruning study: Li et al. 2017, as its source has it


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """One comparison.

    Attributes:
        source: a run folder (its baseline, data and options are used) or a model's name.
        methods: of `edgeprune.methods.names`; ``("all",)`` for all of them.
        moments: empty, or when to prune once, from random weights: "start", "epoch:N", "plateau", "end".
        seeds: how many; they are 0 to seeds - 1.
        training: fields of `TrainPruneOptions` that all rows share.
        latency: whether each row is exported and measured beside the baseline.
        seconds: of timed inference per model, for that.
        study: its name in a storage that workers share.

    Raises:
        TrainError: no methods, an unknown method or moment, or a value that makes no sense; names the field.
    """

    source: str
    methods: tuple[str, ...] = option(
        (), "Compare these methods: names with commas between, or all.", "method", main=True, metavar="NAMES"
    )
    moments: tuple[str, ...] = option(
        (),
        "Prune random weights at each of these moments: start, epoch:N, plateau, end; with commas between.",
        "method",
        main=True,
        metavar="WHEN",
    )
    seeds: int = option(
        3, "Repeat each row with this many seeds: 0, 1, ...", "run", Count(1, 1_000), main=True
    )
    training: dict[str, Any] = field(default_factory=dict)
    latency: bool = option(
        True,
        "Beside what planning for a latency measures, export each row and measure it.",
        "measurement",
        main=True,
    )
    seconds: float = like(BenchOptions, "seconds", 2.0)
    study: str | None = option(
        None, "Name the study in a shared storage.", "run", metavar="NAME", unset="model, data and target"
    )

    @classmethod
    def of(cls, chosen: dict[str, Any]) -> "CompareOptions":
        """Make them from fields of this class and of `TrainPruneOptions` together."""
        if not chosen.get("source"):
            raise TrainError("nothing to prune: say a model's name, such as resnet20, or a run folder")
        own = {field.name for field in fields(cls)}
        training = {name: value for name, value in chosen.items() if name not in own}
        return cls(**{name: value for name, value in chosen.items() if name in own}, training=training)

    @property
    def inputs(self) -> tuple[str | None, ...]:
        """Return the paths that are read, which must not be deleted with a folder that is replaced."""
        return (self.source, *(self.training.get(name) for name in ("weights", "plan", "lut", "data")))

    def __post_init__(self) -> None:
        object.__setattr__(self, "methods", chosen_methods(self.methods, self.moments))
        object.__setattr__(self, "moments", tuple(dict.fromkeys(self.moments)))
        for moment in self.moments:
            if not MOMENT.fullmatch(moment):
                raise TrainError(f"`moments`: {known('moment', moment, list(MOMENTS))}")
        check_fields(self, TrainError)
        for name in ("weights", "weights_key", "baseline_epochs", "baseline_lr") if self.moments else ():
            if self.training.get(name) is not None:
                raise TrainError(f"`moments` trains from random weights: leave `{name}` out")


def chosen_methods(methods: tuple[str, ...], moments: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return each once, in their order; raises TrainError for an unknown one, or none at all."""
    if not methods and moments:
        methods = (MOMENT_METHOD,)
    if not methods:
        raise TrainError(f"no methods: say `methods=all`, or some of {', '.join(names())}")
    if ALL in methods:
        return names()
    for method in methods:
        if method not in names():
            raise TrainError(f"`methods`: {known('method', method, [*names(), ALL])}")
    return tuple(dict.fromkeys(methods))


def split_lists(typed: dict[str, Any]) -> dict[str, Any]:
    """Return options as they were typed, with lists for what is written with commas.

    Raises TrainError for an unknown method, or a name that stands there twice.
    """
    split = dict(typed)
    for name in ("methods", "moments"):
        if name in typed:
            split[name] = listed(typed[name])
            for part in split[name]:
                if split[name].count(part) > 1:
                    raise TrainError(f"`{name}` names {part} twice: name each once")
    if ALL in split.get("methods", ()) and len(split["methods"]) > 1:
        raise TrainError("`methods=all` names every method: leave the others out")
    if split.get("methods"):
        split["methods"] = chosen_methods(split["methods"])
    return split


def check_effect_of(options: CompareOptions, typed: Iterable[str]) -> None:
    """Refuse what was typed and changes no row.

    Args:
        options: of the comparison, as they were typed.
        typed: names of fields of `CompareOptions` and of `TrainPruneOptions`.

    Raises:
        TrainError: names the option and says why it has no effect.
    """
    from edgeprune.train_prune.effects import check_effect

    if "seconds" in typed and not options.latency:
        raise TrainError("`seconds` has no effect with `latency=False`: leave one of them out")
    own = (
        {"moment": options.moments[0], "init": "random", "prune_schedule": "one-shot"}
        if options.moments
        else {}
    )
    training = {name: value for name, value in options.training.items() if value is not None}
    if "data" not in training and Path(options.source).is_dir():
        return  # the run says which data
    rows = [TrainPruneOptions(**{**training, **own, "method": method}) for method in options.methods]
    check_effect(rows, [name for name in typed if name in training])


def listed(text: str | None) -> tuple[str, ...]:
    """Return 'l1, fpgm' as ('l1', 'fpgm')."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())
