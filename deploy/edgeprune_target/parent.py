"""End the runner with the process that started it, however that ends: a leftover runner would disturb measurements."""

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
POLL_S = 1.0  # where the kernel sends no signal


def end_with_parent(parent_id: str | None = None) -> None:
    """End this process when its parent ends, if the parent requested that in ``VARIABLE``.

    Args:
        parent_id: the parent's process number; None for that in the environment.
    """
    number = os.environ.get(VARIABLE) if parent_id is None else parent_id
    if not number or not number.isdigit():
        return
    parent = int(number)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it ended before the request to the kernel
        os._exit(1)


def die_with_parent() -> Callable[[], None] | None:
    """Return a function that a child runs before its program, so that Linux ends it when this process is killed."""
    if sys.platform != "linux":
        return None
    prctl: Any = ctypes.CDLL(None).prctl  # looked up here: between fork and exec no lock may be taken
    return lambda: prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_S)
    os._exit(1)
