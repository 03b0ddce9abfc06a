"""Messages name the file, the field, what it must be and what it is."""

import json
import logging
from pathlib import Path
from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct

from edgeprune.errors import EdgePruneError, LatencyError, RunError
from edgeprune.files.reading import DEEPEST, parse_json, parse_toml
from edgeprune.records import check, good_lines, read_record


class Inner(Struct):
    count: Annotated[int, Meta(ge=0)]


class Record(Struct):
    name: str
    parts: list[Inner]
    by_name: dict[str, Inner] = {}
    pair: tuple[int, int] | None = None


GOOD: dict[str, Any] = {"schema": 1, "name": "x", "parts": [{"count": 2}]}


def put(tmp_path: Path, value: Any) -> Path:
    path = tmp_path / "record.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_a_good_record_keeps_what_the_schema_does_not_know(tmp_path: Path) -> None:
    value = {**GOOD, "more": {"a": [1]}}
    assert read_record(put(tmp_path, value), Record) == value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": 3}, "`name` must be text \\(it is 3\\): mend it"),
        ({"name": None}, "`name` must be text \\(it is null\\): mend it"),
        ({"parts": [{"count": -1}]}, "`parts\\[0\\].count` must be int >= 0 \\(it is -1\\): mend it"),
        ({"parts": [{"count": True}]}, "`parts\\[0\\].count` must be int \\(it is True\\): mend it"),
        ({"parts": [{}]}, "`parts\\[0\\].count` is missing: mend it"),
        ({"parts": {}}, "`parts` must be list \\(it is {}\\): mend it"),
        ({"by_name": {"a": {"count": "1"}}}, "`by_name\\[...\\].count` must be int: mend it"),
        ({"pair": [1]}, "`pair` must be list of length 2 \\(it is \\[1\\]\\): mend it"),
        ({"name": "\x1b[31m" + "a" * 99, "pair": "\x1b[31m"}, "`pair` must be list or null"),
        ({"schema": 2}, "has schema 2, made by a newer edgeprune \\(.*reads 1\\): update edgeprune"),
        ({"schema": 0}, "`schema` must be the number 1 \\(it is 0\\): mend it"),
        ({"schema": "1"}, "`schema` must be the number 1 \\(it is '1'\\): mend it"),
        ({"schema": True}, "`schema` must be the number 1 \\(it is True\\): mend it"),
        ({"schema": None}, "`schema` must be the number 1 \\(it is null\\): mend it"),
    ],
)  # fmt: skip
def test_faults(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = put(tmp_path, {**GOOD, **change})
    with pytest.raises(LatencyError, match=message) as error:
        read_record(path, Record, error=LatencyError, hint="mend it")
    assert str(error.value).startswith(str(path)) and str(error.value).isprintable()


def test_an_older_schema(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="has schema 1, made by an older edgeprune .* reads 2.: mend it"):
        read_record(put(tmp_path, GOOD), Record, schema=2, hint="mend it")


@pytest.mark.parametrize("content", ["[]", "3", "null", '"x"'])
def test_what_is_no_object(tmp_path: Path, content: str) -> None:
    with pytest.raises(RunError, match="does not hold a JSON object: was it cut or edited"):
        read_record(put(tmp_path, content), Record)


def test_a_missing_file_is_of_the_callers_kind(tmp_path: Path) -> None:
    with pytest.raises(LatencyError, match="no such file: .*gone.json; build it"):
        read_record(tmp_path / "gone.json", Record, error=LatencyError, hint="build it")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ('{"a": 1e999}', "1e999 is too large"),
        ('{"a": 99999999999999999999}', "is too large"),
        ('{"a": ' + "9" * 5000 + "}", "is too large"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "the key 'c' stands twice"),
        ('{"a": "x\\u0000"}', "a character that no text has"),
        ('{"a\\u0000": 1}', "a character that no text has"),
        ('{"a": "\\ud800"}', "a character that no text has"),
        ("[" * (DEEPEST + 1) + "]" * (DEEPEST + 1), "nested too deeply"),
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ("", "Expecting value"),
        ("{", "Expecting property name"),
    ],
)
def test_json_is_read_strictly(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_json(text)


def test_what_json_may_hold() -> None:
    value = {"a": [2**63 - 1, -(2**63), 1e308, None, True, "\x1b \udcff ü"], "b": {}}
    assert parse_json(json.dumps(value)) == value
    nested: Any = 1
    for _ in range(DEEPEST - 1):
        nested = [nested]
    assert parse_json(json.dumps(nested)) == nested


def test_toml_that_is_nested_too_deeply() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_toml("a = " + "[" * 5000 + "]" * 5000)


def test_damaged_lines_are_left_out_with_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(b'{"count": 1}\nnonsense\n\n{"count": -1}\n[1]\n\xff\n{"count": 2}\n{"count": 3')
    with caplog.at_level(logging.WARNING):
        assert good_lines(path, Inner) == [{"count": 1}, {"count": 2}]
    assert [record.getMessage() for record in caplog.records] == [
        f"{path}: left out 5 damaged lines (the first is line 2)"
    ]
    assert good_lines(tmp_path / "none.jsonl", Inner) == []


def test_check_returns_the_value_itself() -> None:
    value = {"count": 1}
    assert check(value, Inner, "here") is value
    with pytest.raises(
        EdgePruneError, match="^here: it must be object \\(it is \\[\\]\\): was it cut or edited"
    ):
        check([], Inner, "here")
