"""Match the tensors of a checkpoint file to a model by the model's own names and shapes."""

import shlex
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from edgeprune.errors import WeightsError, printable
from edgeprune.models.checkpoint_files import Holdings
from edgeprune.options.checks import short

# Segments that module wrappers add to names: DataParallel and DDP, torch.compile, FSDP, checkpoint_wrapper.
WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
COUNTER = "num_batches_tracked"  # BatchNorm's, which old checkpoints lack
SHOWN = 6  # sets of weights in a message
LONGEST = 200  # of a key in a message


@dataclass(frozen=True)
class Fit:
    """The tensors below one dotted name, matched to a model.

    Attributes:
        key: that name; "" is the file itself.
        names: the model's name of a tensor -> its name in the file.
        extra: names below ``key`` that the model lacks, without the key.
        complete: whether every tensor of the model is present, with its shape.
    """

    key: str
    names: dict[str, str] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    complete: bool = False

    @property
    def label(self) -> str:
        """The key as a user types it: without the wrappers at its end, and "." for the file itself."""
        return without_wrappers(self.key) or "."


def without_wrappers(key: str) -> str:
    """Return a dotted name without the wrappers' segments at its end."""
    parts = key.split(".")
    while parts and parts[-1] in WRAPPERS:
        parts.pop()
    return ".".join(parts)


def _plain(parts: Iterable[str]) -> str:
    return ".".join(part for part in parts if part not in WRAPPERS)


class Matcher:
    """Matches a file's tensors to a model's.

    Attributes:
        own: the model's tensors by name.
        required: groups of names; the file must have at least one of each group (tied tensors form a group).
        holdings: the content of the file.
    """

    def __init__(self, own: dict[str, Tensor], required: list[set[str]], holdings: Holdings) -> None:
        """Compare all names.

        Args:
            own: the model's tensors by name.
            required: groups of names; the file must have at least one of each group.
            holdings: the content of the file.
        """
        self.own, self.required, self.holdings = own, required, holdings
        plain = Counter(_plain(name.split(".")) for name in own)
        self._by_plain = {p: name for name in own if plain[p := _plain(name.split("."))] == 1}
        self._heads = {name.split(".")[0] for name in (*own, *self._by_plain)}
        self.matched: dict[str, dict[str, str]] = {}
        for name in holdings.tensors:
            self._match(name)

    def _match(self, name: str) -> None:
        """Record a tensor under each key that makes the rest of its name one of the model's."""
        parts = name.split(".")
        for start, first in enumerate(parts):
            tail = ".".join(parts[start:])
            exact = tail in self.own
            target = (
                tail if exact else None if first in WRAPPERS else self._by_plain.get(_plain(parts[start:]))
            )
            if target is None:
                continue
            names = self.matched.setdefault(".".join(parts[:start]), {})
            if exact or target not in names:
                names[target] = name

    @cached_property
    def complete_keys(self) -> list[str]:
        """The keys below which every tensor of the model is present, with its shape."""
        return [key for key, names in self.matched.items() if self._is_complete(names)]

    def _is_complete(self, names: dict[str, str]) -> bool:
        if not all(group & names.keys() for group in self.required):
            return False
        return all(self.fits(own, self.holdings.tensors[name]) for own, name in names.items())

    def fits(self, name: str, tensor: Tensor) -> bool:
        """Return whether a tensor has the shape of the model's; a lazy parameter accepts any shape."""
        own = self.own[name]
        return is_lazy(own) or own.shape == tensor.shape

    def fit(self, key: str) -> Fit:
        """Return the tensors below a key, matched to the model."""
        names = self.matched.get(key, {})
        used = set(names.values())
        start = f"{key}." if key else ""
        extra = [
            name[len(start) :]
            for name in self.holdings.tensors
            if name.startswith(start) and name not in used and not self._is_elsewhere(name, key, start)
        ]
        return Fit(key, names, extra, key in self.complete_keys)

    def _is_elsewhere(self, name: str, key: str, start: str) -> bool:
        """Return whether a tensor below a key belongs to an optimizer or to another complete set of weights."""
        home = self.holdings.homes[name]
        if len(home) > len(key) and name[len(start) :].split(".")[0] not in self._heads:
            return True
        return any(name.startswith(f"{other}.") for other in self.complete_keys if len(other) > len(key))

    def within(self, key: str | None) -> list[str]:
        """Return the complete keys at or below a key that the user typed; all of them for None."""
        if key is None:
            return self.complete_keys
        below = [
            complete
            for complete in self.complete_keys
            if not key or complete == key or complete.startswith(f"{key}.")
        ]
        at = [
            complete
            for complete in below
            if complete == key or without_wrappers(complete) == without_wrappers(key)
        ]
        return at or below

    def nearest(self, key: str | None) -> Fit:
        """Return the tensors that match the model best, at or below a key, for a message."""
        prefixes = [
            prefix for prefix in self.matched if not key or prefix == key or prefix.startswith(f"{key}.")
        ]
        if prefixes:
            most = max(len(self.matched[prefix]) for prefix in prefixes)
            best = [prefix for prefix in prefixes if len(self.matched[prefix]) == most]
            return min(map(self.fit, best[:SHOWN]), key=lambda fit: len(fit.extra))
        homes = Counter(
            home for home in self.holdings.homes.values() if not key or f"{home}.".startswith(f"{key}.")
        )
        return self.fit(max(homes, key=lambda home: homes[home]) if homes else key or "")

    def sets(self) -> dict[str, int]:
        """Return the sets of weights in the file: label -> number of tensors."""
        half = sum(map(len, self.required)) / 2
        keys = sorted((key for key, names in self.matched.items() if len(names) >= max(half, 1)), key=len)
        counts = Counter(dict.fromkeys((without_wrappers(key) or "." for key in keys), 0))
        for name, home in self.holdings.homes.items():
            below = [key for key in keys if not key or name.startswith(f"{key}.")]
            key = (
                below[-1]
                if below and len(below[-1]) >= len(_without_numbers(home))
                else _without_numbers(home)
            )
            counts[without_wrappers(key) or "."] += 1
        return {label: count for label, count in counts.items() if count}


def _without_numbers(home: str) -> str:
    """Return the name of a dict up to the first number in it: an optimizer has a dict for each parameter."""
    parts = home.split(".")
    numbers = [index for index, part in enumerate(parts) if part.isdigit()]
    return ".".join(parts[: numbers[0]]) if numbers else home


def choose(matcher: Matcher, key: str | None) -> Fit | None:
    """Choose the set of tensors that fits the model exactly; None if there is none.

    Args:
        matcher: of a file and a model.
        key: the name below which to search; "" is the file itself, None searches everywhere.

    Raises:
        WeightsError: nothing has that key, or several different sets of weights fit.
    """
    path = matcher.holdings.path
    if key is not None and not matcher.holdings.named(key):
        raise WeightsError(f"{path} has no tensors under {short(printable(key))!r}; {_listed(matcher)}")
    exact = _distinct(matcher, matcher.within(key))
    if len(exact) > 1:
        choices = " or ".join(f"`weights_key={_quoted(fit.label)}`" for fit in exact)
        raise WeightsError(
            f"{path} holds several sets of weights that fit and differ: say {choices} (key= in Python); "
            f"{_listed(matcher)}"
        )
    return exact[0] if exact else None


def _distinct(matcher: Matcher, keys: Iterable[str]) -> list[Fit]:
    """Return the exact fits below some keys, without those of equal numbers, and at most ``SHOWN``."""
    distinct: list[Fit] = []
    for fit in map(matcher.fit, keys):
        if not fit.extra and not any(_same(matcher, fit, other) for other in distinct):
            distinct.append(fit)
        if len(distinct) == SHOWN:
            break
    return distinct


def _same(matcher: Matcher, fit: Fit, other: Fit) -> bool:
    tensors = matcher.holdings.tensors
    return fit.names.keys() == other.names.keys() and all(
        _equal(tensors[name], tensors[other.names[own]]) for own, name in fit.names.items()
    )


def _equal(tensor: Tensor, other: Tensor) -> bool:
    if tensor is other:
        return True
    unusual = [t for t in (tensor, other) if t.is_meta or t.is_quantized or t.layout != torch.strided]
    return not unusual and tensor.dtype == other.dtype and torch.equal(tensor, other)


def _listed(matcher: Matcher) -> str:
    counts = matcher.sets()
    shown = [
        f"{_quoted(label)} ({count} tensor{'s' * (count > 1)})"
        for label, count in list(counts.items())[:SHOWN]
    ]
    more = f" and {len(counts) - SHOWN} more" if len(counts) > SHOWN else ""
    return f"it holds {', '.join(shown)}{more}"


def where(matcher: Matcher, fit: Fit) -> str:
    """Return the file's name for a message, with the key of the fit."""
    label = "" if fit.label == "." else f" ({_quoted(fit.label)})"
    return f"{matcher.holdings.path}{label}"


def elsewhere(matcher: Matcher) -> str:
    """Return what else the file holds and how to pick it, for the end of a message; "" if it has one set only."""
    if len(matcher.sets()) < 2:
        return ""
    return f"{_listed(matcher)}, and `weights_key` picks one"


def _quoted(label: str) -> str:
    text = printable(label)
    return shlex.quote(text if len(text) <= LONGEST else f"{text[:LONGEST]}...")
