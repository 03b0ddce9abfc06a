"""Schema of a comparison's log of attempts."""

from typing import Literal

from msgspec import Struct

from edgeprune.records.fields import Amount


class AttemptLine(Struct):
    """A line of attempts.jsonl."""

    row: str
    event: Literal["began", "ended", "measured"]
    outcome: str | None = None
    reason: str | None = None
    seconds: Amount = 0.0
