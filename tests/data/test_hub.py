"""Data sets of Hugging Face's package: folders of both kinds, columns by their types, no network."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune.data import hub, load_data, load_from_spec
from edgeprune.errors import DataError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def table(numbers: Sequence[int], *, names: bool = True, label: str = "label", **more: Any) -> Any:
    """Images whose colour is ten times their number, of class number % 3."""

    def encoded(number: int) -> dict[str, Any]:
        file = io.BytesIO()
        Image.fromarray(np.full((20, 24, 3), 10 * number, np.uint8)).save(file, "png")
        return {"bytes": file.getvalue(), "path": None}

    kind = datasets.ClassLabel(names=["red", "green", "blue"]) if names else datasets.Value("int64")
    features = {"picture": datasets.Image(), label: kind, **{n: datasets.Value("int64") for n in more}}
    columns = {"picture": [encoded(n) for n in numbers], label: [n % 3 for n in numbers], **more}
    return datasets.Dataset.from_dict(columns, features=datasets.Features(features))


def check(data: Any, count: int) -> None:
    """Each image comes with its label, once."""
    seen: list[int] = []
    for split in data.sizes:
        for images, labels in data.batches(split, batch_size=5):
            pixels = images * torch.tensor(data.std).view(3, 1, 1) + torch.tensor(data.mean).view(3, 1, 1)
            numbers = (pixels[:, 0, 10, 10] * 25.5).round().int()
            assert torch.equal(numbers % 3, labels)
            seen += numbers.tolist()
    assert sorted(seen) == list(range(count))


def test_a_saved_folder_with_parts(tmp_path: Path) -> None:
    parts = {"train": table(range(15)), "validation": table(range(15, 20))}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    data = load_data(f"hf:{tmp_path / 'saved'}", val_fraction=0.2)
    assert data.classes == ("red", "green", "blue") and data.sizes == {"train": 12, "val": 3, "test": 5}
    check(data, 20)
    again = load_from_spec(data.spec())
    first, second = (next(d.train_batches(2, batch_size=4, seed=0)) for d in (data, again))
    assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])


def test_rows_that_were_selected_keep_their_labels(tmp_path: Path) -> None:
    table(range(19, -1, -1)).select(range(19, 4, -1)).save_to_disk(str(tmp_path / "saved"))
    check(load_data(f"hf:{tmp_path / 'saved'}"), 15)


def test_a_folder_of_parquet_files(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for part, number, rows in (
        ("train", 0, range(8)),
        ("train", 1, range(8, 15)),
        ("test", 0, range(15, 18)),
    ):
        table(rows).to_parquet(str(folder / f"{part}-0000{number}-of-00002.parquet"))
    data = load_data(f"hf:{folder}", workers=2)
    assert data.sizes["test"] == 3 and data.classes == ("red", "green", "blue")
    check(data, 18)


def test_parquet_files_of_other_programs(tmp_path: Path) -> None:
    import pyarrow.parquet

    rows = table(range(15), names=False).with_format(None).data.table.replace_schema_metadata({})
    pyarrow.parquet.write_table(rows, tmp_path / "train.parquet")
    data = load_data(f"hf:{tmp_path}")
    assert data.classes == ("0", "1", "2")
    check(data, 15)


def test_columns_that_are_not_clear_are_asked_for(tmp_path: Path) -> None:
    rows = table(range(15), names=False, label="fine", coarse=[0] * 15)
    rows.save_to_disk(str(tmp_path / "saved"))
    text = f"hf:{tmp_path / 'saved'}"
    with pytest.raises(
        DataError, match="several columns that may be the label: add :label=COLUMN, one of fine, coarse"
    ):
        load_data(text)
    data = load_data(f"{text}:label=fine")
    check(data, 15)
    assert load_from_spec(data.spec()).classes == ("0", "1", "2")
    with pytest.raises(DataError, match="unknown column 'fin' .did you mean 'fine'.* of hf:"):
        load_data(f"{text}:label=fin")
    with pytest.raises(
        DataError, match="'picture' of .* holds no whole numbers: cast it to datasets.ClassLabel"
    ):
        load_data(f"{text}:label=picture")
    with pytest.raises(DataError, match="unknown setting 'lable' .did you mean 'label'"):
        load_data(f"{text}:lable=fine")


def test_a_test_part_without_labels_is_passed_over(tmp_path: Path) -> None:
    hidden = table(range(3), names=False).map(lambda row: {"label": -1})
    parts = {"train": table(range(15), names=False), "test": hidden, "val": table(range(15, 18), names=False)}
    datasets.DatasetDict(parts).save_to_disk(str(tmp_path / "saved"))
    data = load_data(f"hf:{tmp_path / 'saved'}")
    assert data.sizes["test"] == 3 and data.notes == (
        f"test of hf:{tmp_path / 'saved'} has no labels, and is not used",
    )
    check(data, 18)


def faulty(rows: Any, how: str) -> Any:
    if how == "bytes":
        broken = rows.cast_column("picture", datasets.Image(decode=False))
        broken = broken.map(
            lambda row, at: {"picture": {"bytes": b"oops", "path": None}} if at == 3 else row,
            with_indices=True,
        )
        return broken.cast_column("picture", datasets.Image())
    if how == "label":
        return rows.map(lambda row, at: {"label": None if at == 4 else row["label"]}, with_indices=True)
    if how == "classes":
        return rows.cast_column("label", datasets.Value("int64")).map(lambda row: {"label": 0})
    return rows.remove_columns("picture")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("bytes", r"broken image hf:.*saved, all, row 3 \(not PNG"),
        ("label", "rows without 'label', as row 4: drop them"),
        ("classes", "has only one class: two are needed"),
        ("column", "no column that is clearly the image: add :image=COLUMN, one of label"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(tmp_path: Path, how: str, message: str) -> None:
    faulty(table(range(15)), how).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(DataError, match=message) as caught:
        load_data(f"hf:{tmp_path / 'saved'}")
    assert "\n" not in str(caught.value)


def test_places_that_hold_no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="no such data folder: /nowhere"):
        load_data("hf:/nowhere")
    with pytest.raises(DataError, match="neither saved by save_to_disk nor parquet files"):
        load_data(f"hf:{tmp_path}")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 oops")
    with pytest.raises(DataError, match="cannot read the data set .*: give hf:NAME"):
        load_data(f"hf:{tmp_path}")
    with pytest.raises(DataError, match="names no data set"):
        load_data("hf:")
    monkeypatch.setattr(
        datasets, "load_dataset", lambda *names: (_ for _ in ()).throw(OSError("no\nnetwork"))
    )
    with pytest.raises(DataError, match=r"cannot read the data set own/pets \(OSError: no\): give"):
        load_data("hf:own/pets")


def test_a_missing_package_has_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match=r"pip install 'edgeprune\[hf\]'"):
        hub.read_hub("hf:own/pets", hub.ReadOptions())
