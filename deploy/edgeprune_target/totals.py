"""Choose the rails of a board's total power among those that answer."""

from __future__ import annotations

from edgeprune_target.errors import TargetError

KINDS = ("measured_input", "rail_sum")
EVERY = "*"


def parse_total(text: str) -> tuple:
    """Parse ``rail_sum=GPU+CPU`` to ("rail_sum", ["GPU", "CPU"]); the rail ``*`` means all rails.

    Raises:
        TargetError: the text has another form.
    """
    kind, _, names = text.partition("=")
    rails = [name for name in names.split("+") if name]
    if kind not in KINDS or not rails:
        raise TargetError(
            f"{text!r} is not a total: write it as {KINDS[0]}=VDD_IN or {KINDS[1]}=VDD_GPU+VDD_CPU"
        )
    return kind, rails


def choose_total(totals: list, rails: list) -> tuple:
    """Return ``(kind, rails)`` of the first total whose rails are all available; ("none", []) if there is none."""
    for kind, names in totals:
        total_rails = sorted(rails) if EVERY in names else list(names)
        if total_rails and all(name in rails for name in total_rails):
            return kind, total_rails
    return "none", []
