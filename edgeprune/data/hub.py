"""Read data sets of Hugging Face's `datasets`: hf:NAME, or hf:DIR as `save_to_disk` or as parquet files leave it."""

import re
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.data.decode import PackedImage, shown
from edgeprune.data.folder import read_layout
from edgeprune.data.known import HUB
from edgeprune.data.layout import Layout, Listing
from edgeprune.data.source import ReadOptions, Source, fingerprint_of
from edgeprune.data.targets import Labels
from edgeprune.errors import DataError, known, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

SETTINGS = ("image", "label", "config")
TEST_PARTS = ("test", "validation", "val", "valid")  # the first that has labels holds the test images
FORM = (
    "hf:NAME or hf:DIR, with :image=COLUMN, :label=COLUMN or :config=NAME behind it where there are several"
)


def read_hub(text: str, options: ReadOptions) -> tuple[str, Source]:
    """Read a data set of labelled images; return the text by which it is read again, too.

    Columns are found by their type: the one of images, and the one of class labels, else the only one of whole numbers.

    Raises:
        DataError: the package is not installed, there is no such data set, or its columns are not clear; says how to
            name them.
    """
    place, settings = _parsed(text)
    parts, key = _loaded(place, settings)
    train_name = "train" if "train" in parts else next(iter(parts))
    columns = _Columns.of(parts[train_name], text, settings)
    train = columns.table(parts[train_name], train_name, text)
    test, notes = _test(parts, columns, text) if train_name == "train" else (None, ())
    classes = columns.classes(train, test)
    layout = Layout(_listing(train, classes), _listing(test, classes) if test else None, notes)
    source = read_layout(Path(place).absolute(), layout, options, classes, lambda part: Labels(part.labels))
    digest = fingerprint_of(str(table.labels.tolist()) for table in (train, test) if table)
    name = Path(place).name
    return ":".join([key, *(f"{k}={v}" for k, v in settings.items())]), replace(
        source, fingerprint=digest, name=name
    )


def _parsed(text: str) -> tuple[str, dict[str, str]]:
    """Return the name or folder, and the settings behind it."""
    parts = text.removeprefix(HUB).split(":")
    settings: dict[str, str] = {}
    while len(parts) > 1 and "=" in parts[-1]:
        name, _, value = parts.pop().partition("=")
        if name not in SETTINGS or not value:
            raise DataError(f"{known('setting', name, list(SETTINGS))} in {text}: write {FORM}")
        settings[name] = value
    place = ":".join(parts)
    if not place:
        raise DataError(f"{text!r} names no data set: write {FORM}")
    return place, dict(sorted(settings.items()))


@contextmanager
def _explained(place: str) -> "Iterator[None]":
    """Turn whatever `datasets` raises into one line."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # of its own, of pyarrow, of the hub's client, OSError ...
        reason = one_line((str(error).splitlines() or [""])[0]) or type(error).__name__
        raise DataError(
            f"cannot read the data set {place} ({type(error).__name__}: {reason}): give {FORM}"
        ) from error


def _loaded(place: str, settings: Mapping[str, str]) -> tuple[dict[str, Any], str]:
    """Return the parts by name, and the key without settings."""
    try:
        import datasets
    except ImportError as error:
        raise DataError(f"{HUB}{place} needs the package datasets: pip install 'edgeprune[hf]'") from error
    folder = Path(place).expanduser().absolute()
    with _explained(place):
        datasets.disable_progress_bars()
        if not folder.is_dir():
            if place.startswith((".", "/", "~")):
                raise DataError(f"no such data folder: {shown(folder)}")
            loaded = datasets.load_dataset(place, settings.get("config"))  # code in a repository is never run
            key = f"{HUB}{place}"
        else:
            key = f"{HUB}{folder}"
            if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
                loaded = datasets.load_from_disk(str(folder))
            else:
                loaded = datasets.load_dataset("parquet", data_files=_parquet(folder))
    if isinstance(loaded, datasets.Dataset):
        return {"all": loaded}, key
    return dict(loaded), key


def _parquet(folder: Path) -> dict[str, list[str]]:
    """Return the parquet files of each part, by the word in their names, as in train-00000-of-00004.parquet."""
    files = sorted(folder.rglob("*.parquet"))
    if not files:
        raise DataError(
            f"{shown(folder)} is not a data set of Hugging Face's: neither saved by save_to_disk nor parquet files"
        )
    parts: dict[str, list[str]] = {}
    for file in files:
        words = re.split(r"[^a-z]+", str(file.relative_to(folder)).lower())
        part = next((word for word in ("train", *TEST_PARTS) if word in words), "train")
        parts.setdefault(part, []).append(str(file))
    return parts


@dataclass(frozen=True)
class _Columns:
    """The columns of images and labels, and the names of the classes (none where labels are plain numbers)."""

    image: str
    label: str
    names: tuple[str, ...]

    @classmethod
    def of(cls, table: Any, text: str, settings: Mapping[str, str]) -> "_Columns":
        """Find the columns by their types, or as the settings name them."""
        features = dict(table.features)
        kinds = {name: type(feature).__name__ for name, feature in features.items()}
        images = [
            name for name, feature in features.items() if kinds[name] == "Image" or _holds_bytes(feature)
        ]
        numbers = [
            n for n, f in features.items() if str(getattr(f, "dtype", "")).lstrip("u").startswith("int")
        ]
        labels = [name for name in numbers if kinds[name] == "ClassLabel"] or numbers
        image = _the_one(images, "image", text, settings, features)
        label = _the_one(labels, "label", text, settings, features)
        if label not in numbers:
            raise DataError(
                f"column {label!r} of {text} holds no whole numbers: cast it to datasets.ClassLabel"
            )
        return cls(image, label, tuple(getattr(features[label], "names", None) or ()))

    def table(self, part: Any, name: str, text: str) -> "_Table":
        """Return the images and labels of a part.

        Args:
            part: of the data set.
            name: of the part.
            text: that names the data set.

        Raises:
            DataError: the part has other columns, or labels that are missing.
        """
        import datasets

        missing = [column for column in (self.image, self.label) if column not in part.features]
        if missing:
            raise DataError(f"{name} of {text} has no column {missing[0]!r}, which train has")
        with _explained(text):
            labels = part.with_format(None).data.column(self.label).to_pylist()
            if getattr(part, "_indices", None) is not None:  # rows that were selected or shuffled
                labels = list(part[self.label])
            images = part.select_columns([self.image]).cast_column(self.image, datasets.Image(decode=False))
        if any(value is None for value in labels):
            raise DataError(
                f"{name} of {text} has rows without {self.label!r}, as row {labels.index(None)}: drop them"
            )
        return _Table(images, self.image, f"{text.split(':image=')[0]}, {name}", np.array(labels, np.int64))

    def classes(self, train: "_Table", test: "_Table | None") -> tuple[str, ...]:
        """Return the names of the classes; raises DataError where labels are none, or fewer than two."""
        values = np.concatenate([train.labels, test.labels if test else np.zeros(0, np.int64)])
        least, most = (int(values.min()), int(values.max())) if len(values) else (0, 0)
        if least < 0 or most >= 100_000:
            raise DataError(
                f"{train.where} has the label {least if least < 0 else most}: classes are 0, 1, 2 ..."
            )
        if self.names and most >= len(self.names):
            raise DataError(f"{train.where} has the label {most}, and {len(self.names)} names of classes")
        names = tuple(one_line(name) for name in self.names) or tuple(
            str(number) for number in range(most + 1)
        )
        if len(names) < 2 or not len(values):
            raise DataError(
                f"{train.where} has {'only one class' if len(values) else 'no rows'}: two are needed"
            )
        return names


def _holds_bytes(feature: Any) -> bool:
    """Return whether a column of parquet holds encoded images, which only `datasets` itself marks as such."""
    return isinstance(feature, dict) and "bytes" in feature


def _the_one(
    candidates: list[str], what: str, text: str, settings: Mapping[str, str], features: Mapping[str, Any]
) -> str:
    """Return the column that is named, or the only candidate."""
    named = settings.get(what)
    if named is not None:
        if named not in features:
            raise DataError(f"{known('column', named, list(features))} of {text}")
        return named
    if len(candidates) == 1:
        return candidates[0]
    choices = ", ".join(candidates or features)
    reason = (
        f"several columns that may be the {what}" if candidates else f"no column that is clearly the {what}"
    )
    raise DataError(f"{text} has {reason}: add :{what}=COLUMN, one of {choices}")


def _test(parts: Mapping[str, Any], columns: _Columns, text: str) -> tuple["_Table | None", tuple[str, ...]]:
    """Return the part of test images, and notes: a part whose labels are all -1, as ImageNet's test, has none."""
    notes: tuple[str, ...] = ()
    for name in TEST_PARTS:
        if name in parts and columns.label in parts[name].features:
            table = columns.table(parts[name], name, text)
            if len(table.labels) and (table.labels >= 0).all():
                return table, notes
            notes += (f"{name} of {text} has no labels, and is not used",)
    return None, notes


@dataclass(frozen=True)
class _Table(Sequence["Row"]):
    """The images of a part of a data set, and their labels.

    Attributes:
        rows: of the data set, with encoded images.
        column: of the images.
        where: the part, for messages.
        labels: of each row, int64.
    """

    rows: Any = field(repr=False)
    column: str
    where: str
    labels: np.ndarray = field(repr=False)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        return Row(self, range(len(self))[index])


class Row(PackedImage):
    """An image of a table.

    Args:
        table: that holds it.
        number: of its row, from 0.
    """

    __slots__ = ("number", "table")
    remedy = "drop those rows, or mend them"

    def __init__(self, table: _Table, number: int) -> None:
        self.table, self.number = table, number

    def __str__(self) -> str:
        """Return the data set, its part and the row."""
        return f"{self.table.where}, row {self.number}"

    @property
    def identity(self) -> str:
        """The row's number: the labels say which data set it is."""
        return str(self.number)

    def read(self) -> bytes:
        """Return its bytes; those of the file that it names where it holds none."""
        image = self.table.rows[self.number][self.table.column] or {}
        if image.get("bytes") is not None:
            return bytes(image["bytes"])
        if image.get("path"):
            return Path(image["path"]).read_bytes()
        return b""


def _listing(table: _Table, classes: tuple[str, ...]) -> Listing:
    return Listing(Path(table.where), classes, table, table.labels, np.zeros(len(table), bool))
