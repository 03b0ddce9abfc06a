"""Watch a network run: the record of its calls, and runs that repeat it with taps."""

from edgeprune.trace.record import Record
from edgeprune.trace.recorder import watch

__all__ = ["Record", "watch"]
