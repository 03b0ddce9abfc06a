"""Targets: how much of which resource may remain."""

import math
import re
from dataclasses import dataclass

from edgeprune import resources
from edgeprune.errors import TargetError
from edgeprune.resources import Resource

_AMOUNT = re.compile(r"\s*([-+.0-9eE]+)\s*([a-zA-Z]+)\s*")


@dataclass(frozen=True)
class Target:
    """What must remain: ``flops=0.5`` keeps half of the FLOPs, ``latency=8ms`` leaves eight milliseconds.

    Attributes:
        kind: a name in `edgeprune.resources`.
        fraction: of the unpruned model's; None where an amount was given.
        amount: in the resource's unit, ms or bytes say; None where a fraction was given.
    """

    kind: str
    fraction: float | None
    amount: float | None = None

    @classmethod
    def parse(cls, text: "str | Target") -> "Target":
        """Read 'flops=0.5', 'params=0.3', 'memory=20MB' or 'latency=8ms'; raises TargetError otherwise."""
        if isinstance(text, Target):
            return text
        kind, sign, rest = str(text).partition("=")
        kind = kind.strip()
        if not sign:
            raise TargetError(f"target {text!r} is not KIND=FRACTION; write for example flops=0.5")
        resource = resources.get(kind)
        match = _AMOUNT.fullmatch(rest)
        number, unit = match.groups() if match else (rest, "")
        try:
            value = float(number)
        except ValueError as error:
            hint = "write for example flops=0.5"
            raise TargetError(f"target {text!r}: {rest!r} is not a number; {hint}") from error
        if unit:
            return cls._amount(resource, value, unit, str(text))
        if not 0 < value <= 1:
            hint = f"; for an amount say its unit, one of {', '.join(resource.units)}"
            raise TargetError(
                f"target {text!r} is outside (0, 1]: it is the fraction that remains; {kind}=0.5 keeps half"
                + (hint if resource.units else "")
            )
        return cls(kind, value)

    @classmethod
    def _amount(cls, resource: Resource, value: float, unit: str, text: str) -> "Target":
        try:
            amount = resource.amount(value, unit)
        except TargetError as error:
            raise TargetError(f"target {text!r}: {error}") from None
        if not 0 < value < math.inf:
            raise TargetError(f"target {text!r}: an amount is above 0")
        return cls(resource.name, None, amount)

    @property
    def resource(self) -> Resource:
        """What it is of."""
        return resources.get(self.kind)

    def __str__(self) -> str:
        return f"{self.kind}=" + (
            f"{self.fraction:g}" if self.amount is None else self.resource.text(self.amount)
        )

    def goal(self, original: float) -> float:
        """The most that may remain of ``original``."""
        return self.amount if self.amount is not None else (self.fraction or 0.0) * original


def parse_targets(text: "str | Target") -> tuple[Target, ...]:
    """Read one target, or several with commas between: 'flops=0.5,memory=20MB'.

    Raises:
        TargetError: one of them cannot be read, or two are of one kind.
    """
    if isinstance(text, Target):
        return (text,)
    targets = tuple(Target.parse(part) for part in str(text).split(","))
    kinds = [target.kind for target in targets]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise TargetError(f"target {text!r} names {kind} twice")
    return targets


def need_device(targets: tuple[Target, ...]) -> bool:
    """Return whether one of them is of something that only a device tells."""
    return any(target.resource.needs_device for target in targets)
