"""The storage of a search: its password is not kept, and going on with it."""

import json
from pathlib import Path

import pytest

from edgeprune.errors import RunError, SearchError, StorageError
from edgeprune.search import searching
from edgeprune.search.folder import SearchFolder
from edgeprune.search.options import SearchOptions
from edgeprune.studies.urls import redacted


def test_a_bad_storage_is_said_before_anything_else(tmp_path: Path) -> None:
    options = SearchOptions(source="no such model, no such data")
    with pytest.raises(StorageError, match="of an unknown kind"):
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
