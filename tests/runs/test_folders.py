"""`--force` takes a folder of ours and nothing else, and only once the new one stands."""

import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune.errors import EdgePruneError, InUseError, RunError, StorageError
from edgeprune.files.locks import held
from edgeprune.runs import folders
from edgeprune.runs.folders import Kind, folder_aside

KIND = Kind("test folder", "marker.json", ("marker.json", "*.txt", "deep/*.bin", "rows/*/row.json"))


def make(path: Path, content: str = "new", **options: Any) -> None:
    with folder_aside(path, KIND, force=options.pop("force", True), **options) as aside:
        (aside / "content.txt").write_text(content)
        (aside / "marker.json").write_text('{"schema": 1}')


def everything(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    make(tmp_path / "old", "old")
    return tmp_path / "old"


def refused(path: Path, message: str, error: type[EdgePruneError] = RunError, **options: Any) -> None:
    """Nothing changes, and the message is one line."""
    root = path.parent
    before = everything(root)
    with pytest.raises(error) as raised:
        make(path, **options)
    assert message in str(raised.value) and "\n" not in str(raised.value)
    assert everything(root) == before


def test_a_folder_of_ours_is_replaced(old: Path) -> None:
    make(old)
    assert everything(old.parent) == {"old/content.txt": b"new", "old/marker.json": b'{"schema": 1}'}


def test_without_force_nothing_is_replaced(old: Path) -> None:
    refused(old, "go on with --resume, start it anew with --force", force=False)


@pytest.mark.parametrize("content", ["{}", "[1]", "{", "", '{"model_type": "resnet"}'])
def test_another_program_s_marker_is_not_ours(tmp_path: Path, content: str) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/marker.json").write_text(content)
    refused(tmp_path / "theirs", "exists and is not a test folder")


@pytest.mark.parametrize("where", [".", "deep", "deep/er"])
def test_the_working_folder_and_those_above_it_stay(
    old: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (old / where).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(old / where)
    refused(old, "the folder you work in or one above it")
    monkeypatch.chdir(old)
    before = everything(old)
    for path in (Path(), Path(".."), Path("deep/..")):
        with pytest.raises(RunError):
            make(path)
    assert everything(old) == before


def test_a_link_is_not_followed(old: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(old)
    refused(tmp_path / "link", "is a symbolic link, which --force does not replace")
    assert (tmp_path / "link").is_symlink()


def test_a_dangling_link_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    refused(tmp_path / "link", "exists and is not a test folder")
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("where", [".", "deep"])
def test_a_mount_point_stays(old: Path, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (old / "deep").mkdir()
    mount = str(old / where)
    monkeypatch.setattr(folders.os.path, "ismount", lambda path: Path(path) == Path(mount))
    refused(old, "is a mount point")


@pytest.mark.parametrize(
    ("strange", "named"),
    [
        (["thesis.tex"], "(thesis.tex)"),
        (["deep/notes.md"], "(deep/notes.md)"),
        (["deep/er/a.bin"], "(deep/er/a.bin)"),
        (["row.json"], "(row.json)"),
        (["e.c", "d.c", "c.c", "b.c", "a.c"], "(a.c, b.c, c.c and 2 more)"),
        ([".hidden"], "(.hidden)"),
    ],
)
def test_files_of_others_are_named_and_kept(old: Path, strange: list[str], named: str) -> None:
    for name in strange:
        (old / name).parent.mkdir(parents=True, exist_ok=True)
        (old / name).write_text("years of work")
    refused(old, f"that edgeprune did not write {named}")


def test_links_of_others_are_named_and_kept(old: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/image").write_text("precious")
    (old / "images").symlink_to(tmp_path / "data")
    refused(old, "that edgeprune did not write (images)")


def test_what_a_link_of_ours_leads_to_is_kept(old: Path, tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "large/a.bin").write_text("precious")
    (old / "deep").symlink_to(tmp_path / "large")
    make(old)
    assert not (old / "deep").exists() and (tmp_path / "large/a.bin").read_text() == "precious"


def test_parts_and_what_systems_leave_are_no_content(old: Path) -> None:
    for name in (".content.txt.1.part", ".DS_Store", ".lock.json", "deep/.a.bin.12.part"):
        (old / name).parent.mkdir(exist_ok=True)
        (old / name).write_text("")
    make(old)
    assert sorted(everything(old)) == ["content.txt", "marker.json"]


def test_what_is_read_is_not_deleted(old: Path) -> None:
    refused(old, "which is read", inputs=(None, str(old / "content.txt")))
    refused(old, "which is read", inputs=(str(old),))
    make(old, inputs=("resnet20", str(old / "nowhere.txt")))


def test_a_folder_in_use_stays(old: Path) -> None:
    with held(old):
        refused(old, "is in use by process", InUseError)
    (old / "rows/a").mkdir(parents=True)
    (old / "rows/a/row.json").write_text("{}")
    with held(old / "rows/a"):
        refused(old, "is in use by process", InUseError)
    make(old)


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_an_error_on_the_way_leaves_the_old_one(old: Path, error: BaseException) -> None:
    before = everything(old.parent)
    with pytest.raises(type(error)), folder_aside(old, KIND, force=True) as aside:
        (aside / "content.txt").write_text("half")
        raise error
    assert everything(old.parent) == before


def test_a_rename_that_fails_brings_the_old_one_back(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real = everything(old.parent), Path.replace

    def replace(self: Path, target: Path) -> Path:
        if target == old and not self.name.endswith(folders.OLD):
            raise OSError(28, "No space left on device")
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(StorageError, match="the disk is full") as error:
        make(old)
    assert ".part" not in str(error.value)
    assert everything(old.parent) == before


def test_an_old_one_that_cannot_be_deleted_is_named(
    old: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    real = folders.shutil.rmtree

    def rmtree(path: Path, **options: Any) -> None:
        if str(path).endswith(folders.OLD):
            raise PermissionError(13, "Permission denied")
        real(path, **options)

    monkeypatch.setattr(folders.shutil, "rmtree", rmtree)
    make(old)
    assert (old / "content.txt").read_text() == "new"
    assert "the replaced folder is left at" in caplog.text


@pytest.mark.parametrize("link", [False, True])
def test_an_empty_folder_is_filled_where_it_is(
    tmp_path: Path, link: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    inode = (tmp_path / "empty").stat().st_ino
    path = tmp_path / "empty"
    if link:
        path = tmp_path / "link"
        path.symlink_to(tmp_path / "empty")
    monkeypatch.chdir(path)
    make(Path(), force=False)
    assert (tmp_path / "empty").stat().st_ino == inode
    assert sorted(p.name for p in path.iterdir()) == ["content.txt", "marker.json"]


def test_what_killed_processes_left_beside_it_is_swept(old: Path, dead_process: int) -> None:
    dead = dead_process
    left = [old.with_name(f".old.{dead}.part"), old.with_name(f".old.{dead}{folders.OLD}")]
    theirs = old.with_name(".old.theirs.part")
    for path in (*left, theirs):
        path.mkdir()
        (path / "content.txt").write_text("half")
    for path in left:
        (path / ".lock").write_text("")
    make(old)
    assert not any(path.exists() for path in left) and theirs.exists()


def test_one_that_a_killed_process_moved_aside_comes_back(old: Path, dead_process: int) -> None:
    aside = old.with_name(f".old.{dead_process}{folders.OLD}")
    (old / ".lock").write_text("")
    old.rename(aside)
    with pytest.raises(RunError, match="exists: go on with --resume"):
        make(old, force=False)
    assert (old / "content.txt").read_text() == "old" and not aside.exists()


def test_somebody_else_is_faster(tmp_path: Path, old: Path) -> None:
    with (
        pytest.raises(RunError, match="exists: go on"),
        folder_aside(tmp_path / "a", KIND, force=False) as aside,
    ):
        (aside / "marker.json").write_text("{}")
        old.rename(tmp_path / "a")
    assert (tmp_path / "a/content.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_marker_is_json(old: Path) -> None:
    assert json.loads((old / "marker.json").read_text()) == {"schema": 1}
