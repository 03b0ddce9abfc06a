import os
import socket
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
    assert len(layout) == len(list(layout.paths)) == 5
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


def test_folders_are_entered_once_whatever_links_say(make_folder: Callable[..., Path]) -> None:
    """A loop of links once made 492 images of 24."""
    folder = make_folder({"": [12, 12]})
    (folder / "class0" / "up").symlink_to(folder)
    (folder / "class0" / "further").symlink_to(folder.parent)
    (folder / "class0" / "self").symlink_to(folder / "class0")
    (folder / "class1" / "sub").mkdir()
    (folder / "class1" / "sub" / "back").symlink_to(folder / "class1")
    (folder / "class1" / "000.png").rename(folder / "class1" / "sub" / "moved.png")
    (folder / "class1" / "again").symlink_to(folder / "class1" / "sub")
    layout = scan(folder)
    assert layout.train.labels.tolist() == [0] * 12 + [1] * 12
    assert folder / "class1" / "sub" / "moved.png" in layout.train.paths


def test_classes_and_images_may_be_links(make_folder: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_folder({"": [2, 2]})
    (folder / "class1").rename(tmp_path / "elsewhere")
    (folder / "class1").symlink_to(tmp_path / "elsewhere")
    (folder / "class0" / "link.png").symlink_to(folder / "class0" / "000.png")
    (folder / "class0" / "gone.png").symlink_to(tmp_path / "gone")  # shows as broken when it is read
    assert scan(folder).train.labels.tolist() == [0, 0, 0, 0, 1, 1]


def test_a_folder_belongs_to_one_class(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"": [2, 2]})
    (folder / "class1" / "more").symlink_to(folder / "class0")
    with pytest.raises(DataError, match="class1/more is a link to images of class 'class0'"):
        scan(folder)


def test_one_folder_as_train_and_test_is_told(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"train": [2, 2]})
    (folder / "test").symlink_to(folder / "train")
    assert "accuracy will be that of training images" in scan(folder).notes[0]


def test_what_would_hang_is_refused(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"": [2, 2]})
    odd = folder / "class0" / "odd.png"
    os.mkfifo(odd)
    with pytest.raises(DataError, match=r"class0/odd\.png is a fifo, not an image file: remove it"):
        scan(folder)
    odd.unlink()
    odd.symlink_to("/dev/zero")
    with pytest.raises(DataError, match=r"odd\.png is a device"):
        scan(folder)
    odd.unlink()
    with socket.socket(socket.AF_UNIX) as unix:
        here = Path.cwd()
        os.chdir(odd.parent)  # a socket's path is limited to some 100 characters
        try:
            unix.bind("odd.png")
        finally:
            os.chdir(here)
    with pytest.raises(DataError, match=r"odd\.png is a socket"):
        scan(folder)


def test_files_of_other_kinds_may_be_anything(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"": [2, 2]})
    os.mkfifo(folder / "class0" / "pipe")
    assert len(scan(folder).train.paths) == 4


@pytest.mark.parametrize("name", [b"\xff", b"a\nb", b"\x1b[31mred"])
def test_class_names_that_cannot_be_printed(make_folder: Callable[..., Path], name: bytes) -> None:
    folder = make_folder({"": [2, 2]})
    (folder / "class1").rename(folder / os.fsdecode(name))
    with pytest.raises(DataError, match="cannot be printed as UTF-8: rename it") as caught:
        scan(folder)
    assert str(caught.value).isprintable()


def test_renamed_files_keep_their_place_and_are_not_used(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"": [3, 2]})
    original = scan(folder).train
    (folder / "class0" / "001.png").rename(folder / "class0" / "001.png.broken")
    part = scan(folder)
    assert part.train.paths == original.paths
    assert part.train.left_out.tolist() == [False, True, False, False, False]
    assert len(part.usable) == 4
    assert part.notes == ("1 images are left out, since .broken was added to their names",)
    (folder / "class0" / "001.png").write_bytes(b"a good one")
    assert not scan(folder).train.left_out.any()


def test_a_class_with_no_image_that_can_be_read(make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"": [2, 1]})
    image = folder / "class1" / "000.png"
    image.rename(image.with_name("000.png.broken"))
    with pytest.raises(DataError, match="no images in .*class1"):
        scan(folder)
    (folder / "class1" / "a.heic").touch()
    with pytest.raises(DataError, match=r"class1 \(its \.heic files are of kinds that are not read\)"):
        scan(folder)
    image.touch()
    assert "images of these kinds are not read: 1 .heic" in scan(folder).notes
