"""Shards: what is in them in any order, the index beside them, and what is wrong with one in one line."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune.data import load_data, load_from_spec, shard_index
from edgeprune.data.shard_index import index_of
from edgeprune.data.shards import names_shards
from edgeprune.errors import DataError

Member = tuple[str, bytes]


def png(value: int, size: tuple[int, int] = (20, 24)) -> bytes:
    """An image of one colour, (height, width)."""
    file = io.BytesIO()
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(file, "png")
    return file.getvalue()


def write(path: Path, members: Sequence[Member], mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def samples(numbers: Sequence[int], size: tuple[int, int] = (20, 24)) -> list[Member]:
    """Images whose colour is ten times their number, of class number % 3."""
    return [
        member
        for n in numbers
        for member in ((f"s{n:02d}.png", png(10 * n, size)), (f"s{n:02d}.cls", str(n % 3).encode()))
    ]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """18 training images in three shards, and three to test by in one."""
    for shard in range(3):
        write(tmp_path / f"train-{shard:04d}.tar", samples(range(shard * 6, shard * 6 + 6)))
    write(tmp_path / "val-0000.tar", samples([18, 19, 20]))
    return tmp_path


@pytest.mark.parametrize("pattern", ["train-{0000..0002}.tar", "train-*.tar", ""])
def test_each_image_comes_with_its_label(place: Path, pattern: str) -> None:
    data = load_data(place / pattern, val_fraction=0.2)
    assert data.classes == ("0", "1", "2") and data.sizes == {"train": 14, "val": 4, "test": 3}
    assert data.shape == (3, 20, 24)  # small images of one size keep it
    seen: list[int] = []
    for split in data.sizes:
        for images, labels in data.batches(split, batch_size=5):
            pixels = images * torch.tensor(data.std).view(3, 1, 1) + torch.tensor(data.mean).view(3, 1, 1)
            numbers = (pixels[:, 0, 10, 10] * 25.5).round().int()
            assert torch.equal(numbers % 3, labels)
            seen += numbers.tolist()
    assert sorted(seen) == list(range(21))


def test_large_images_are_read_by_workers_and_after_a_resume_alike(tmp_path: Path) -> None:
    write(tmp_path / "train-00.tar", samples(range(6), (100, 130)))
    write(tmp_path / "train-01.tar", samples(range(6, 12), (100, 130)))
    data = load_data(tmp_path / "train-{00..01}.tar", image_size=16, val_fraction=0.1, workers=2)
    again = load_from_spec(json.loads(json.dumps(data.spec())))
    assert len(data.notes) == 2 and "held out" in data.notes[1]
    first, second = (list(d.train_batches(1, batch_size=2, seed=0)) for d in (data, again))
    assert all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True))


def test_names_come_from_classes_txt(place: Path) -> None:
    (place / "classes.txt").write_text("red\ngreen\nblue\n")
    assert load_data(place).classes == ("red", "green", "blue")
    (place / "classes.txt").write_text("red\ngreen\n")
    with pytest.raises(DataError, match=r"train-0000.tar has class 2, and classes.txt 2 names"):
        load_data(place)


def test_the_index_is_kept_and_made_anew_for_another_shard(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Path] = []
    monkeypatch.setattr(
        shard_index,
        "_made",
        lambda shard, *more, make=shard_index._made: (made.append(shard), make(shard, *more))[1],
    )
    shard, beside = place / "train-0000.tar", place / "train-0000.tar.index.json"
    first = index_of(shard)
    assert index_of(shard) == first and made == [shard]
    content = json.loads(beside.read_text())
    beside.write_text(json.dumps({**content, "offsets": [10**9] * 6}))  # beyond the shard
    assert index_of(shard) == first and len(made) == 2
    beside.write_text("no index")
    assert index_of(shard) == first and len(made) == 3
    write(shard, samples([1, 2]))
    assert index_of(shard).members == ("s01.png", "s02.png") and len(made) == 4
    with shard.open("rb") as file:
        index = index_of(shard)
        file.seek(index.offsets[1])
        assert file.read(index.lengths[1]) == png(20)


def test_an_index_goes_to_the_cache_where_the_folder_cannot_be_written(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_index, "CACHE", tmp_path / "cache")
    shard = place / "train-0000.tar"
    (place / "train-0000.tar.index.json").mkdir()  # as good as a folder without the right to write
    first = index_of(shard)
    assert len(list((tmp_path / "cache").iterdir())) == 1
    monkeypatch.setattr(shard_index, "_made", lambda *more: pytest.fail("made again"))
    assert index_of(shard) == first


def test_what_changed_since_a_run_began_is_an_error(place: Path) -> None:
    spec = load_data(place).spec()
    write(place / "train-0001.tar", samples([6, 7, 8, 9, 10, 13]))
    with pytest.raises(DataError, match="has changed since this run began"):
        load_from_spec(spec)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            [("a.jpg", b"oops"), ("a.cls", b"1")],
            r"broken image .*train-0.tar: a.jpg \(not PNG.*write the shard anew",
        ),
        ([("a.png", b""), ("a.cls", b"1")], r"a.png \(empty\)"),
        ([("a.png", png(1)[:-40]), ("a.cls", b"1")], r"broken image .*: a.png \("),
        ([("a.png", png(1))], r"train-0.tar: 'a' has no label: add a.cls, the number of its class"),
        ([("d/a.cls", b"1")], r"'d/a' has a label and no image"),
        ([("a.png", png(1)), ("a.cls", b"cat")], r"a.cls is not the number of a class"),
        ([("a.png", png(1)), ("a.cls", b"-1")], r"a.cls is not the number of a class"),
        ([("a.png", png(1)), ("a.cls", b"1" * 99)], r"a.cls is not the number of a class"),
        ([("a.png", png(1)), ("a.jpg", png(1)), ("a.cls", b"1")], r"'a' has two images, a.png and a.jpg"),
        ([("a.png", png(1)), ("a.cls", b"0")], r"only class 0: at least two classes are needed"),
        ([("a.txt", b"text")], r"no samples"),
    ],
)
def test_a_faulty_sample_is_named(tmp_path: Path, members: list[Member], message: str) -> None:
    write(tmp_path / "train-0.tar", members)
    with pytest.raises(DataError, match=message) as caught:
        load_data(tmp_path / "train-0.tar")
    assert "\n" not in str(caught.value)


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) * 2 // 3 - 700])
    elif how == "overwritten":
        at = content.index(b"s03.png")
        path.write_bytes(content[:at] + os.urandom(512) + content[at + 512 :])
    elif how == "text":
        path.write_text("no tar at all" * 99)
    else:
        path.unlink()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("cut", r"shard .*train-0001.tar is damaged \(.*\): copy it anew"),
        ("overwritten", r"shard .*train-0001.tar is damaged \(no valid header at byte \d+\): copy it anew"),
        ("text", r"train-0001.tar is damaged"),
        ("gone", r"no such shard: .*train-0001.tar"),
    ],
)
def test_a_damaged_shard_is_named(place: Path, how: str, message: str) -> None:
    shard = write(place / "train-0001.tar", samples(range(12)))
    damaged(shard, how)
    with pytest.raises(DataError, match=message):
        load_data(place / "train-{0000..0002}.tar")


def test_a_compressed_shard_has_a_remedy(place: Path) -> None:
    write(place / "train-0001.tar", samples([1]), "w:gz")
    with pytest.raises(DataError, match=r"train-0001.tar is compressed: unpack it to a plain tar"):
        load_data(place)


@pytest.mark.parametrize("text", ["train-{0003..0001}.tar", "train-{0..999999}.tar"])
def test_ranges_that_make_no_sense(place: Path, text: str) -> None:
    with pytest.raises(DataError, match="is not a range of shards"):
        load_data(place / text)


def test_a_folder_of_classes_with_a_tar_beside_them_is_a_folder(
    place: Path, make_folder: Callable[..., Path]
) -> None:
    assert names_shards(str(place))
    folder = make_folder({"": [2, 2]})
    write(folder / "old.tar", samples([1]))
    assert not names_shards(str(folder)) and not names_shards("digits")


def test_validation_is_found_by_either_name(place: Path) -> None:
    (place / "val-0000.tar").rename(place / "validation-0000.tar")
    write(place / "test-7.tar", samples([21, 22]))
    data = load_data(place)
    assert data.sizes["test"] == 2
    assert data.notes == ("validation shards are not used: validation images are taken from train",)
