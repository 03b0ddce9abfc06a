"""A runner ends with the process that started it, however that ends: it would be measured along otherwise."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from typing import Any, Callable

VARIABLE = "EDGEPRUNE_PARENT"  # in the environment: the number of the process that starts the runner
PR_SET_PDEATHSIG = 1
LOOK_S = 1.0  # where the kernel does not tell


def end_with_parent(wanted: str | None = None) -> None:
    """Have this process ended when its parent ends, if the parent asked for that in ``VARIABLE``.

    Args:
        wanted: the parent's number; None for what the environment says.
    """
    number = os.environ.get(VARIABLE) if wanted is None else wanted
    if not number or not number.isdigit():
        return
    parent = int(number)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before the kernel was asked
        os._exit(1)


def die_with_parent() -> Callable[[], None] | None:
    """Return what a child is to run before its program: Linux then ends it when we are killed."""
    if sys.platform != "linux":
        return None
    prctl: Any = ctypes.CDLL(None).prctl  # looked up here: between fork and exec no lock may be taken
    return lambda: prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_S)
    os._exit(1)
