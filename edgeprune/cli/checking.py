"""A command that checks what was typed: each option once, none of them empty, no absurd number."""

from collections import Counter
from typing import Any

import click

from edgeprune.errors import EdgePruneError
from edgeprune.options.bounds import COUNTS, QUANTITIES, check_count, check_quantity


class CheckedCommand(click.Command):
    """Checks every parameter of a command by its name and type, so that no command has to."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, then check.

        Raises:
            EdgePruneError: a value that is empty, not UTF-8, or out of bounds. UsageError: an option twice.
        """
        typed = list(args)
        rest = super().parse_args(ctx, args)
        if not ctx.resilient_parsing:
            self._check_once(ctx, typed)
            for param in self.params:
                for value in _values(ctx, param):
                    check_value(param, value)
        return rest

    def _check_once(self, ctx: click.Context, typed: list[str]) -> None:
        _, _, order = self.make_parser(ctx).parse_args(list(typed))
        for param, count in Counter(order).items():
            if isinstance(param, click.Option) and not param.multiple and not param.is_flag and count > 1:
                raise click.UsageError(f"{param.opts[0]} is given {count} times: give it once", ctx)


def check_value(param: click.Parameter, value: Any) -> None:
    """Refuse a typed value that no command can do anything with.

    Raises:
        EdgePruneError: with the option's name, the value and what to do.
    """
    shown = param.opts[0] if isinstance(param, click.Option) else param.human_readable_name
    name = str(param.name)
    if isinstance(value, str):
        _check_text(shown, value)
    elif name in COUNTS and isinstance(param.type, click.types.IntParamType):
        check_count(name, value, option=shown)
    elif name in QUANTITIES and isinstance(param.type, click.types.FloatParamType):
        check_quantity(name, value, option=shown)


def _check_text(shown: str, value: str) -> None:
    if not value.strip():
        raise EdgePruneError(f"{shown} is empty: give a value, or leave it out")
    if "\0" in value:
        raise EdgePruneError(f"{shown} has a NUL character in it: no name has one")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        name = value.encode("utf-8", "backslashreplace").decode()
        raise EdgePruneError(
            f"{shown} {name} is not UTF-8: rename it, or reach it by another path"
        ) from error


def _values(ctx: click.Context, param: click.Parameter) -> list[Any]:
    """Return what was typed of a parameter, one by one."""
    if ctx.get_parameter_source(str(param.name)) != click.core.ParameterSource.COMMANDLINE:
        return []
    value = ctx.params.get(str(param.name))
    return list(value) if isinstance(value, tuple | list) else [value]
