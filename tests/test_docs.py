"""Every command of the README and of the pages is run as it stands there, in its order, in one empty folder."""

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import click
import fresh
import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
# In the order in which a reader meets them: a page may use what the commands of those before it left.
ORDER = ("models-and-data", "targets", "methods", "search", "devices", "ci", "library", "results")
PAGES = [README, *(DOCS / f"{name}.md" for name in ORDER)]
PAGES += sorted(set(DOCS.glob("*.md")) - set(PAGES))
MOST_WORDS = 1200  # of the README


def blocks(page: Path, language: str) -> list[str]:
    """Return the blocks of code of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def commands(page: Path) -> list[str]:
    """Return the lines of a page's blocks of commands."""
    return [line for block in blocks(page, "sh") for line in block.splitlines() if line.strip()]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and the site make them."""
    headings = re.findall(r"(?m)^#+ (.+)$", page.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


COMMANDS = [command for page in PAGES for command in commands(page)]
PLACEHOLDERS = ("DIR", "model.onnx", "desk.toml")  # files of the reader's own
WITH_PLACEHOLDER = [c for c in COMMANDS if any(f" {place} " in f"{c} " for place in PLACEHOLDERS)]
EXTRAS = {"--task detect": "torchmetrics", "--target-runtime litert": "litert_torch"}  # what a command needs
RUNNABLE = [c for c in COMMANDS if c not in WITH_PLACEHOLDER]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("docs")


def test_the_readme_is_short_and_begins_with_three_commands() -> None:
    assert len(README.read_text().split()) <= MOST_WORDS
    assert [command.split()[1] for command in commands(README)[:3]] == ["train-prune", "export", "bench"]


# Of indented blocks, which need a board, a phone or a run of the reader's own, and are not run.
INDENTED = [line for page in PAGES for line in re.findall(r"(?m)^ {4}(edgeprune .*)$", page.read_text())]


@pytest.mark.parametrize("command", [c for c in (*RUNNABLE, *INDENTED) if c.startswith("edgeprune ")])
def test_every_command_parses(command: str) -> None:
    """Its options are those of today; what it does is seen in the slow test below."""
    from edgeprune.cli import main

    parser: click.Command = main
    context, args = None, shlex.split(command, comments=True)[1:]
    while isinstance(parser, click.Group):
        context = parser.make_context(parser.name, [*args], parent=context)
        _, subcommand, args = parser.resolve_command(context, args)
        assert subcommand is not None
        parser = subcommand
    assert parser.make_context(parser.name, [*args], parent=context).params


@pytest.mark.slow
def test_the_commands_one_after_the_other(folder: Path) -> None:
    """One test, since each command needs what those before it left; on one thread, beside other tests."""
    for command in RUNNABLE:
        if any(text in command and find_spec(package) is None for text, package in EXTRAS.items()):
            continue
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
    done = fresh.run(["-m", "edgeprune", *args], cwd=folder)
    assert done.returncode == 1  # not 2: the options are right
    assert len(done.stderr.strip().splitlines()) == 1
    assert any(place in done.stderr for place in PLACEHOLDERS)


@pytest.mark.parametrize(
    "block",
    [pytest.param(block, id=f"{page.stem}-{n}") for page in PAGES for n, block in enumerate(blocks(page, "python"))],
)  # fmt: skip
def test_python(block: str, folder: Path) -> None:
    done = fresh.run(["-c", block], cwd=folder)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_to_what_is_there(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" in link:
            continue
        place, _, anchor = link.partition("#")
        target = page.parent / place if place else page
        assert target.exists(), f"{page.name}: {link}"
        assert page == README or target.is_relative_to(DOCS), f"{page.name}: {link} is not on the site"
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{page.name}: {link}"


def test_every_page_is_in_the_sites_menu() -> None:
    menu = (ROOT / "mkdocs.yml").read_text()
    for page in DOCS.glob("*.md"):
        assert f" {page.name}" in menu, f"{page.name}: add it to mkdocs.yml"


def test_make_targets_exist_and_demo_runs_those_commands() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for target in re.findall(r"`make ([a-z-]+)`", page.read_text()):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    recipe = makefile.split("demo:")[1].split("\n\n")[0]
    assert re.findall(r"\$\(BIN\)/(edgeprune .*)", recipe) == commands(README)[:3]


@pytest.mark.parametrize("script", ["benchmarks/tables.py", "docs/picture.py"])
def test_tables_and_pictures_are_those_of_the_results(script: str) -> None:
    done = fresh.run([script, "--check"], cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:] or f"run: python {script}"
