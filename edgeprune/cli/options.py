"""Options of commands: made from records whose fields say it all, or written by hand with a group and a check."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any, TypeVar, get_origin

import click

from edgeprune.options.bounds import CLASSES
from edgeprune.options.checks import Check
from edgeprune.options.fields import Option, option_of, type_of

Command = TypeVar("Command", bound=Callable[..., Any])
_METAVARS = {int: "N", float: "X"}


class GroupedOption(click.Option):
    """An option that knows its group in the help, and the check of its values.

    Args:
        words: as click takes them.
        group: a name in `edgeprune.options.fields.GROUPS`.
        main: whether the short help shows it.
        check: of a value, beyond its type.
        about: makes the help when it is shown, so that it lists what is registered then.
        **settings: as click takes them.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        group: str = "run",
        main: bool = True,
        check: Check | None = None,
        about: Callable[[], str] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(words, **settings)
        self.group, self.main, self.check, self._about = group, main, check, about

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the words and the help, made now."""
        if self._about is not None:
            self.help = self._about()
        return super().get_help_record(ctx)


def grouped(*words: str, **settings: Any) -> Callable[[Command], Command]:
    """Return a decorator for an option that is of no record; see `GroupedOption`."""
    return click.option(*words, cls=GroupedOption, **settings)


model_classes = grouped(
    "--classes",
    group="model",
    type=int,
    metavar="N",
    check=CLASSES,
    help="Build the model with this many classes.",
)


def options_of(
    record: type,
    *,
    only: Sequence[str] = (),
    omit: Sequence[str] = (),
    inherited: bool = False,
    flags: Mapping[str, str] | None = None,
    main: Sequence[str] | None = None,
) -> Callable[[Command], Command]:
    """Return a decorator that gives a command the options of a record.

    Args:
        record: a dataclass whose fields are made by `edgeprune.options.fields.option`.
        only: names of fields; all where it is empty.
        omit: names of fields that are left out.
        inherited: whether an option that is not given is a run's; its value is then None.
        flags: field -> as it is typed, where that differs from its name.
        main: fields that the short help shows; None for what the record says.
    """

    def decorate(command: Command) -> Command:
        for item in reversed(fields(record)):
            about = option_of(item)
            if about is None or not about.typed or item.name in omit or (only and item.name not in only):
                continue
            shown = about.main if main is None else item.name in main
            flag = (flags or {}).get(item.name, f"--{item.name.replace('_', '-')}")
            settings = _settings(type_of(item), about, item.default, inherited=inherited)
            words = [flag, item.name]
            if settings.pop("switch", False):
                words[0] = f"{flag}/--no-{flag[2:]}"
            command = grouped(*words, group=about.group, main=shown, check=about.check, **settings)(command)
        return command

    return decorate


def _settings(kind: Any, about: Option, default: Any, *, inherited: bool) -> dict[str, Any]:
    """Return what click must know of a field.

    Args:
        kind: its type, without None.
        about: what it says of itself.
        default: of the record.
        inherited: see `options_of`.
    """
    settings: dict[str, Any] = {"about": lambda: f"{about.text}{_default_text(about, default, inherited)}"}
    if kind is bool and default is False:
        return {**settings, "is_flag": True}
    settings["default"] = None if inherited or default == () else default
    if kind is bool:
        return {**settings, "switch": True}
    if kind in (int, float):
        return {**settings, "type": kind, "metavar": about.metavar or _METAVARS[kind]}
    if get_origin(kind) is list:  # a tuple is typed once, with commas between
        settings |= {"multiple": True, "callback": lambda _ctx, _param, values: list(values) or None}
    return {**settings, "metavar": about.metavar or "TEXT"}


def _default_text(about: Option, default: Any, inherited: bool) -> str:
    """Return what help says of a default: '  [default: 5]', or nothing."""
    if default is False or default == () or (default is None and about.unset is None):
        return ""
    text = about.unset if default is None else f"{default:g}" if isinstance(default, float) else str(default)
    if default is True:
        text = "yes"
    origin = "the run's, else " if inherited else ""
    return f"  [default: {origin}{text}]"
