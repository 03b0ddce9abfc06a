"""Options of `train-prune` that have no effect, and those that were typed for a run."""

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from edgeprune.errors import TrainError
from edgeprune.methods import chosen_method
from edgeprune.train_prune.options import TrainPruneOptions

DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(TrainPruneOptions)}
TORCHVISION_DATA = ("cifar10", "cifar100")
# For runs whose config.json does not say which options were typed: those whose resolved value depends on the
# method, the start or the machine.
MAY_BE_RESOLVED = ("reconstruct", "distill", "device", "precision")


def typed_names(options: TrainPruneOptions) -> list[str]:
    """Return the names of options that differ from their defaults; of options before `resolve`."""
    return [name for name, default in DEFAULTS.items() if getattr(options, name) != default]


def typed_options(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that were typed for a run, from the content of its config.json.

    The others were resolved for the run's method, data and machine. The target is always included: in a run
    with a plan it says what the plan keeps.

    Raises:
        KeyError, TypeError: the file is of another version.
    """
    stored = dict(config["options"])
    names = config.get("typed")
    if names is None:
        return {name: value for name, value in stored.items() if name not in MAY_BE_RESOLVED}
    return {name: stored[name] for name in stored if name in (*names, "model", "data", "target")}


def idle_options(options: TrainPruneOptions) -> dict[str, str]:
    """Return the options without effect, each with the reason.

    ``options`` may be resolved or not.
    """
    try:
        idle = dict(chosen_method(options).idle(options))
    except TrainError:  # an unknown method: `check_choices` lists the known ones
        return {}
    if options.init == "random":
        idle["baseline_lr"] = "`init=random` trains no baseline"
    if options.weights is None:
        idle["weights_key"] = "there is no `weights`"
    if options.max_drop is None:
        idle |= dict.fromkeys(("drop_by", "points"), "there is no `max_drop`")
    if options.quantize is None:
        idle["quantize_epochs"] = "there is no `quantize`"
    if options.momentum == 0:
        idle["nesterov"] = "it needs a `momentum` above 0"
    if options.data not in TORCHVISION_DATA:
        reason = f"only {' and '.join(TORCHVISION_DATA)} are fetched by torchvision"
        idle |= {"download": reason, "data_root": reason}
    return idle


def check_effect(rows: Iterable[TrainPruneOptions], typed: Iterable[str]) -> None:
    """Raise TrainError if a typed option has no effect.

    Args:
        rows: the options of each run; an option has an effect if one of the runs uses it.
        typed: names of fields of `TrainPruneOptions`.

    Raises:
        TrainError: names the option and says why it has no effect.
    """
    reasons = [idle_options(options) for options in rows]
    for name in typed:
        if reasons and all(name in reason for reason in reasons):
            raise TrainError(f"`{name}` has no effect here: {reasons[0][name]}; leave it out")
