import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgeprune.bench import pyz
from edgeprune.bench.pyz import runner_bytes, write_runner


def test_same_sources_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the files' dates, modes and leftovers are."""
    shutil.copytree(pyz.runner_folder() / pyz.PACKAGE, tmp_path / pyz.PACKAGE)
    for path in (tmp_path / pyz.PACKAGE).rglob("*.py"):
        path.chmod(0o755)
        os.utime(path, (1e9, 1e9))
    (tmp_path / pyz.PACKAGE / "__pycache__").mkdir(exist_ok=True)
    (tmp_path / pyz.PACKAGE / "__pycache__" / "left.pyc").write_bytes(b"x")
    before = runner_bytes()
    monkeypatch.setattr(pyz, "runner_folder", lambda: tmp_path)
    assert runner_bytes() == before
    (tmp_path / pyz.PACKAGE / "errors.py").write_text("changed = True\n")
    assert runner_bytes() != before


def test_holds_the_whole_runner_and_nothing_else(tmp_path: Path) -> None:
    with zipfile.ZipFile(write_runner(tmp_path)) as archive:
        names = archive.namelist()
    package = pyz.runner_folder()
    expected = {path.relative_to(package).as_posix() for path in (package / pyz.PACKAGE).rglob("*.py")}
    assert set(names) == expected | {"__main__.py"}
    assert names == sorted(names)


def test_runs_by_itself(tmp_path: Path) -> None:
    path = write_runner(tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", str(path), "--version"], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.strip() == "0.1.0"
