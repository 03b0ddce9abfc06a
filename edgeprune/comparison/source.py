"""Derive the training options that all rows share from a run folder or a model's name."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from edgeprune.budget import need_device, parse_targets
from edgeprune.data import data_names
from edgeprune.devices import CPU
from edgeprune.errors import RunError, TrainError
from edgeprune.options.device import DeviceOptions
from edgeprune.records.trust import check_options, other_hosts
from edgeprune.runs.run import Run
from edgeprune.train_prune.effects import typed_options
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.stored import same_option, stored_options

# Options of a run that belong to its own pruning, or to its baseline, which is already trained.
OWN = (
    "method", "plan", "seed", "weights", "weights_key", "baseline_epochs", "baseline_lr",
    "prune_schedule", "prune_steps", "moment", "init", "max_drop", "drop_by", "points",
)  # fmt: skip
PATHS = ("data", "weights", "data_root")
# Options of a device's budget, and those of them that mean nothing on another device.
OF_A_DEVICE = frozenset(field.name for field in fields(DeviceOptions))
OF_ONE_DEVICE = OF_A_DEVICE - {"target_batch", "plan_seconds"}
# Options that a run determines.
FIXED = ("data", "weights", "weights_key", "image_size", "baseline_epochs", "baseline_lr")


def shared_training(
    source: str, typed: dict[str, Any], *, needs_baseline: bool = True, same_split: bool = False
) -> dict[str, Any]:
    """Return the fields of `TrainPruneOptions` for all rows: those typed for the run, overridden by ``typed``.

    Defaults that the run derived are left out, so that each row derives them for its own method. So are its options
    of a device's budget where ``typed`` has a target without a device, or names another device.

    Args:
        source: a run folder, or a model's name.
        typed: fields of `TrainPruneOptions` that the user typed.
        needs_baseline: include the weights of the run's baseline.
        same_split: include the run's seed, which says what images its baseline was not trained on.

    Raises:
        RunError: not a run folder, one without a baseline, or one of another version.
        TrainError: an option was typed that the run determines.
    """
    typed = absolute_paths(typed)
    if not Path(source).is_dir():
        return {"model": source, **typed}
    run = Run.open(source)
    for name in FIXED:
        if name in typed:
            raise TrainError(f"{source} is a run folder, which defines it: leave `{name}` out")
    training = _options_of(run)
    for name in _idle_beside(typed, training):
        training.pop(name, None)
    check_options({name: value for name, value in training.items() if name not in typed}, run.path)
    if {"epochs", "batch_size"} & typed.keys():
        training.pop("prune_iterations", None)  # the run derived it from its number of steps
    if needs_baseline:
        training["weights"] = str(_baseline(run))
    if same_split:
        training["seed"] = run.config["options"]["seed"]
    return {**training, **typed}


def absolute_paths(training: dict[str, Any]) -> dict[str, Any]:
    """Make the paths of existing files absolute, since a comparison may be resumed from another folder.

    Paths that do not exist are kept as typed, for the error message.
    """
    names = [name for name in PATHS if training.get(name)]
    if training.get("data") in data_names():
        names.remove("data")
    paths = {name: Path(training[name]).expanduser() for name in names}
    return {**training, **{k: str(path.absolute()) for k, path in paths.items() if path.exists()}}


def check_begun_with(kind: str, options: Any, typed: Mapping[str, Any]) -> None:
    """Check that options typed beside ``resume`` are those with which the work was begun.

    Args:
        kind: "comparison" or "search", for the message.
        options: its options, a dataclass with the fields of `TrainPruneOptions` as ``training``.
        typed: fields of both that the user typed, by name.

    Raises:
        RunError: one of them differs.
    """
    stored = {**asdict(TrainPruneOptions()), **options.training, **asdict(options)}
    if fault := other_hosts(stored, typed):
        raise RunError(f"this {kind} was begun {fault}")
    others = {name: value for name, value in typed.items() if name not in ("host", "more_hosts")}
    for name, value in absolute_paths(others).items():
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
        training["data"] = run.config["data_spec"]["data"]  # an absolute path
        training["val_fraction"] = run.config["options"][
            "val_fraction"
        ]  # more than was typed, with a largest drop
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{run.path} was made by another version of edgeprune ({error}): compare from the model's name"
        ) from error
    return training


def _idle_beside(typed: Mapping[str, Any], training: Mapping[str, Any]) -> frozenset[str]:
    """Return the options of a run that have no use beside those that were typed for another command.

    Args:
        typed: fields of `TrainPruneOptions`; None where they were not given.
        training: those of the run.
    """
    chosen = {name: value for name, value in typed.items() if value is not None}
    idle: frozenset[str] = frozenset()
    if _names_another_device(chosen, training):
        idle |= OF_ONE_DEVICE
    elif "target" in chosen and chosen.keys().isdisjoint({"target_device", "host"}):
        before, now = parse_targets(training["target"]), parse_targets(chosen["target"])
        if need_device(before) and not need_device(now):
            idle |= OF_A_DEVICE | {"precisions"}
    if chosen.keys() & {"target_precision", "lut", "max_drop"}:  # they exclude each other
        idle |= {"precisions"}
    return idle - chosen.keys()


def _names_another_device(chosen: Mapping[str, Any], training: Mapping[str, Any]) -> bool:
    """Return whether another device was typed than that of a run, or a host for a run without one."""
    if "host" in chosen and training.get("host") is None:
        return True
    before = training.get("target_device") or (CPU if training.get("host") is None else None)
    return "target_device" in chosen and chosen["target_device"] != before


def _baseline(run: Run) -> Path:
    path = run.path / "baseline.safetensors"
    if not path.is_file():
        hint = f"go on with 'edgeprune train-prune --out {run.path} --resume'"
        raise RunError(f"{run.path} has no baseline yet: {hint}, or compare from the model's name")
    return path.absolute()
