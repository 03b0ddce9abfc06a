"""Watch a network run: the record of its calls, and runs that repeat it with taps."""

from edgeprune.recording.record import Record
from edgeprune.recording.recorder import watch

__all__ = ["Record", "watch"]
