"""Watch a network run: the record of its calls, and runs that repeat it with taps."""

from edgeprune.recording.network import watch
from edgeprune.recording.record import Record

__all__ = ["Record", "watch"]
