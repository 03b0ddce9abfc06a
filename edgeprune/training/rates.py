"""Learning-rate schedules: pure functions from the share of training done to a factor."""

import math
from collections.abc import Callable


def thesis_schedule(done: float) -> float:
    """Return the factor of the learned method's source, whose 100 epochs are scaled to any length.

    Constant up to epoch 25; then, changed at each epoch divisible by 10, 0.941^(epoch - 25).
    """
    epoch = 100 * done
    if epoch < 25:
        return 1.0
    stage = 25 if epoch < 30 else 10 * math.floor(epoch / 10)
    return float(0.941 ** (stage - 25))


def cosine_schedule(done: float) -> float:
    """Return a factor that falls from 1 to 0 along half a cosine, after a warm-up over the first 5 %."""
    warm = 0.05
    if done < warm:
        return 0.1 + 0.9 * done / warm
    return 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))


def onecycle_schedule(done: float) -> float:
    """Return a factor that rises linearly from 0.1 to 1 over the first 10 %, then falls linearly to 0."""
    return 0.1 + 9 * done if done < 0.1 else (1 - done) / 0.9


def constant_schedule(done: float) -> float:
    """Return the constant factor 1."""
    return 1.0 if done >= 0 else 0.0


SCHEDULES: dict[str, Callable[[float], float]] = {
    "thesis": thesis_schedule,
    "cosine": cosine_schedule,
    "onecycle": onecycle_schedule,
    "constant": constant_schedule,
}
