"""Bounds of numbers: what is more than any machine or data set has use for is a slip of the keyboard."""

import math
import numbers
from typing import Any

from edgeprune.errors import EdgePruneError

# The least and the most of each count, by the option's name in Python.
COUNTS: dict[str, tuple[int, int]] = {
    "epochs": (1, 100_000),
    "baseline_epochs": (1, 100_000),
    "prune_iterations": (1, 1_000_000_000),
    "prune_steps": (1, 1_000),
    "batch_size": (1, 65_536),
    "mask_images": (1, 65_536),
    "score_batches": (1, 1_000_000),
    "align": (1, 65_536),
    "floor": (1, 65_536),
    "batch": (1, 65_536),
    "target_batch": (1, 65_536),
    "threads": (1, 1_024),
    "target_threads": (1, 1_024),
    "image_size": (1, 8_192),
    "classes": (1, 100_000),
    "seeds": (1, 1_000),
    "seed": (0, 2**31 - 1),
    "trials": (1, 1_000_000),
    "clusters": (0, 10_000),
    "bridge": (1, 10_000),
    "images": (1, 10_000_000),
    "calibration": (1, 10_000_000),
    "final_calibration": (1, 10_000_000),
    "opset": (1, 1_000),
    "workspace_mb": (1, 1_048_576),
}
# The most of each quantity; a narrower range is checked where the quantity is used.
QUANTITIES: dict[str, float] = {
    "lr": 100.0,
    "baseline_lr": 100.0,
    "weight_decay": 100.0,
    "momentum": 1e6,
    "label_smoothing": 1e6,
    "ema": 1e6,
    "switch": 1e6,
    "shrink": 100.0,
    "offset": 1_000.0,
    "val_fraction": 1e6,
    "lowest": 1e6,
    "seconds": 86_400.0,
}
MAX_ELEMENTS = 100_000_000  # of one example: 400 MB in fp32


def check_count(
    name: str, value: Any, error: type[EdgePruneError] = EdgePruneError, *, option: str | None = None
) -> None:
    """Refuse a count that is not a whole number, too small, or absurdly large.

    Args:
        name: a key of `COUNTS`.
        value: to be checked.
        error: to be raised.
        option: as it is shown; None for ``name`` as it is typed.
    """
    option = option or f"--{name.replace('_', '-')}"
    least, most = COUNTS[name]
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise error(f"{option} must be a whole number, not {short(value)}")
    if int(value) < least:
        raise error(f"{option} must be at least {least}, not {short(int(value))}")
    if int(value) > most:
        raise error(f"{option} must be at most {most:,}, not {short(int(value))}")


def check_quantity(
    name: str, value: Any, error: type[EdgePruneError] = EdgePruneError, *, option: str | None = None
) -> None:
    """Refuse a quantity that is not a finite number, or absurdly large.

    Args:
        name: a key of `QUANTITIES`.
        value: to be checked.
        error: to be raised.
        option: as it is shown; None for ``name`` as it is typed.
    """
    option = option or f"--{name.replace('_', '-')}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not math.isfinite(float(value)):
        raise error(f"{option} must be a finite number, not {short(value)}")
    if float(value) > QUANTITIES[name]:
        raise error(f"{option} must be at most {QUANTITIES[name]:g}, not {short(value)}")


def short(value: Any) -> str:
    """Return a value as text for a message, cut where it is long."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return "a number of more than 30 digits"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
