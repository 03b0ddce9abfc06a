"""ONNX Runtime's files for browsers: the known package alone, and a line where they are missing."""

import hashlib
import io
import tarfile
from pathlib import Path

import pytest

from edgeprune.browser import web_files
from edgeprune.errors import BenchError


def package(path: Path) -> Path:
    """A package that has what the real one has, by name."""
    names = [
        "package.json",
        "README.md",
        *(f"dist/{name}" for name in web_files.NEEDED),
        "dist/ort.all.min.mjs",
    ]
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            content = b'{"version": "9.9.9"}' if name == "package.json" else name.encode()
            about = tarfile.TarInfo(f"package/{name}")
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))
    return path


def test_only_what_is_needed_is_unpacked(tmp_path: Path) -> None:
    archive = package(tmp_path / "a.tgz")
    digest = hashlib.sha512(archive.read_bytes()).hexdigest()
    web_files.unpack(archive, tmp_path / "ort", digest)
    assert {path.name for path in (tmp_path / "ort").iterdir()} == {*web_files.NEEDED, "package.json"}
    assert web_files.version(tmp_path / "ort") == "9.9.9"


def test_another_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="is not the known onnxruntime-web 1.30.0: its SHA-512 differs"):
        web_files.unpack(package(tmp_path / "a.tgz"), tmp_path / "ort")
    assert not (tmp_path / "ort").exists()


def test_missing_files_are_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(
        BenchError, match=r"not installed \(package.json\): get them by npm: make web in a clone"
    ):
        web_files.version(tmp_path)


def test_without_npm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BenchError, match="npm cannot get onnxruntime-web@1.30.0 .*install Node.js"):
        web_files.fetch(tmp_path / "ort")
