"""Steer a pruning phase from a second terminal, through the run folder."""

import re
from pathlib import Path
from typing import Any

from edgeprune import methods
from edgeprune.errors import EdgePruneError, RunError
from edgeprune.methods import MethodOptions
from edgeprune.runs.run import Run

_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?")
_SHOWN = ("step", "flops_fraction", "params_fraction", "interacting", "manual", "mask_mean", "loss")


def send_command(run_path: str | Path, interacting: str | None, *, auto: bool = False) -> None:
    """Write a steering command for the training process of a run.

    Args:
        run_path: the run folder.
        interacting: '+200' and '-200' change `interacting`, '500' sets it; None leaves it.
        auto: return control of `interacting` to the controller.

    Raises:
        EdgePruneError: ``interacting`` is not a number. RunError: there is no run, its method cannot be
            steered, or its pruning phase is over.
    """
    run = Run.open(run_path)
    if (reason := refusal(run)) is not None:
        raise RunError(reason)
    if auto and interacting is not None:
        raise RunError(
            "`auto` and `interacting` exclude each other: one lets the controller set it, one does not"
        )
    if auto:
        run.training.steer({"auto": True})
    if interacting is not None:
        if not _NUMBER.fullmatch(interacting):
            raise EdgePruneError(f"`interacting={interacting!r}` is not a number: write 500, +200 or -200")
        run.training.steer({"interacting": float(interacting), "relative": interacting[0] in "+-"})


def refusal(run: Run) -> str | None:
    """Return why a run cannot be steered, or not any more; None where it can be."""
    method = run.config.get("options", {}).get("method", MethodOptions.method)
    if method not in methods.METHODS or not methods.get(method).steerable:
        steerable = " and ".join(name for name in methods.METHODS if methods.get(name).steerable)
        return f"{run.path} prunes by {method}: only the {steerable} method's phase can be steered"
    if run.has("settled.safetensors"):
        return f"the pruning phase of {run.path} is over: its masks are fixed"
    return None


def status(run_path: str | Path) -> dict[str, Any]:
    """Return the state of the pruning phase: the last reported step (every 50), and the number of commands."""
    run = Run.open(run_path)
    steps = [m for m in run.training.metrics() if m["stage"] == "prune" and m.get("kind") == "step"]
    phase = "over" if run.has("settled.safetensors") else "running or interrupted" if steps else "not begun"
    shown = {key: steps[-1][key] for key in _SHOWN if key in steps[-1]} if steps else {}
    return {"run": str(run.path), "pruning_phase": phase, **shown, "commands": len(run.training.steering())}
