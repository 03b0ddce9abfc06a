import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeprune.data.layout import scan
from edgeprune.errors import DataError


def test_train_and_test(make_folder: Callable[..., Path]) -> None:
    layout = scan(make_folder({"train": [2, 1], "test": [1, 1]}))
    assert layout.train.classes == ("class0", "class1")
    assert layout.train.labels.tolist() == [0, 0, 1]
    assert [path.name for path in layout.train.paths] == ["000.png", "001.png", "000.png"]
    assert layout.test is not None and len(layout.test.paths) == 2
    assert len(layout.paths) == 5
    assert layout.notes == ()


def test_val_stands_for_test_and_is_left_alone_beside_it(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"train": [1, 1], "val": [1, 1]})
    layout = scan(folder)
    assert layout.test is not None and layout.test.folder.name == "val"
    make_folder({"test": [1, 1]})
    layout = scan(folder)
    assert layout.test is not None and layout.test.folder.name == "test"
    assert "val is not used" in layout.notes[0]


def test_plain_class_folders(make_folder: Callable[..., Path]) -> None:
    layout = scan(make_folder({"": [2, 3]}))
    assert layout.test is None
    assert layout.train.labels.tolist() == [0, 0, 1, 1, 1]


def test_hidden_and_foreign_files_are_passed_over_and_sub_folders_searched(
    make_folder: Callable[..., Path], save_image: Callable[..., None]
) -> None:
    folder = make_folder({"": [1, 1]})
    (folder / ".cache").mkdir()
    (folder / "class0" / "._000.png").write_bytes(b"resource fork")
    (folder / "class0" / "notes.txt").write_text("no image")
    save_image(folder / "class0" / "more" / "B.JPG")
    layout = scan(folder)
    assert layout.train.classes == ("class0", "class1")
    assert [path.name for path in layout.train.paths] == ["000.png", "B.JPG", "000.png"]


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such data folder: .*absent"):
        scan(tmp_path / "absent")


def test_a_file_instead(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(DataError, match="is a file"):
        scan(tmp_path / "a.zip")


def test_no_classes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no class folders"):
        scan(tmp_path)
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="train has no class folders"):
        scan(tmp_path)


def test_a_class_without_images(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"": [1, 1]})
    (folder / "class2").mkdir()
    with pytest.raises(DataError, match="no images in .*class2"):
        scan(folder)


def test_one_class_only(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="only one class, 'class0'"):
        scan(make_folder({"": [3]}))


def test_train_without_test(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="neither test/ nor val/"):
        scan(make_folder({"train": [1, 1]}))


def test_test_without_train(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="has test/ but no train/"):
        scan(make_folder({"test": [1, 1]}))


def test_classes_that_differ(make_folder: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="classes differ .*'class2' only in train/$"):
        scan(make_folder({"train": [1, 1, 1], "test": [1, 1]}))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_folder(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"": [1, 1]})
    (folder / "class0").chmod(0)
    with pytest.raises(DataError, match="cannot read .*class0: Permission denied"):
        scan(folder)
