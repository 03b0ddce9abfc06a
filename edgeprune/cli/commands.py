"""A command: its help in groups, what was typed checked, and errors that name its options as they are typed."""

from collections import Counter
from typing import Any

import click

from edgeprune.cli.failures import naming_options
from edgeprune.cli.options import GroupedOption
from edgeprune.errors import EdgePruneError
from edgeprune.options.fields import GROUPS

_ALL = "edgeprune.help_all"


class Command(click.Command):
    """Shows the main options by groups, all with --help-all; checks every parameter, so that no command has to."""

    _help_all: GroupedOption | None = None

    # --- help ----------------------------------------------------------------------------------------

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the parameters, with --help-all where the short help leaves some out."""
        params = super().get_params(ctx)
        if all(getattr(param, "main", True) for param in params):
            return params
        if self._help_all is None:
            self._help_all = _help_all(sum(isinstance(param, click.Option) for param in params) + 1)
        return [*params, self._help_all]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options that are to be shown, by groups, in columns that stand below each other."""
        sections: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for param in self.get_params(ctx):
            if isinstance(param, click.Option) and (getattr(param, "main", True) or ctx.meta.get(_ALL)):
                row = param.get_help_record(ctx)
                if row is not None:
                    sections[getattr(param, "group", GROUPS[-1])].append(row)
        rows = [row for section in sections.values() for row in section]
        width = min(max(len(words) for words, _ in rows), 30)
        grouped = sum(map(bool, sections.values())) > 1
        for group, section in sections.items():
            if section:
                with formatter.section(group.capitalize() if grouped else "Options"):
                    words, text = section[0]
                    formatter.write_dl([(words.ljust(width), text), *section[1:]], col_max=width)

    # --- values --------------------------------------------------------------------------------------

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

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error that names a field of options names the option as it is typed here."""
        with naming_options(self):
            return super().invoke(ctx)

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
    if isinstance(value, str):
        _check_text(shown, value)
    if isinstance(param, GroupedOption) and param.check is not None:
        param.check(shown, value)


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


def _help_all(count: int) -> GroupedOption:
    """Return the option that shows all others."""

    def show(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value and not ctx.resilient_parsing:
            ctx.meta[_ALL] = True
            click.echo(ctx.get_help(), color=ctx.color)
            ctx.exit()

    return GroupedOption(
        ["--help-all"], is_flag=True, is_eager=True, expose_value=False, callback=show,
        help=f"Show all {count} options and exit.",
    )  # fmt: skip
