"""Memory that is free for data."""

import re
from pathlib import Path

import psutil

CGROUP = Path("/sys/fs/cgroup")  # version 2, as containers and batch systems have it


def free_memory() -> int:
    """Return the bytes that this process can still take, within the limit of its container."""
    available = int(psutil.virtual_memory().available)
    try:
        limit, used, parts = (
            (CGROUP / name).read_text().strip() for name in ("memory.max", "memory.current", "memory.stat")
        )
    except OSError:
        return available
    if not (limit.isdigit() and used.isdigit()):
        return available
    cached = re.search(
        r"^inactive_file (\d+)$", parts, re.MULTILINE
    )  # of files that were read, given up on demand
    return min(available, max(0, int(limit) - int(used) + (int(cached[1]) if cached else 0)))
