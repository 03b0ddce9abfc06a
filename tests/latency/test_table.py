"""What lies between measured times, and tables that cannot be used."""

import json
from pathlib import Path

import pytest

from edgeprune.errors import LatencyError
from edgeprune.latency.shapes import Shape
from edgeprune.latency.table import SCHEMA, Entry, Table

CONV = Shape("conv", (8, 8), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1), ("Relu",))
CONDITIONS = {
    "device": "cpu", "processor": "p", "runtime": "r", "runtime_version": "1", "precision": "fp32",
    "batch": 1, "threads": 2,
}  # fmt: skip


@pytest.fixture
def entry() -> Entry:
    """ms = inputs * outputs / 256, in steps of 16; widths between take 2, 3 or 5 times as long."""
    ms = {(a, b): a * b / 256 for a in (16, 32, 64) for b in (16, 64)}
    rough = {"inputs": 2.0, "outputs": 3.0, "both": 5.0}
    return Entry(CONV, ms, {"inputs": 16, "outputs": 16}, rough)


@pytest.mark.parametrize(
    ("inputs", "outputs", "ms"),
    [
        (16, 16, 1.0),
        (64, 64, 16.0),
        (16, 32, 2.0),  # between two
        (48, 16, 3.0),
        (48, 48, 9.0),
        (20, 16, 4.0),  # as 32, and rough
        (4, 16, 2.0),
        (128, 16, 8.0),  # beyond: by the last piece
        (16, 13, 3.0),  # as 16, but rough
        (13, 16, 2.0),
        (13, 13, 5.0),
        (0, 16, 0.0),
        (16, 0, 0.0),
    ],
)
def test_between_points(entry: Entry, inputs: int, outputs: int, ms: float) -> None:
    assert entry.at(inputs, outputs) == pytest.approx(ms)


def test_depthwise() -> None:
    entry = Entry(Shape("depthwise", (8, 8), (3, 3)), {(16, 16): 1.0, (64, 64): 4.0})
    assert entry.at(32, 32) == pytest.approx(2.0)
    assert entry.at(64, 64) == 4.0


def test_nothing_measured() -> None:
    with pytest.raises(LatencyError, match="no times of conv 3x3 on 8x8 . Relu: build it again"):
        Entry(CONV).at(16, 16)


def test_there_and_back(entry: Entry, tmp_path: Path) -> None:
    table = Table(CONDITIONS, {CONV.key: entry}, {"Concat on 8x8": 0.5}, "2026-01-01", 0.25)
    table.save(tmp_path / "t.json")
    assert Table.load(tmp_path / "t.json") == table


@pytest.mark.parametrize("name", list(CONDITIONS))
def test_other_conditions_are_refused_by_name(name: str) -> None:
    table = Table(CONDITIONS)
    table.check(CONDITIONS)
    table.check({})
    with pytest.raises(
        LatencyError, match=f"was measured with {name.replace('_', ' ')} {CONDITIONS[name]}, not 9"
    ):
        table.check({**CONDITIONS, name: 9})


def test_files_that_are_no_table(tmp_path: Path) -> None:
    with pytest.raises(LatencyError, match="no such file.*lut build"):
        Table.load(tmp_path / "none.json")
    (tmp_path / "cut.json").write_text('{"schema": 1, ')
    with pytest.raises(LatencyError, match="not readable JSON"):
        Table.load(tmp_path / "cut.json")
    (tmp_path / "other.json").write_text(json.dumps({"schema": SCHEMA}))
    with pytest.raises(LatencyError, match="other.json: `conditions` is missing: .*lut build"):
        Table.load(tmp_path / "other.json")


@pytest.mark.parametrize(
    ("schema", "advice"),
    [
        (1, "older edgeprune .*remove it, and build it again"),
        (2, "older edgeprune .*remove it, and build it again"),
        (SCHEMA + 1, "newer edgeprune .*update edgeprune"),
    ],
)
def test_files_of_another_edgeprune(schema: int, advice: str, tmp_path: Path) -> None:
    """The first one's times were medians: they and today's do not add up."""
    place = tmp_path / "table.json"
    Table(CONDITIONS).save(place)
    place.write_text(json.dumps({**json.loads(place.read_text()), "schema": schema}))
    with pytest.raises(LatencyError, match=f"has schema {schema}, made by an? {advice}"):
        Table.load(place)


def test_another_width_of_what_was_timed_at_one_alone() -> None:
    """A classifier's outputs never change; what more of them would cost is told in proportion."""
    entry = Entry(Shape("linear"), {(16, 10): 1.0, (32, 10): 2.0}, steps={"inputs": 1, "outputs": 4})
    assert entry.at(24, 10) == pytest.approx(1.5)
    assert entry.at(32, 20) == pytest.approx(4.0)
    assert entry.at(24, 20) == pytest.approx(3.0)


def kept(entry: Entry, path: Path) -> dict:
    """A table in a file, as JSON."""
    Table(CONDITIONS, {CONV.key: entry}, {"Add 8x8": 0.0}, "now", 1.0).save(path)
    content: dict = json.loads(path.read_text())
    return content


IMPOSSIBLE = [float("nan"), float("inf"), -1.0, 0, True]


@pytest.mark.parametrize("value", IMPOSSIBLE)
def test_a_time_that_cannot_be_is_refused(entry: Entry, tmp_path: Path, value: float) -> None:
    path = tmp_path / "t.json"
    for place in ("point", "other", "reference", "rough"):
        content = kept(entry, path)
        if place == "point":
            content["shapes"][CONV.key]["points"][1][2] = value
        elif place == "other":
            content["others_ms_per_channel"]["Add 8x8"] = value
        elif place == "reference":
            content["reference_ms"] = value
        else:
            content["shapes"][CONV.key]["rough"]["both"] = value
        path.write_text(json.dumps(content))
        if place == "other" and value is IMPOSSIBLE[3]:
            Table.load(path)  # what costs nothing, as an activation that is folded into a layer
            continue
        with pytest.raises(LatencyError, match="remove it, and build it again"):
            Table.load(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [("steps", {"inputs": 0, "outputs": 16}), ("steps", {"inputs": 16}), ("points", [[0, 16, 1.0]]),
     ("points", [[-16, 16, 1.0]]), ("points", [[16, 16]]), ("points", 5), ("rough", []), ("shape", None)],
)  # fmt: skip
def test_an_entry_that_cannot_be_is_refused(entry: Entry, tmp_path: Path, key: str, value: object) -> None:
    path = tmp_path / "t.json"
    content = kept(entry, path)
    content["shapes"][CONV.key][key] = value
    path.write_text(json.dumps(content))
    with pytest.raises(LatencyError, match="remove it, and build it again"):
        Table.load(path)
