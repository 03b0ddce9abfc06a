"""Wait until the machine has cooled down, so that each round begins alike."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Callable

from edgeprune_target.errors import TargetError
from edgeprune_target.thermal import zone_temperatures_c

LIMIT_S = 600.0  # what is not cool by then has a warm room or another load
PERIOD_S = 1.0


def cool_down(
    to_c: float, root: str = "/", limit_s: float = LIMIT_S, clock: Callable[[], float] = time.monotonic
) -> dict:
    """Sleep until the warmest zone has at most ``to_c``, or until ``limit_s`` have passed.

    Args:
        to_c: degrees C.
        root: the folder used in place of ``/``.
        limit_s: of waiting.
        clock: returns seconds, for tests.

    Returns:
        ``{"seconds", "warmest_c"}``: how long it slept, and what the warmest zone had then.

    Raises:
        TargetError: the machine shows no temperatures.
    """
    start = clock()
    while True:
        zones = zone_temperatures_c(Path(root))
        if not zones:
            raise TargetError("this machine shows no temperatures to wait for: leave --cool-to out")
        warmest, waited_s = max(zones.values()), clock() - start
        if warmest <= to_c or waited_s >= limit_s:
            return {"seconds": waited_s, "warmest_c": warmest}
        time.sleep(PERIOD_S)
