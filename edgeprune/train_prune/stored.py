"""Options that a run was started with, as its folder has them, beside those that are typed later; without torch."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeprune.budget import parse_targets
from edgeprune.errors import RunError
from edgeprune.records import check
from edgeprune.records.trust import other_hosts, vouch_for
from edgeprune.runs.run import Run
from edgeprune.train_prune.checking import check_choices
from edgeprune.train_prune.options import TrainPruneOptions


def check_same_options(run_path: str | Path, typed: dict[str, Any]) -> None:
    """Raise RunError unless the options typed with --resume are those the run was started with."""
    vouch_for(typed)
    stored = asdict(stored_options(Run.open(run_path)))
    if fault := other_hosts(stored, typed):
        raise RunError(f"this run was started {fault}")
    others = {name: value for name, value in typed.items() if name not in ("host", "more_hosts")}
    for name, value in others.items():
        if name in stored and value != "auto" and not same_option(name, stored[name], value):
            raise RunError(
                f"this run was started with {name}={stored[name]}, not {value}: leave `{name}` out, "
                "or start another run"
            )


def same_option(name: str, stored: Any, typed: Any) -> bool:
    """Return whether a typed option equals the stored one.

    Args:
        name: of the option.
        stored: its value in the run's config.json.
        typed: its value on the command line; targets are compared by meaning.
    """
    if name == "target":
        return parse_targets(stored) == parse_targets(typed)
    return bool(stored == typed)


def stored_options(run: Run) -> TrainPruneOptions:
    """Return the options a run was started with; raises RunError if its config.json has no valid ones."""
    options = run.config.get("options")
    check(options, TrainPruneOptions, f"{run.path / 'config.json'} options", hint="was it edited?")
    _ = run.task  # code that nobody trusted is refused before it is imported
    try:
        stored = TrainPruneOptions(**(options or {}))
    except TypeError as error:
        raise RunError(
            f"{run.path} was made by another version of edgeprune ({error}): start another run"
        ) from error
    check_choices(stored)
    return stored
