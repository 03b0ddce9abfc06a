"""Help: grouped, the options that matter, all of them with --help-all; made from the records of options."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import click
import pytest
from click.testing import CliRunner

from edgeprune.cli import main
from edgeprune.cli.base import _Group
from edgeprune.cli.options import grouped, options_of
from edgeprune.options.checks import Choice, Count
from edgeprune.options.fields import GROUPS, option
from edgeprune.train_prune.options import TrainPruneOptions


def commands(group: click.Group = main, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


COMMANDS = dict(commands())


def help_of(name: str, flag: str = "--help") -> str:
    result = CliRunner().invoke(main, [*name.split(), flag])
    assert result.exit_code == 0, result.output
    return result.stdout


def listed(text: str) -> list[str]:
    """The options that a help lists, by the first of their names."""
    return re.findall(r"^  (?:-[a-z], )?(--[a-z-]+)(?=  | [A-Z]| / |$)", text, re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["--help", "--help-all"])
def test_help_fits_80_columns(name: str, flag: str) -> None:
    if flag == "--help-all" and flag not in help_of(name):
        pytest.skip("the short help has all options")
    assert [line for line in help_of(name, flag).splitlines() if len(line) > 80] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_all_options_are_listed_once_and_have_help(name: str) -> None:
    short = help_of(name)
    full = help_of(name, "--help-all" if "--help-all" in short else "--help")
    options = [param for param in COMMANDS[name].params if isinstance(param, click.Option)]
    assert sorted(listed(full)) == sorted(
        [*(param.opts[0] for param in options), "--help", *(["--help-all"] if "--help-all" in short else [])]
    )
    assert set(listed(short)) <= set(listed(full))
    for param in options:
        record = param.get_help_record(click.Context(COMMANDS[name]))
        assert record is not None and record[1][0].isupper(), record
    shown = re.search("Show all ([0-9]+) options", short)
    assert shown is None or int(shown[1]) == len(listed(full))


def test_train_prune_shows_what_matters_by_groups() -> None:
    short, full = help_of("train-prune"), help_of("train-prune", "--help-all")
    assert re.findall("^([A-Z][a-z]+):$", full, re.MULTILINE) == [
        group.capitalize() for group in GROUPS if group != "measurement"
    ]
    main_options = [
        "--model",
        "--weights",
        "--task",
        "--data",
        "--method",
        "--methods",
        "--target",
        "--target-device",
        "--max-drop",
    ]
    main_options += ["--host", "--epochs", "--lr", "--batch-size", "--device", "--out", "--resume", "--force"]
    assert listed(short) == [*main_options, "--json", "--help", "--help-all"]
    assert "--weight-decay" not in short and len(listed(full)) > 55
    model = full.split("Model:")[1].split("Data:")[0]
    assert listed(model) == ["--model", "--weights", "--weights-key", "--task", "--opaque"]


def test_defaults_stand_in_the_help() -> None:
    text = " ".join(help_of("train-prune", "--help-all").split())
    assert "[default: resnet20]" in text and "decay. [default: 0.0001]" in text
    assert "Seed every random choice. [default: 0]" in text
    assert "[default: 18 for fewer than 5000 images, else 100]" in text
    assert (
        "4000, or 40 % of all; learned: 10 %, or 400]" in text
        and "[default: yes, from a trained one]" in text
    )
    text = " ".join(help_of("compare", "--help-all").split())
    assert "[default: the run's, else flops=0.5]" in text and "measure it. [default: yes]" in text


def test_columns_stand_below_each_other() -> None:
    text = help_of("train-prune")
    places = {re.search(r"^(  --[a-z-]+ [A-Z_]+ +)", line) for line in text.splitlines()}
    assert len({match.end() for match in places if match}) == 1


@dataclass(frozen=True)
class Toy:
    """Options of a toy command."""

    size: int = option(2, "Set the size.", "model", Count(1, 9), main=True)
    rate: float | None = option(None, "Set the rate.", "training", unset="its own")
    colour: str = option("red", "Paint it {choices}.", "model", Choice(("red", "green")))
    names: list[str] | None = option(None, "Name one. May be repeated.", "data")
    parts: tuple[str, ...] = option((), "Name some, with commas between.", "data")
    loud: bool = option(False, "Say it loud.", "run")
    sure: bool | None = option(None, "Be sure.", "run")
    inner: dict[str, int] | None = option(None, "Set by others.", "run", typed=False)
    plain: int = 3


@click.group(cls=_Group)
def toys() -> None:
    """Commands of toys."""


@toys.command("make")
@options_of(Toy)
@grouped("--out", help="Write here.")
def make(**values: object) -> None:
    """Make a toy."""
    click.echo(repr(values))


@toys.command("paint")
@options_of(Toy, inherited=True, only=("colour", "size"), flags={"colour": "--hue"}, main=("colour",))
def paint(**values: object) -> None:
    """Paint a toy."""
    click.echo(repr(values))


def typed(*words: str) -> dict[str, object]:
    result = CliRunner().invoke(toys, [*words])
    assert result.exit_code == 0, result.output
    values: dict[str, object] = eval(result.stdout)
    return values


def test_options_of_a_record() -> None:
    assert typed("make") == {
        "size": 2, "rate": None, "colour": "red", "names": None, "parts": None, "loud": False, "sure": None,
        "out": None,
    }  # fmt: skip
    words = [
        "--size",
        "3",
        "--rate",
        "0.5",
        "--names",
        "a",
        "--names",
        "b",
        "--parts",
        "a,b",
        "--loud",
        "--no-sure",
    ]
    values = typed("make", *words)
    assert values["size"] == 3 and values["rate"] == 0.5 and values["names"] == ["a", "b"]
    assert values["parts"] == "a,b" and values["loud"] is True and values["sure"] is False
    assert (
        typed("paint") == {"colour": None, "size": None}
        and typed("paint", "--hue", "green")["colour"] == "green"
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["make", "--size", "10"], "--size must be at most 9, not 10"),
        (
            ["make", "--colour", "gren"],
            "--colour: unknown colour 'gren' (did you mean 'green'?); known: green, red",
        ),
        (["paint", "--hue", "gren"], "--hue: unknown hue 'gren' (did you mean 'green'?); known: green, red"),
        (["make", "--names", " "], "--names is empty: give a value, or leave it out"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_the_option(words: list[str], line: str) -> None:
    result = CliRunner().invoke(toys, words)
    assert result.exit_code == 1 and result.stderr == f"error: {line}\n"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--schedule", "cosin"], "--schedule: unknown schedule 'cosin' (did you mean 'cosine'?)"),
        (
            ["--prune-schedule", "iteratve"],
            "--prune-schedule: unknown prune-schedule 'iteratve' (did you mean",
        ),
        (["--precision", "fp61"], "--precision: unknown precision 'fp61' (did you mean 'fp16'?)"),
        (["--moment", "strat"], "--moment: unknown moment 'strat' (did you mean 'start'?)"),
        (
            ["--task", "clasification"],
            "--task: unknown task 'clasification' (did you mean 'classification'?)",
        ),
        (["--momentum", "1"], "--momentum must be at least 0 and below 1, not 1.0"),
        (["--val-fraction", "1.5"], "--val-fraction must be at least 0 and below 1, not 1.5"),
    ],
)
def test_near_misses_are_hinted(words: list[str], line: str) -> None:
    result = CliRunner().invoke(main, ["train-prune", *words])
    assert result.exit_code == 1 and result.stdout == ""
    assert result.stderr.startswith(f"error: {line}") and result.stderr.count("\n") == 1


def test_every_option_of_the_record_is_typed_by_its_name() -> None:
    flags = {param.name: param.opts[0] for param in COMMANDS["train-prune"].params}
    for name in vars(TrainPruneOptions()):
        assert name in ("host", "more_hosts") or flags[name] == f"--{name.replace('_', '-')}"


def test_the_first_help_fits_80_columns() -> None:
    text = CliRunner().invoke(main, ["--help"]).stdout
    assert [line for line in text.splitlines() if len(line) > 80] == []
