"""The wheel has all that the command line needs: every room, the runner, the profiles; and runs outside of the tree."""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import edgeprune_target
import pytest

ROOT = Path(__file__).parents[1]
SOURCES = ("edgeprune", "deploy/edgeprune_target", "profiles")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources and unpack it, which is how it is installed."""
    major = int(version("setuptools").split(".")[0])
    if major < 77:
        pytest.skip(f"setuptools {major} does not know a licence's expression: pip install 'setuptools>=77'")
    tree, folder = tmp_path_factory.mktemp("tree"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    build = f"from setuptools.build_meta import build_wheel; print('wheel:', build_wheel({str(folder)!r}), sep='')"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=tree, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    wheel = folder / done.stdout.rsplit("wheel:", 1)[1].strip()
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def test_every_module_and_profile_is_in_the_wheel(installed: Path) -> None:
    for source in (*ROOT.glob("edgeprune/**/*.py"), *ROOT.glob("deploy/edgeprune_target/**/*.py")):
        relative = source.relative_to(ROOT)
        inside = relative.relative_to("deploy") if relative.parts[0] == "deploy" else relative
        assert (installed / inside).is_file(), f"{relative} is missing: add its package to pyproject.toml"
    for profile in (ROOT / "profiles").glob("*.toml"):
        assert (installed / "edgeprune" / "profiles" / profile.name).is_file()
    page = (
        ROOT / "edgeprune" / "browser" / "page"
    )  # with ONNX Runtime's files in ort/ where `make web` has been run
    for part in (path for path in page.rglob("*") if path.is_file()):
        assert (installed / part.relative_to(ROOT)).is_file()


def test_its_description_has_the_version_and_the_licence(installed: Path) -> None:
    (metadata,) = installed.glob("edgeprune-*.dist-info/METADATA")
    lines = metadata.read_text().splitlines()
    assert f"Version: {edgeprune_target.__version__}" in lines
    assert "License-Expression: Apache-2.0" in lines
    assert (metadata.parent / "licenses" / "LICENSE").is_file()


def test_the_command_line_runs_from_it(installed: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    code = "import edgeprune; print(edgeprune.__file__); from edgeprune.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "bench", "--help"], cwd=tmp_path, env=environment, capture_output=True,
        text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and str(installed) in done.stdout and "--device" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "edgeprune", "devices"], cwd=tmp_path, env=environment,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0 and "jetson" in done.stdout, done.stderr
