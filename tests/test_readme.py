"""Every command in the README is run as it stands there, in its order, in one empty folder."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.strip()]
WITH_PLACEHOLDER = [c for c in COMMANDS if " DIR " in f"{c} "]
RUNNABLE = [c for c in COMMANDS if c not in WITH_PLACEHOLDER]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


def test_the_three_commands_come_first() -> None:
    assert RUNNABLE[:3] == ["edgeprune train-prune", "edgeprune export", "edgeprune bench"]


@pytest.mark.parametrize("command", [c for c in RUNNABLE if c.startswith("edgeprune ")])
def test_every_command_parses(command: str) -> None:
    """Its options are those of today; what it does is seen in the slow test below."""
    from edgeprune.cli import main

    parser: click.Command = main
    context, args = None, shlex.split(command)[1:]
    while isinstance(parser, click.Group):
        context = parser.make_context(parser.name, [*args], parent=context)
        _, found, args = parser.resolve_command(context, args)
        assert found is not None
        parser = found
    assert parser.make_context(parser.name, [*args], parent=context).params


@pytest.mark.slow
def test_the_commands_one_after_the_other(folder: Path) -> None:
    """One test, since each command needs what those before it left; on one thread, beside other tests."""
    for command in RUNNABLE:
        program, *args = shlex.split(command)
        module = {"edgeprune": "edgeprune", "torchrun": "torch.distributed.run"}[program]
        done = subprocess.run(
            [sys.executable, "-m", module, *args],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"{command}: {done.stderr[-2000:]}"
        assert done.stdout.strip(), command


@pytest.mark.parametrize("command", WITH_PLACEHOLDER)
def test_command_with_the_readers_own_files_parses_and_names_them(command: str, folder: Path) -> None:
    args = shlex.split(command)[1:]
    done = subprocess.run(
        [sys.executable, "-m", "edgeprune", *args], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 1  # not 2: the options are right
    assert len(done.stderr.strip().splitlines()) == 1 and "DIR" in done.stderr


@pytest.mark.parametrize("block", blocks("python"))
def test_python(block: str, folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", block], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_make_targets_exist_and_demo_runs_those_commands() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"make ([a-z-]+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    recipe = makefile.split("demo:")[1].split("\n\n")[0]
    assert re.findall(r"\$\(BIN\)/(edgeprune .*)", recipe) == RUNNABLE[:3]


def test_tables_are_those_of_the_results() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/tables.py", "--check"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:] or "run: python benchmarks/tables.py"
