"""What stands for the whole of a board's power: a pure choice among the rails that answer."""

from __future__ import annotations

from edgeprune_target.errors import TargetError

KINDS = ("measured_input", "rail_sum")
EVERY = "*"


def parse_total(text: str) -> tuple:
    """``rail_sum=GPU+CPU`` -> ("rail_sum", ["GPU", "CPU"]); the rail ``*`` stands for all there are.

    Raises:
        TargetError: it is not written like that.
    """
    kind, _, names = text.partition("=")
    rails = [name for name in names.split("+") if name]
    if kind not in KINDS or not rails:
        raise TargetError(
            f"{text!r} is no total: write it as {KINDS[0]}=VDD_IN or {KINDS[1]}=VDD_GPU+VDD_CPU"
        )
    return kind, rails


def choose_total(totals: list, rails: list) -> tuple:
    """``(kind, rails)`` of the first total all of whose rails are there; ("none", []) when there is none."""
    for kind, names in totals:
        wanted = sorted(rails) if EVERY in names else list(names)
        if wanted and all(name in rails for name in wanted):
            return kind, wanted
    return "none", []
