"""Measure the peak memory of this process above what it held before the model was loaded.

Why not ``ru_maxrss``: Linux keeps it across fork and exec, so that a small child of a large parent starts
with the parent's peak and never shows its own. ``VmHWM`` in /proc/self/status belongs to the current memory
map only. It still includes the peak of importing the libraries; writing 5 to /proc/self/clear_refs resets
it (Linux 4.0 and later, own process, no root needed). If that is refused, a model that stays
below the import's peak cannot be measured, and the result is None with the reason.
"""

from __future__ import annotations

from pathlib import Path

from edgeprune_target.system import whole_number


class PeakMemory:
    """Peak memory since this object was made, which is just before the model is loaded."""

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        """Reset the peak. ``proc`` is the folder of this process, which tests replace."""
        self.proc = proc
        self.reset = _reset_peak(proc)
        self.start_bytes = status_bytes(proc, "VmRSS")
        self.start_peak_bytes = status_bytes(proc, "VmHWM")
        self.loaded_bytes: int | None = None

    def note_loaded(self) -> None:
        """Note what this process holds above the start: call it when the model is loaded, before anything runs."""
        now = status_bytes(self.proc, "VmRSS")
        if now is not None and self.start_bytes is not None:
            self.loaded_bytes = max(0, now - self.start_bytes)

    def report(self) -> dict:
        """Return ``memory_peak_bytes`` (resident, above the start), or None and ``memory_reason``; the method."""
        peak = status_bytes(self.proc, "VmHWM")
        value: int | None = None
        reason: str | None = None
        if peak is None or self.start_bytes is None or self.start_peak_bytes is None:
            reason = f"{self.proc}/status has no VmHWM (only Linux has)"
        elif not self.reset and peak <= self.start_peak_bytes:
            reason = f"{self.proc}/clear_refs cannot be written, and importing the libraries took more"
        elif peak <= self.start_bytes:
            reason = "too small to measure: the model fitted into memory that the process already held"
        else:
            value = peak - self.start_bytes
        return {
            "memory_peak_bytes": value,
            "memory_loaded_bytes": None if reason else self.loaded_bytes,
            "memory_reason": reason,
            "memory_start_bytes": self.start_bytes,
            "memory_method": "VmHWM after reset" if self.reset else "VmHWM",
        }


def status_bytes(proc: Path, key: str) -> int | None:
    """Return a line such as ``VmHWM:  1712 kB`` of /proc/PID/status in bytes; None if it is missing."""
    try:
        lines = (proc / "status").read_text(errors="replace").splitlines()
    except OSError:
        return None
    for line in lines:
        if line.startswith(key + ":"):
            kilobytes = whole_number(" ".join(line.split()[1:2]))
            return kilobytes * 1024 if kilobytes is not None and kilobytes >= 0 else None
    return None


def _reset_peak(proc: Path) -> bool:
    try:
        (proc / "clear_refs").write_text("5")
    except OSError:
        return False
    return True
