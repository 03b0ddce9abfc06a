"""Fields of options: what a record says of each, and the check of all of them.

A record of options is a plain frozen dataclass whose fields are made by `option`. The library checks it by
`check_fields`; the command line is generated from it. An error of the library names a field in backquotes, as
`` `epochs` `` or `` `init=random` ``, which the command line writes as its own option.
"""

from dataclasses import Field, dataclass, field, fields, replace
from types import UnionType
from typing import Any, get_args

from edgeprune.errors import EdgePruneError
from edgeprune.options.checks import Check, Text

# As help lists them.
GROUPS = ("model", "data", "method", "target", "training", "measurement", "run")
_KEY = "option"


@dataclass(frozen=True)
class Option:
    """What a field says of itself.

    Attributes:
        help: begins with a verb or names the thing; ``{choices}`` stands for the names that the check knows.
        group: one of `GROUPS`.
        check: of a value that is not None; None where the type says it all.
        main: whether the short help shows it.
        metavar: what stands for the value in the help.
        unset: what None means, for the help.
        typed: whether the command line has it; some are set by other options.
    """

    help: str
    group: str
    check: Check | None = None
    main: bool = False
    metavar: str | None = None
    unset: str | None = None
    typed: bool = True

    def __post_init__(self) -> None:
        if self.group not in GROUPS:
            raise ValueError(f"no group of options is called {self.group!r}")

    @property
    def text(self) -> str:
        """Return the help with its choices filled in."""
        if "{choices}" not in self.help:  # those of a registry are costly to import
            return self.help
        return self.help.replace("{choices}", getattr(self.check, "text", ""))


def option(default: Any, help: str, group: str, check: Check | None = None, **more: Any) -> Any:  # noqa: A002
    """Return a dataclass field that is an option.

    Args:
        default: its value where it is not given.
        help: see `Option`.
        group: see `Option`.
        check: of its value; None for that of its type.
        **more: other attributes of `Option`.
    """
    return field(default=default, metadata={_KEY: Option(help, group, check, **more)})


def like(record: type, name: str, default: Any, **changes: Any) -> Any:
    """Return a field that is the same option as another record's, with a default of its own.

    Args:
        record: the other record.
        name: of its field.
        default: the value where it is not given.
        **changes: attributes of `Option` that differ.
    """
    return field(default=default, metadata={_KEY: replace(options_of(record)[name], **changes)})


def option_of(item: "Field[Any]") -> Option | None:
    """Return what a field says of itself; None where it is not an option."""
    return item.metadata.get(_KEY)


def options_of(record: Any) -> dict[str, Option]:
    """Return the options of a record, or of its class, by the names of their fields."""
    return {item.name: about for item in fields(record) if (about := option_of(item)) is not None}


def type_of(item: "Field[Any]") -> Any:
    """Return the type of a field without its None."""
    if isinstance(item.type, UnionType):
        return next(part for part in get_args(item.type) if part is not type(None))
    return item.type


def check_fields(record: Any, error: type[EdgePruneError]) -> None:
    """Hold every field of a record against its check.

    Args:
        record: of options.
        error: to be raised.

    Raises:
        EdgePruneError: of class ``error``; names the field, the value and what would do.
    """
    for item in fields(record):
        about, value = option_of(item), getattr(record, item.name)
        if about is not None and (value is not None or not isinstance(item.type, UnionType)):
            (about.check or Text())(f"`{item.name}`", value, error)
