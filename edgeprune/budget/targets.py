"""Targets: limits of how much of a resource remains."""

import math
import re
from dataclasses import dataclass, replace

from edgeprune import resources
from edgeprune.errors import TargetError
from edgeprune.resources import Resource

_AMOUNT = re.compile(r"\s*([-+.0-9eE]+)\s*([a-zA-Z]+)\s*")
SUSTAINED = "sustained"


@dataclass(frozen=True)
class Target:
    """What remains of a resource: ``flops=0.5`` is half of the FLOPs, ``latency=8ms`` is eight milliseconds.

    Attributes:
        kind: a name in `edgeprune.resources`.
        fraction: of the unpruned model's cost; None for an amount.
        amount: in the resource's unit, such as ms or bytes; None for a fraction.
        sustained: whether a device is to be measured in the steady state that it reaches under lasting load.
    """

    kind: str
    fraction: float | None
    amount: float | None = None
    sustained: bool = False

    @classmethod
    def parse(cls, text: "str | Target") -> "Target":
        """Read 'flops=0.5', 'params=0.3', 'memory=20MB', 'latency=8ms' or 'latency=8ms@sustained'.

        Raises:
            TargetError: it is none of these.
        """
        if isinstance(text, Target):
            return text
        limit, at, how = str(text).partition("@")
        if at:
            return replace(cls.parse(limit), sustained=_sustained(limit, how, str(text)))
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
        """The resource that the target limits."""
        return resources.get(self.kind)

    def __str__(self) -> str:
        limit = f"{self.fraction:g}" if self.amount is None else self.resource.text(self.amount)
        return f"{self.kind}={limit}{f'@{SUSTAINED}' if self.sustained else ''}"

    def goal(self, original: float) -> float:
        """Return the upper limit of what remains of ``original``, in the resource's unit."""
        return self.amount if self.amount is not None else (self.fraction or 0.0) * original


def _sustained(limit: str, how: str, text: str) -> bool:
    """Return True for what stands behind the @ of a target.

    Args:
        limit: what stands before it.
        how: what stands behind it.
        text: of the target.

    Raises:
        TargetError: it is not "sustained", or the resource is not measured under lasting load.
    """
    if how.strip() != SUSTAINED:
        raise TargetError(f"target {text!r}: behind the @ stands {SUSTAINED} or nothing")
    resource = Target.parse(limit).resource
    if not resource.needs_device:
        raise TargetError(
            f"target {text!r}: only what is measured on a device, as latency, can be @{SUSTAINED}"
        )
    if not resource.steady:
        raise TargetError(
            f"target {text!r}: {resource.name} is not measured under lasting load: leave @{SUSTAINED} out"
        )
    return True


def parse_targets(text: "str | Target") -> tuple[Target, ...]:
    """Read one target, or several separated by commas: 'flops=0.5,memory=20MB'.

    Raises:
        TargetError: a target cannot be read, or two have the same kind.
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
    """Return whether one of the targets needs a device."""
    return any(target.resource.needs_device for target in targets)


def need_load(targets: tuple[Target, ...]) -> bool:
    """Return whether one of the targets holds in the steady state that a device reaches under lasting load."""
    return any(target.sustained for target in targets)
