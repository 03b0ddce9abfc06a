"""Options of a search, checked before anything is written. Nothing heavy is imported."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from edgeprune.errors import SearchError, TrainError
from edgeprune.methods import criterion_names
from edgeprune.options.bounds import IMAGES, PROPER_SHARE, SEED
from edgeprune.options.checks import Choice, Count
from edgeprune.options.fields import check_fields, option

SAMPLERS = ("gp", "tpe", "random", "uniform", "sensitivity")
STUDIED = ("gp", "tpe", "random")  # those that learn from, or at least repeat, many policies
ROLLBACKS = ("none", "direct", "gradual")
DISTANCES = ("st", "eu", "js")
WALLS = ("scale", "sequential")
FITS = ("kernel", "sequential")


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """One search.

    Attributes:
        training: fields of `TrainPruneOptions`: data, weights, target, device and what a baseline needs.

    Raises:
        SearchError: a value that makes no sense; names the field and says what to do.
    """

    source: str
    training: dict[str, Any] = field(default_factory=dict)
    trials: int = option(200, "Evaluate this many policies.", "method", Count(1, 1_000_000), main=True)
    clusters: int = option(
        3,
        "Let groups of coupled channels share this many variables at first; 0 gives each its own.",
        "method",
        Count(0, 10_000),
    )
    bridge: int = option(
        9,
        "Set the number of clusters in the intermediate stage of a gradual rollback.",
        "method",
        Count(1, 10_000),
    )
    distance: str = option(
        "st",
        "Cluster groups by this distance: {choices}; st compares structures, the others importance distributions.",
        "method",
        Choice(DISTANCES),
        metavar="NAME",
    )
    rollback: str = option(
        "gradual",
        "Return from clusters to one variable a group: {choices}.",
        "method",
        Choice(ROLLBACKS),
        metavar="NAME",
    )
    sampler: str = option(
        "gp", "Propose policies by {choices}.", "method", Choice(SAMPLERS), main=True, metavar="NAME"
    )
    criterion: str = option(
        "l1",
        "Rank the channels of a group by this criterion.",
        "method",
        Choice(criterion_names),
        main=True,
        metavar="NAME",
    )
    wall: str = option(
        "scale", "Bring a policy onto the budget: {choices}.", "method", Choice(WALLS), metavar="NAME"
    )
    reconstruct: str = option(
        "kernel",
        "Fit the next layers in a trial by least squares: {choices}; the best are fitted sequentially at the end.",
        "method",
        Choice(FITS),
        metavar="NAME",
    )
    lowest: float = option(0.1, "Let a policy keep at least this share of a group.", "method", PROPER_SHARE)
    images: int = option(2000, "Judge a policy on this many held-out images.", "measurement", IMAGES)
    calibration: int = option(
        1000, "Reconstruct from this many training images; half as many fit BatchNorm.", "measurement", IMAGES
    )
    final_calibration: int = option(
        4000, "Reconstruct the best policies from this many images at the end.", "measurement", IMAGES
    )
    seed: int = option(0, "Seed the initial design and the sampler.", "run", SEED)
    study: str | None = option(
        None, "Name the study in a shared storage.", "run", metavar="NAME", unset="model, data and target"
    )

    @classmethod
    def of(cls, chosen: dict[str, Any]) -> "SearchOptions":
        """Make them from fields of this class and of `TrainPruneOptions` together."""
        if not chosen.get("source"):
            raise SearchError("nothing to search: say a model's name, such as resnet20, or a run folder")
        own = {field.name for field in fields(cls)}
        training = {name: value for name, value in chosen.items() if name not in own}
        return cls(**{name: value for name, value in chosen.items() if name in own}, training=training)

    def __post_init__(self) -> None:
        check_fields(self, SearchError)
        if self.rollback == "gradual" and self.clusters > 0 and self.bridge <= self.clusters:
            raise SearchError(
                f"`bridge={self.bridge}` must be larger than `clusters={self.clusters}`: raise it, or use "
                "`rollback=direct`"
            )
        if self.training.get("method"):
            raise TrainError("a search has a criterion, not a method: leave `method` out")

    @property
    def idle(self) -> dict[str, str]:
        """Options that change nothing beside the others, each with the reason."""
        if self.sampler not in STUDIED:
            names = ("trials", "clusters", "bridge", "rollback")
            return dict.fromkeys(names, f"`sampler={self.sampler}` does not learn from trials")
        if not self.clustered:
            return dict.fromkeys(("bridge", "rollback"), "`clusters=0` has nothing to roll back")
        if self.rollback != "gradual":
            return {"bridge": f"`rollback={self.rollback}` has no step between"}
        return {}

    @property
    def inputs(self) -> tuple[str | None, ...]:
        """Return the paths that are read, which must not be deleted with a folder that is replaced."""
        return (self.source, *(self.training.get(name) for name in ("weights", "plan", "lut", "data")))

    @property
    def max_drop(self) -> float | None:
        """What the metric may lose, in its unit of display; None for a search for one target."""
        return self.training.get("max_drop")

    @property
    def clustered(self) -> bool:
        """Whether groups share variables at first."""
        return self.clusters > 0 and self.sampler in STUDIED


def check_effect_of(options: SearchOptions, typed: Iterable[str]) -> None:
    """Refuse what was typed and changes nothing.

    Args:
        options: of the search.
        typed: names of fields of `SearchOptions` and of `TrainPruneOptions`.

    Raises:
        TrainError: names the option and says why it has no effect.
    """
    from edgeprune.train_prune.effects import check_effect
    from edgeprune.train_prune.options import TrainPruneOptions

    for name in typed:
        if name in options.idle:
            raise TrainError(f"`{name}` has no effect here: {options.idle[name]}; leave it out")
    training = {name: value for name, value in options.training.items() if value is not None}
    of_run = Path(options.source).is_dir()  # it says which data, unless that is typed
    names = [name for name in training if not of_run or "data" in training or name in ("drop_by", "points")]
    check_effect([TrainPruneOptions(**{**training, "method": "l1"})], names)
