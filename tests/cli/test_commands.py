"""Every option of every command, given what no command can do anything with."""

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from edgeprune.cli import main
from edgeprune.cli.options import GroupedOption
from edgeprune.options.checks import Count, Quantity

# Words that a command cannot do without, by the parameter that they are for.
REQUIRED = {
    "inspect": {"model": ["resnet8"]}, "verify": {"budget": ["--budget", "b.toml"]},
    "lut build": {"model": ["--model", "resnet8"]},
    "prune": {"model": ["model.onnx"], "out": ["--out", "small.onnx"]},
}  # fmt: skip


def commands(group: click.Group = main, words: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


def parameters(*kinds: type) -> list[tuple[str, click.Parameter]]:
    return [
        (name, param)
        for name, command in commands()
        for param in command.params
        if isinstance(param.type, kinds) and not getattr(param, "is_flag", False)
    ]


TEXT = parameters(click.types.StringParamType)
NUMBERS = parameters(click.types.IntParamType, click.types.FloatParamType)


def ids(case: object) -> str:
    return case.opts[0] if isinstance(case, click.Parameter) else str(case)


def run(command: str, param: click.Parameter, *values: str) -> tuple[int, str]:
    """The exit code and stderr of a command with a parameter given each of the values."""
    typed = [
        word for v in values for word in ([param.opts[0], v] if isinstance(param, click.Option) else [v])
    ]
    required = REQUIRED.get(command, {})
    needed = [word for name, words in required.items() if name != param.name for word in words]
    result = CliRunner().invoke(main, [*command.split(), *needed, *typed])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    return result.exit_code, result.stderr


def is_one_line(error: str) -> bool:
    return error.startswith("error: ") and error.count("\n") == 1


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    yield
    assert list(tmp_path.iterdir()) == []


def test_there_are_options() -> None:
    assert len(TEXT) > 60 and len(NUMBERS) > 50


@pytest.mark.parametrize(("command", "param"), NUMBERS, ids=ids)
def test_every_number_has_bounds(command: str, param: click.Parameter) -> None:
    assert isinstance(param, GroupedOption), command
    assert isinstance(param.check, Count if isinstance(param.type, click.types.IntParamType) else Quantity)


@pytest.mark.parametrize("value", ["", "  "])
@pytest.mark.parametrize(("command", "param"), TEXT, ids=ids)
def test_an_empty_value_is_a_mistake(command: str, param: click.Parameter, value: str) -> None:
    code, error = run(command, param, value)
    assert code == 1 and "is empty" in error and is_one_line(error)


@pytest.mark.parametrize(("command", "param"), TEXT, ids=ids)
def test_a_name_that_is_not_utf8_is_a_mistake(command: str, param: click.Parameter) -> None:
    code, error = run(command, param, "caf\udce9")
    assert code == 1 and "is not UTF-8" in error and is_one_line(error)


@pytest.mark.parametrize(("command", "param"), [*TEXT, *NUMBERS], ids=ids)
def test_a_value_is_given_once(command: str, param: click.Parameter) -> None:
    if getattr(param, "multiple", False) or isinstance(param, click.Argument):
        pytest.skip("may be repeated, or cannot be")
    code, error = run(command, param, "1", "2")
    assert code == 2 and "is given 2 times: give it once" in error


@pytest.mark.parametrize("value", ["99999999999999999999", "-99999999999999999999", "-1"])
@pytest.mark.parametrize(("command", "param"), parameters(click.types.IntParamType), ids=ids)
def test_an_absurd_count(command: str, param: click.Parameter, value: str) -> None:
    code, error = run(command, param, value)
    side = "at least" if value.startswith("-") else "at most"
    assert code == 1 and f"{param.opts[0]} must be {side}" in error and is_one_line(error)


@pytest.mark.parametrize(("command", "param"), parameters(click.types.IntParamType), ids=ids)
def test_zero_where_there_must_be_one(command: str, param: click.Parameter) -> None:
    if isinstance(param, GroupedOption) and isinstance(param.check, Count) and param.check.least == 0:
        pytest.skip("zero means something here")
    code, error = run(command, param, "0")
    assert code == 1 and "must be at least 1, not 0" in error and is_one_line(error)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e308", "1e9999"])
@pytest.mark.parametrize(("command", "param"), parameters(click.types.FloatParamType), ids=ids)
def test_an_absurd_quantity(command: str, param: click.Parameter, value: str) -> None:
    code, error = run(command, param, value)
    assert code == 1 and f"{param.opts[0]} must be " in error and is_one_line(error)


@pytest.mark.parametrize("value", ["1" * 5000, "many", "1.5", "0x10"])
@pytest.mark.parametrize(("command", "param"), parameters(click.types.IntParamType)[:6], ids=ids)
def test_what_is_no_whole_number(command: str, param: click.Parameter, value: str) -> None:
    code, error = run(command, param, value)
    assert code == 2 and "is not a valid integer" in error


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("epochs", "100001"), ("prune-steps", "1000000"), ("batch-size", "1000000"), ("image-size", "100000"),
        ("target-threads", "100000"), ("target-batch", "100000"), ("seed", "2147483648"),
        ("prune-iterations", "10000000000"), ("align", "1000000"), ("floor", "1000000"),
    ],
)  # fmt: skip
def test_sizes_that_would_take_forever(option: str, value: str) -> None:
    result = CliRunner().invoke(main, ["train-prune", f"--{option}", value])
    assert result.exit_code == 1 and f"--{option} must be at most" in result.stderr


def test_a_value_after_an_equals_sign_and_a_flag_twice_are_fine() -> None:
    result = CliRunner().invoke(main, ["steer", "--show", "--show", "nowhere"])
    assert result.exit_code == 1 and "no such run folder" in result.stderr
    result = CliRunner().invoke(main, ["export", "--images=0"])
    assert result.exit_code == 1 and "--images must be at least 1, not 0" in result.stderr
    result = CliRunner().invoke(main, ["export", "--images=1", "--images", "2"])
    assert result.exit_code == 2 and "--images is given 2 times" in result.stderr
