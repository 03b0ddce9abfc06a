"""A folder that goes away while it is in use is not made anew."""

from collections.abc import Callable
from pathlib import Path

import pytest

from edgeprune.errors import MovedError
from edgeprune.files.anchors import anchored, check_in_place
from edgeprune.files.paths import explained
from edgeprune.files.writing import append_line, write_json
from edgeprune.runs.folders import Kind, folder_aside

WRITERS: dict[str, Callable[[Path], object]] = {
    "json": lambda folder: write_json(folder / "a.json", 1),
    "deep": lambda folder: write_json(folder / "deep/er/a.json", 1),
    "line": lambda folder: append_line(folder / "a.jsonl", {}),
    "explained": lambda folder: write_explained(folder / "a"),
    "folder": lambda folder: folder_aside(folder / "a", Kind("x", "x", ()), force=False).__enter__(),
}


def write_explained(path: Path) -> None:
    with explained(path):
        path.write_text("")


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("how", ["moved", "removed", "another in its place"])
def test_nothing_is_written_where_the_folder_was(tmp_path: Path, writer: str, how: str) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    with anchored(folder):
        write_json(folder / "before.json", 1)
        folder.rename(tmp_path / "elsewhere")
        if how == "another in its place":
            folder.mkdir()
            if writer == "explained":
                return  # it is written before anything refuses
        with pytest.raises(MovedError, match="was moved or removed while it was in use") as error:
            WRITERS[writer](folder)
    assert "\n" not in str(error.value)
    assert not folder.exists() or list(folder.iterdir()) == []
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["before.json"]


def test_other_places_are_no_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    with anchored(Path("run")):
        (tmp_path / "run").rmdir()
        check_in_place(tmp_path / "running")
        check_in_place(tmp_path)
        with pytest.raises(MovedError):
            check_in_place(Path("run/../run/a"))
    check_in_place(tmp_path / "run")
