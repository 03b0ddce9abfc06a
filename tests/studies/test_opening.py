"""A storage by its URL is checked before anything is trained."""

import socket
from pathlib import Path

import pytest

from edgeprune.errors import StorageError
from edgeprune.studies.opening import check_storage


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "unknown kind: use one of sqlite:///FILE"),
        ("mongodb://me:secret@host/db", "mongodb://...@host/db is of an unknown kind"),
        ("http://host", "unknown kind"),
        ("sqlite://", "names no file"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:study.db", "names no file"),
        ("sqlite:////proc/none/study.db", "cannot be used"),
        ("journal:", "names no file"),
        ("journal://file", "names no file"),
        ("postgresql://me:secret@127.0.0.1:port/db", "cannot be used"),
        ("postgresql://me:secret@127.0.0.1:99999/db", "cannot be used"),
        ("mysql://me:secret@[::1/db", "cannot be used"),
        ("redis://:secret@127.0.0.1:1/0", "Connection refused"),
        ("rediss://127.0.0.1:1", "Connection refused"),
        ("postgresql+none://me:secret@127.0.0.1:1/db", "Connection refused"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_storage_is_one_line(url: str, message: str) -> None:
    with pytest.raises(StorageError) as error:
        check_storage(url)
    assert message in str(error.value)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_a_server_of_another_kind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql+none://me:secret@127.0.0.1:{server.getsockname()[1]}/db"
        with pytest.raises(StorageError, match="cannot be used") as error:
            check_storage(url)
    assert "secret" not in str(error.value)


def test_a_file_that_is_another_thing_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("this is not a database, and long enough to be seen as none" * 20)
    with pytest.raises(StorageError, match="cannot be used"):
        check_storage(f"sqlite:///{tmp_path / 'a.db'}")
    for url in (f"sqlite:///{tmp_path}", f"journal:{tmp_path}"):
        with pytest.raises(StorageError, match="is a folder: name a file in it"):
            check_storage(url)
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="is not a writable folder"):
        check_storage(f"journal:{tmp_path / 'file' / 'log'}")


def test_a_check_leaves_nothing(tmp_path: Path) -> None:
    check_storage(f"sqlite:///{tmp_path / 'deep' / 'study.db'}")
    check_storage(f"journal:{tmp_path / 'log'}")
    assert list(tmp_path.iterdir()) == []
