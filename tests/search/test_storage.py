"""A storage by its URL: checked before training, its secrets neither shown nor kept."""

import json
import socket
from pathlib import Path

import pytest

from edgeprune.errors import RunError, SearchError
from edgeprune.search import searching
from edgeprune.search.folder import SearchFolder
from edgeprune.search.options import SearchOptions
from edgeprune.search.storage import check_storage, redacted, unusable, without_secrets

SHOWN = [
    ("postgresql://me:secret@host:5432/db", "postgresql://...@host:5432/db"),
    ("postgresql+psycopg2://me:secret@host/db", "postgresql+psycopg2://...@host/db"),
    ("mysql://host/db?user=me&password=secret", "mysql://host/db?user=...&password=..."),
    ("postgresql://host/db?sslmode=require&sslpassword=secret", "postgresql://host/db?sslmode=require&sslpassword=..."),
    ("redis://:secret@host:6379/0", "redis://...@host:6379/0"),
    ("redis://host/0?Password=secret", "redis://host/0?Password=..."),
    ("mysql://me:se?cret@host/db", "mysql://..."),
    ("mysql://host/db?password=sec@ret", "mysql://..."),
    ("mysql://me:sec@ret@host/db", "mysql://...@host/db"),
    ("postgresql://me:sec/ret@host/db", "postgresql://...@host/db"),
    ("postgresql:me:secret@host/db", "postgresql://...@host/db"),
    ("postgresql://me@host/db", "postgresql://me@host/db"),
    ("sqlite:///a/b.db", "sqlite:///a/b.db"),
    ("sqlite:///a/b.db?mode=ro", "sqlite:///a/b.db?mode=ro"),
    ("journal:/a@b/c?d", "journal:/a@b/c?d"),
]  # fmt: skip


@pytest.mark.parametrize(("url", "shown"), SHOWN)
def test_what_is_shown_and_kept_of_a_url(url: str, shown: str) -> None:
    assert redacted(url) == shown
    assert redacted(shown) == shown
    for part in ("secret", "se?cret", "sec@ret", "sec/ret"):
        assert part not in shown


@pytest.mark.parametrize(("url", "shown"), SHOWN)
def test_a_driver_does_not_give_the_password_away(url: str, shown: str) -> None:
    passwords = ("secret", "se?cret", "sec@ret", "sec/ret")
    message = str(unusable(url, ValueError(f"no login to {url!r} with password {url}\nsecond line")))
    assert "\n" not in message
    if shown != url:
        assert not [password for password in passwords if password in message]


def test_a_password_is_hidden_as_it_is_written_and_as_it_is_decoded() -> None:
    url = "postgresql://me:s%40crets@host/db"
    assert without_secrets("bad s@crets, bad s%40crets", url) == "bad ..., bad ..."
    assert "not shown" in without_secrets("a password", "mysql://me:a@host/db")


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
    with pytest.raises(SearchError) as error:
        check_storage(url)
    assert message in str(error.value)
    assert "\n" not in str(error.value) and "secret" not in str(error.value)


def test_a_server_of_another_kind(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"postgresql+none://me:secret@127.0.0.1:{server.getsockname()[1]}/db"
        with pytest.raises(SearchError, match="cannot be used") as error:
            check_storage(url)
    assert "secret" not in str(error.value)


def test_a_file_that_is_another_thing_and_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.db").write_text("this is not a database, and long enough to be seen as none" * 20)
    with pytest.raises(SearchError, match="cannot be used"):
        check_storage(f"sqlite:///{tmp_path / 'a.db'}")
    for url in (f"sqlite:///{tmp_path}", f"journal:{tmp_path}"):
        with pytest.raises(SearchError, match="is a folder: name a file in it"):
            check_storage(url)
    (tmp_path / "file").touch()
    with pytest.raises(SearchError, match="is not a writable folder"):
        check_storage(f"journal:{tmp_path / 'file' / 'log'}")


def test_a_check_leaves_nothing(tmp_path: Path) -> None:
    check_storage(f"sqlite:///{tmp_path / 'deep' / 'study.db'}")
    check_storage(f"journal:{tmp_path / 'log'}")
    assert list(tmp_path.iterdir()) == []


def test_a_bad_storage_is_said_before_anything_else(tmp_path: Path) -> None:
    options = SearchOptions(source="no such model, no such data")
    with pytest.raises(SearchError, match="of an unknown kind"):
        searching.search(tmp_path / "out", options, storage="nonsense")
    assert list(tmp_path.iterdir()) == []


# --- going on with a storage --------------------------------------------------------------------------


def begun(place: Path, storage: str | None) -> SearchFolder:
    folder = SearchFolder(place)
    folder.write_options(
        {"source": "resnet8", "training": {}}, None if storage is None else redacted(storage)
    )
    return folder


def storage_of(folder: SearchFolder, storage: str | None) -> str:
    return searching._storage_of(folder, storage, folder.read_options()[1])


def test_a_password_is_not_kept_and_given_again(tmp_path: Path) -> None:
    url = "postgresql://me:secret@host/db"
    folder = begun(tmp_path, url)
    assert "secret" not in (tmp_path / "search.json").read_text()
    with pytest.raises(SearchError, match="opened only if you repeat it: give `storage` again, in full"):
        storage_of(folder, None)
    assert storage_of(folder, url) == url
    assert storage_of(folder, "postgresql://me:another@host/db") == "postgresql://me:another@host/db"


def test_what_redis_holds_is_opened_only_when_it_is_given(tmp_path: Path) -> None:
    folder = begun(tmp_path, "redis://host/0")
    with pytest.raises(SearchError, match="give `storage` again"):
        storage_of(folder, None)
    assert storage_of(folder, "redis://host/0") == "redis://host/0"


def test_a_storage_is_corrected_while_nothing_is_evaluated(tmp_path: Path) -> None:
    folder = begun(tmp_path, "postgresql://me:secret@wrong-host/db")
    right = "postgresql://me:secret@right-host/db"
    assert storage_of(folder, right) == right
    assert json.loads((tmp_path / "search.json").read_text())["storage"] == redacted(right)
    folder.plan.write_text("{}")
    with pytest.raises(RunError, match="begun with another storage, .*right-host/db, and policies are in it"):
        storage_of(folder, "postgresql://me:secret@third-host/db")


def test_the_folders_own_file_alone_needs_no_word(tmp_path: Path) -> None:
    assert storage_of(begun(tmp_path / "own", None), None).endswith("own/study.db")
    assert storage_of(begun(tmp_path / "..." / "x", None), None).endswith("/.../x/study.db")
    for url in ("sqlite:///a.db", "mysql://me@host/db", "journal:log"):
        folder = begun(tmp_path / "other", url)
        with pytest.raises(SearchError, match="give `storage` again"):
            storage_of(folder, None)
        assert storage_of(folder, url) == url
