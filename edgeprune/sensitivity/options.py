"""What is measured of a network's sensitivity. Nothing heavy is imported."""

from dataclasses import dataclass

from edgeprune.errors import TargetError
from edgeprune.options.bounds import IMAGES
from edgeprune.options.checks import short
from edgeprune.options.fields import check_fields, option


@dataclass(frozen=True)
class SensitivityOptions:
    """Which shares of each group are removed, in which order, and what that is judged by.

    Raises:
        TargetError: a value that makes no sense; names the field.
    """

    shares: str = option(
        "0.25,0.5,0.75",
        "Remove these shares of each group's channels, one after the other.",
        "target",
        main=True,
        metavar="X,X,X",
    )
    images: int = option(
        1000, "Evaluate each network on at most this many held-out images.", "data", IMAGES, main=True
    )
    criterion: str = option(
        "l1",
        "Remove the channels first that this criterion ranks lowest.",
        "method",
        main=True,
        metavar="NAME",
    )

    def __post_init__(self) -> None:
        check_fields(self, TargetError)
        _ = self.removed_shares

    @property
    def removed_shares(self) -> tuple[float, ...]:
        """The shares, ascending.

        Raises:
            TargetError: one is no number between 0 and 1.
        """
        values = []
        for text in self.shares.split(","):
            try:
                value = float(text)
            except ValueError:
                value = 0.0
            if not 0 < value < 1:
                raise TargetError(
                    f"`shares` has {short(text.strip())}: write shares between 0 and 1, as in 0.25,0.5,0.75"
                )
            values.append(value)
        return tuple(sorted(set(values)))
