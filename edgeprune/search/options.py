"""What a search is asked for, checked before anything is written."""

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from edgeprune.errors import SearchError, TrainError, known
from edgeprune.importance import CRITERIA
from edgeprune.methods import dashed
from edgeprune.options.bounds import check_count, check_quantity
from edgeprune.reconstruct import SEQUENTIAL_IMAGES
from edgeprune.search.evaluate import FITS
from edgeprune.train_prune.effects import check_effect
from edgeprune.train_prune.options import TrainPruneOptions

SAMPLERS = ("gp", "tpe", "random", "uniform", "sensitivity")
STUDIED = ("gp", "tpe", "random")  # those that learn from, or at least repeat, many policies
ROLLBACKS = ("none", "direct", "gradual")
DISTANCES = ("eu", "js", "st")
WALLS = ("sequential", "scale")


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """One search.

    Attributes:
        source: a run folder (its baseline, data and options are used) or a model's name.
        training: fields of `TrainPruneOptions`: data, weights, target, device and what a baseline needs.
        trials: policies that are evaluated.
        clusters: groups of coupled channels share so many variables at first; 0 gives each its own.
        bridge: of a gradual rollback, how many after its first step.
        distance: between importance distributions: "eu", "js"; or "st", between structural features.
        rollback: "none", "direct" (to a variable for each group) or "gradual" (by way of ``bridge``).
        sampler: one of `SAMPLERS`.
        criterion: by which a group's channels are ranked, and whose distributions are compared.
        wall: how a policy is brought onto the budget: see `edgeprune.search.wall`.
        reconstruct: how the layers after a removal are fitted in a trial, 'kernel' or 'sequential'; see
            `edgeprune.reconstruct`. In the end it is 'sequential'.
        lowest: the least share of a group that a policy may ask to keep.
        images: that a policy is judged on, held out of the training split.
        calibration: training images for reconstruction; half as many for BatchNorm's statistics.
        final_calibration: the same in the end, for the policies that test images are shown.
        seed: of the initial design and of the sampler.
        study: the study's name in a shared storage; None for one made of model, data and target.

    Raises:
        SearchError: a value that makes no sense, with what to do.
    """

    source: str
    training: dict[str, Any] = field(default_factory=dict)
    trials: int = 200
    clusters: int = 3
    bridge: int = 9
    distance: str = "st"
    rollback: str = "gradual"
    sampler: str = "gp"
    criterion: str = "l1"
    wall: str = "scale"
    reconstruct: str = "kernel"
    lowest: float = 0.1
    images: int = 2000
    calibration: int = 1000
    final_calibration: int = SEQUENTIAL_IMAGES
    seed: int = 0
    study: str | None = None

    @classmethod
    def of(cls, asked: dict[str, Any]) -> "SearchOptions":
        """From fields of this class and of `TrainPruneOptions` together."""
        if not asked.get("source"):
            raise SearchError("nothing to search: say a model's name, such as resnet20, or a run folder")
        own = {field.name for field in fields(cls)}
        training = {name: value for name, value in asked.items() if name not in own}
        return cls(**{name: value for name, value in asked.items() if name in own}, training=training)

    def __post_init__(self) -> None:
        choices = {"sampler": SAMPLERS, "rollback": ROLLBACKS, "distance": DISTANCES, "wall": WALLS}
        choices["reconstruct"] = FITS
        for name, allowed in {**choices, "criterion": tuple(CRITERIA)}.items():
            if getattr(self, name) not in allowed:
                raise SearchError(known(name, getattr(self, name), list(allowed)))
        for name in ("trials", "clusters", "bridge", "images", "calibration", "final_calibration", "seed"):
            check_count(name, getattr(self, name), SearchError)
        check_quantity("lowest", self.lowest, SearchError)
        if not 0 < self.lowest < 1:
            raise SearchError(f"--lowest is a share of channels, above 0 and below 1, not {self.lowest}")
        if self.rollback == "gradual" and self.clusters > 0 and self.bridge <= self.clusters:
            raise SearchError(
                f"--bridge {self.bridge} is no step on from --clusters {self.clusters}: make it larger, or "
                "use --rollback direct"
            )
        if self.training.get("method"):
            raise TrainError("a search has a criterion, not a method: leave --method out")

    @property
    def idle(self) -> dict[str, str]:
        """Options that change nothing beside the others, each with the reason."""
        if self.sampler not in STUDIED:
            names = ("trials", "clusters", "bridge", "rollback")
            return dict.fromkeys(names, f"--sampler {self.sampler} does not learn from trials")
        if not self.clustered:
            return dict.fromkeys(("bridge", "rollback"), "--clusters 0 has nothing to roll back")
        if self.rollback != "gradual":
            return {"bridge": f"--rollback {self.rollback} has no step between"}
        return {}

    @property
    def inputs(self) -> tuple[str | None, ...]:
        """Return the paths that are read, which must not be deleted with a folder that is replaced."""
        return (self.source, *(self.training.get(name) for name in ("weights", "plan", "lut", "data")))

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
    for name in typed:
        if name in options.idle:
            raise TrainError(f"--{dashed(name)} has no effect here: {options.idle[name]}; leave it out")
    if "data" in options.training or not Path(options.source).is_dir():  # else the run says which data
        training = {name: value for name, value in options.training.items() if value is not None}
        check_effect([TrainPruneOptions(**{**training, "method": "l1"})], [*training])
