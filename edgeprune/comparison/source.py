"""A run folder, or a model's name -> the training options that all rows share."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeprune.data import data_names
from edgeprune.errors import RunError, TrainError
from edgeprune.methods import dashed
from edgeprune.records.trust import check_options
from edgeprune.runs.run import Run
from edgeprune.train_prune.effects import typed_options
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import same_option, stored_options

# Of a run, what belongs to its own way of pruning, or to its baseline, which is trained already.
OWN = (
    "method", "plan", "seed", "weights", "weights_key", "baseline_epochs", "baseline_lr",
    "prune_schedule", "prune_steps", "moment", "init",
)  # fmt: skip
PATHS = ("data", "weights", "data_root")
# A run brings these.
FIXED = ("data", "weights", "weights_key", "image_size", "baseline_epochs", "baseline_lr")


def shared_training(source: str, given: dict[str, Any], *, needs_baseline: bool = True) -> dict[str, Any]:
    """Fields of `TrainPruneOptions` for all rows: those typed for the run, changed by those ``given``.

    What the run filled in for itself is left open, so that each row fills it in for its own method.

    Raises:
        RunError: no run folder, one without a baseline, or one of another version.
        TrainError: something is given that the run brings.
    """
    given = anchored(given)
    if not Path(source).is_dir():
        return {"model": source, **given}
    run = Run.open(source)
    for name in FIXED:
        if name in given:
            raise TrainError(f"{source} is a run folder, which defines it: leave --{dashed(name)} out")
    training = _options_of(run)
    check_options({**training, **given}, run.path)
    if {"epochs", "batch_size"} & given.keys():
        training.pop("prune_iterations", None)  # it was chosen for the run's number of steps
    if needs_baseline:
        training["weights"] = str(_baseline(run))
    return {**training, **given}


def anchored(training: dict[str, Any]) -> dict[str, Any]:
    """The same with paths that hold from any folder, since a comparison may be gone on with from another.

    What does not exist stays as it was typed, for the message that will say so.
    """
    names = [name for name in PATHS if training.get(name)]
    if training.get("data") in data_names():
        names.remove("data")
    paths = {name: Path(training[name]).expanduser() for name in names}
    return {**training, **{k: str(path.absolute()) for k, path in paths.items() if path.exists()}}


def check_begun_with(kind: str, options: Any, given: Mapping[str, Any]) -> None:
    """Options that are given to go on with something must be those it was begun with.

    Args:
        kind: what it is, for the message.
        options: a dataclass of its own options, with those of `TrainPruneOptions` as ``training``.
        given: fields of both, by name.

    Raises:
        RunError: one of them differs.
    """
    stored = {**asdict(TrainPruneOptions()), **options.training, **asdict(options)}
    for name, value in anchored(dict(given)).items():
        if not same_option(name, stored[name], value):
            raise RunError(
                f"this {kind} was begun with {name}={_shown(stored[name])}, not {_shown(value)}: "
                "leave it out, or begin another"
            )


def _shown(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple | list) else str(value)


def _options_of(run: Run) -> dict[str, Any]:
    try:
        stored_options(run)
        training = {k: v for k, v in typed_options(run.config).items() if k not in OWN}
        training["data"] = run.config["data_spec"]["data"]  # found again from any folder
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{run.path} was made by another version of edgeprune ({error}): compare from the model's name"
        ) from error
    return training


def _baseline(run: Run) -> Path:
    path = run.path / "baseline.safetensors"
    if not path.is_file():
        hint = f"go on with 'edgeprune train-prune --out {run.path} --resume'"
        raise RunError(f"{run.path} has no baseline yet: {hint}, or compare from the model's name")
    return path.absolute()
