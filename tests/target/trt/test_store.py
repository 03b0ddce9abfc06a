"""Engines that are kept."""

from pathlib import Path

import pytest
from edgeprune_target.errors import TargetError
from edgeprune_target.trt import store

KEY = store.key_of(precision="fp16", shapes={"input": (1, 3)}, tensorrt="10.3.0")


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    place = store.place_of(tmp_path / "new", "model", KEY)
    assert store.find_engine(place, KEY) is None
    written = store.keep(place, b"engine", {"key": KEY, "gpu": "x"})
    assert store.find_engine(place, KEY) == written
    assert written["engine_bytes"] == 6 and written["schema"] == 1
    assert sorted(path.name for path in place.parent.iterdir()) == [place.name, place.name + ".json"]


def test_another_key_has_another_place(tmp_path: Path) -> None:
    other = {**KEY, "tensorrt": "10.3.1"}
    place = store.place_of(tmp_path, "model", KEY)
    assert store.place_of(tmp_path, "model", other) != place
    store.keep(place, b"engine", {"key": KEY})
    assert store.find_engine(place, other) is None


@pytest.mark.parametrize("spoil", ["engine", "record", "cut", "gone"])
def test_what_is_broken_is_not_found(tmp_path: Path, spoil: str) -> None:
    place = store.place_of(tmp_path, "model", KEY)
    store.keep(place, b"engine", {"key": KEY})
    if spoil == "engine":
        place.write_bytes(b"other")
    elif spoil == "record":
        store.record_path(place).write_text("[]")
    elif spoil == "cut":
        store.record_path(place).write_text('{"key')
    else:
        place.unlink()
    assert store.find_engine(place, KEY) is None


def test_a_disk_that_refuses_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TargetError, match="cannot keep the engine .*No space left on device"):
        store.keep(store.place_of(tmp_path, "m", KEY), b"engine", {"key": KEY})
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert store.engine_folder() == tmp_path / "edgeprune/engines"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert store.engine_folder() == tmp_path / ".cache/edgeprune/engines"
