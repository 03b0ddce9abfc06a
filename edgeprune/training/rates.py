"""Learning-rate schedules: pure functions from the share of training done to a factor."""

import math
from collections.abc import Callable


def thesis_schedule(done: float) -> float:
    """The learned criterion's source, stretched to any length: 100 epochs stand for the whole.

    Constant up to epoch 25; then, changed at each epoch divisible by 10, 0.941^(epoch - 25).
    """
    epoch = 100 * done
    if epoch < 25:
        return 1.0
    stage = 25 if epoch < 30 else 10 * math.floor(epoch / 10)
    return float(0.941 ** (stage - 25))


def cosine_schedule(done: float) -> float:
    """From 1 to 0 along half a cosine, after a warm-up over the first twentieth."""
    warm = 0.05
    if done < warm:
        return 0.1 + 0.9 * done / warm
    return 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))


def onecycle_schedule(done: float) -> float:
    """Up from a tenth over the first tenth of training, then down to zero along a straight line."""
    return 0.1 + 9 * done if done < 0.1 else (1 - done) / 0.9


def constant_schedule(done: float) -> float:
    """No change."""
    return 1.0 if done >= 0 else 0.0


SCHEDULES: dict[str, Callable[[float], float]] = {
    "thesis": thesis_schedule,
    "cosine": cosine_schedule,
    "onecycle": onecycle_schedule,
    "constant": constant_schedule,
}
