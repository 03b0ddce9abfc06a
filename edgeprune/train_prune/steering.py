"""Steer a pruning phase from a second terminal, through the run folder."""

import re
from pathlib import Path
from typing import Any

from edgeprune import methods
from edgeprune.budget import need_device, parse_targets
from edgeprune.errors import EdgePruneError, RunError, TargetError
from edgeprune.methods import MethodOptions
from edgeprune.runs.run import Run

_NUMBER = re.compile(r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?")
_SHOWN = ("step", "target", "flops_fraction", "params_fraction", "interacting", "manual", "mask_mean", "loss")


def send_command(
    run_path: str | Path, interacting: str | None = None, *, auto: bool = False, target: str | None = None
) -> None:
    """Write a steering command for the training process of a run.

    Args:
        run_path: the run folder.
        interacting: '+200' and '-200' change `interacting`, '500' sets it; None leaves it.
        auto: return control of `interacting` to the controller.
        target: another target, such as 'flops=0.4', which the controller follows from then on; None leaves it.

    Raises:
        EdgePruneError: ``interacting`` is not a number. TargetError: the target cannot be read, or needs a device.
            RunError: there is no run, its method cannot be steered, or its pruning phase is over.
    """
    run = Run.open(run_path)
    if (reason := refusal(run)) is not None:
        raise RunError(reason)
    if auto + (interacting is not None) + (target is not None) > 1:
        raise RunError("`auto`, `interacting` and `target` exclude each other: say one of them")
    if auto:
        run.training.steer({"auto": True})
    if interacting is not None:
        if not _NUMBER.fullmatch(interacting):
            raise EdgePruneError(f"`interacting={interacting!r}` is not a number: write 500, +200 or -200")
        run.training.steer({"interacting": float(interacting), "relative": interacting[0] in "+-"})
    if target is not None:
        run.training.steer({"target": _target_of(run, target)})


def _target_of(run: Run, text: str) -> str:
    """Return a target as it is written.

    Raises:
        TargetError: it cannot be read, it needs a device, or the run is for one.
    """
    targets = parse_targets(text)
    options = run.config.get("options", {})
    own = parse_targets(options.get("target") or "flops=1")
    if need_device((*targets, *own)) or any(options.get(name) for name in ("target_device", "host", "plan")):
        raise TargetError(
            f"`target={text}`: only targets of FLOPs, parameters or memory, of a run without a device and a plan, can "
            "be changed while it prunes"
        )
    return ",".join(map(str, targets))


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
    target = shown.pop("target", run.config.get("options", {}).get("target"))
    return {
        "run": str(run.path),
        "pruning_phase": phase,
        "target": target,
        **shown,
        "commands": len(run.training.steering()),
    }
