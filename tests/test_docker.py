"""docker/ against what the repository has: nothing is built here, so that what can be checked without, is."""

import re
import shlex
from pathlib import Path

import pytest
from edgeprune_target.__main__ import parser
from edgeprune_target.board import jetpack

from edgeprune.cli import main
from edgeprune.devices import all_devices

try:
    import tomllib
except ModuleNotFoundError:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
FILES = sorted(DOCKER.glob("*.Dockerfile"))
PAGES = [DOCKER / "README.md", ROOT / "deploy" / "README.md"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
RUNNER_FLOOR = (3, 8)
KNOWN = {"FROM", "ARG", "ENV", "RUN", "COPY", "WORKDIR", "ENTRYPOINT", "CMD"}


def instructions(path: Path) -> list[tuple[str, str]]:
    """(word, rest) of each, lines that go on joined, comments left out."""
    lines = [line for line in path.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ")
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]  # type: ignore[misc]


def commands(program: str, page: Path) -> list[list[str]]:
    """Words of the page's commands that start with ``program``."""
    lines = [line.strip() for line in page.read_text().splitlines() if line.startswith("    ")]
    return [words for words in map(shlex.split, lines) if words[:1] == [program]]


def images() -> dict[str, Path]:
    """Tag -> Dockerfile, by the build commands."""
    builds = [words for words in commands("docker", DOCKER / "README.md") if words[1] == "build"]
    return {words[words.index("-t") + 1]: ROOT / words[words.index("-f") + 1] for words in builds}


def runs() -> list[tuple[str, list[str]]]:
    """(image, words after it) of each `docker run`."""
    collected = []
    for words in commands("docker", DOCKER / "README.md"):
        if words[1] == "run":
            image = next(word for word in words[2:] if word in images())
            collected.append((image, words[words.index(image) + 1 :]))
    return collected


def ids(path: Path) -> str:
    return path.name


def test_there_are_some() -> None:
    assert len(FILES) == 4


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_instructions_are_known_and_start_from_an_image(path: Path) -> None:
    steps = instructions(path)
    assert {word for word, _ in steps} <= KNOWN
    assert next(word for word, _ in steps if word != "ARG") == "FROM"
    for word, rest in steps:
        if word in ("ENTRYPOINT", "CMD"):
            assert rest.startswith('["') and rest.endswith('"]')  # no shell between docker and the program


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_copied_files_exist(path: Path) -> None:
    for word, rest in instructions(path):
        if word == "COPY":
            *sources, _ = rest.split()
            for source in sources:
                assert (ROOT / source).exists(), f"{path.name} copies {source}"


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_everything_that_the_build_needs_is_copied(path: Path) -> None:
    """pip finds the packages of pyproject.toml, and nothing of them is left out."""
    copied = {source for word, rest in instructions(path) if word == "COPY" for source in rest.split()[:-1]}
    installs = any(
        word == "RUN" and re.search(r"pip install .*'?\.(\[|'| |$)", rest)
        for word, rest in instructions(path)
    )
    expected = {"pyproject.toml", "README.md", "edgeprune", "deploy", "profiles"}
    assert not installs or expected <= copied
    assert installs or copied == {"deploy/edgeprune_target"}


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_extras_exist(path: Path) -> None:
    for word, rest in instructions(path):
        for names in re.findall(r"'\.\[([\w,-]+)\]'", rest if word == "RUN" else ""):
            assert set(names.split(",")) <= set(PROJECT["optional-dependencies"])


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_python_is_one_that_is_allowed(path: Path) -> None:
    """What the file itself says of a version; those of NVIDIA's images are Ubuntu's."""
    floor = tuple(map(int, re.findall(r"\d+", PROJECT["requires-python"])))
    only_runner = "edgeprune_target" in dict(instructions(path))["ENTRYPOINT"]
    for major, minor in re.findall(r"python:?(3)\.(\d+)", path.read_text()):
        assert (int(major), int(minor)) >= (RUNNER_FLOOR if only_runner else floor)


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_entrypoint_is_a_program_of_ours(path: Path) -> None:
    words = re.findall(r'"([^"]+)"', dict(instructions(path))["ENTRYPOINT"])
    assert words[-1] in PROJECT["scripts"] or words[1:] == ["-m", "edgeprune_target"]


@pytest.mark.parametrize("path", FILES, ids=ids)
def test_page_builds_and_runs_each(path: Path) -> None:
    tags = [tag for tag, file in images().items() if file == path]
    assert tags
    assert any(image in tags for image, _ in runs())
    assert f"`{path.name}`" in (DOCKER / "README.md").read_text()


def test_page_names_no_file_that_is_not_there() -> None:
    named = re.findall(r"([\w-]+\.Dockerfile)", (DOCKER / "README.md").read_text())
    assert {*named} == {path.name for path in FILES}


@pytest.mark.parametrize(
    ("image", "words"), runs(), ids=lambda value: value if isinstance(value, str) else ""
)
def test_run_commands_are_ones_that_the_program_takes(image: str, words: list[str]) -> None:
    if not words:
        return
    if "edgeprune_target" in dict(instructions(images()[image]))["ENTRYPOINT"]:
        parser().parse_args(words)
    else:
        main.commands[words[0]].make_context(words[0], words[1:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_edgeprune_commands_are_ones_that_it_takes(page: Path) -> None:
    lines = commands("edgeprune", page)
    assert lines
    for words in lines:
        main.commands[words[1]].make_context(words[1], words[2:])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_runner_commands_are_ones_that_it_takes(page: Path) -> None:
    for line in page.read_text().splitlines():
        if line.startswith("    ") and " -m edgeprune_target " in line:
            parser().parse_args(shlex.split(line.partition(" -m edgeprune_target ")[2]))


def bases() -> list[list[str]]:
    """Cells of the table of base images."""
    table = (DOCKER / "README.md").read_text().partition("<!-- bases -->")[2].partition("<!-- end -->")[0]
    rows = [line.strip("| ").split("|") for line in table.strip().splitlines()[2:]]
    return [[cell.strip().strip("`") for cell in row] for row in rows]


@pytest.mark.parametrize(("l4t", "pack", "tensorrt", "file", "base"), bases())
def test_releases_are_those_that_the_profiles_know(
    l4t: str, pack: str, tensorrt: str, file: str, base: str
) -> None:
    assert jetpack(l4t) == pack
    of_profiles = {
        version
        for device in all_devices()
        for name, version in device.jetpack.items()
        if f"{pack}.".startswith(f"{name}.")  # 5.1.2 has the TensorRT of 5.1
    }
    assert tensorrt.split(",")[0] in of_profiles
    assert (DOCKER / file).is_file()
    if "l4t-" in base:  # a container may not be newer than its host
        assert numbers(base.rpartition(":r")[2]) <= numbers(l4t)


def numbers(release: str) -> list[int]:
    return [int(word) for word in release.split(".")]


def test_default_bases_are_in_the_table() -> None:
    for path in FILES:
        defaults = [rest.partition("=")[2] for word, rest in instructions(path) if word == "ARG"]
        for default in defaults if path.name.startswith("jetson") else []:
            assert [path.name, default] in [row[3:] for row in bases()]
