"""Progress goes to stderr and appears only when there is some."""

import pytest

from edgeprune.reporting.console import print_rows, print_table, progress_bars
from edgeprune.reporting.rows import ComparisonRow


@pytest.fixture(autouse=True)
def _bars(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw bars, although the stderr of a test is not a terminal."""
    monkeypatch.setattr("edgeprune.reporting.console.draws_bars", lambda: True)


def test_no_bar_without_progress(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars():
        pass
    assert capsys.readouterr() == ("", "")


def test_bars_are_on_stderr_one_for_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars("prune", "test") as report:
        report(1, 2, "prune epoch 1/2")
        report(2, 2, "prune epoch 2/2")
        report(1, 1, "test images")
    out, err = capsys.readouterr()
    assert out == ""
    assert "prune epoch 2/2" in err and "test images" in err


@pytest.mark.parametrize(
    ("columns", "text"),
    [(80, "prune epoch 2/8, loss 0.12, val 97.22 %…"), (60, "prune epoch 2/8, loss 0.12…")],
)
def test_a_long_text_leaves_the_bar_and_the_times_their_room(
    columns: int, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    with progress_bars("prune") as report:
        report(2, 2, "prune epoch 2/8, loss 0.12, val 97.22 %, FLOPs 93.9 %")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.rstrip() == f"{text} {line.count('━') * '━'} 100% 0:00:00 0:00:00" and line.count("━") >= 8
    assert len(line) <= columns


def test_no_bar_of_unfinished_work_stays(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars("baseline", "prune") as report:
        report(0, 1, "baseline: weights")  # which says nothing of its end
        report(0, 1, "writing the unpruned network")
        report(2, 2, "prune epoch 2/2")
        report(1, 3, "looking at the machine")
    assert [line.split("━")[0].strip() for line in capsys.readouterr().err.splitlines()] == [
        "prune epoch 2/2"
    ]
    with pytest.raises(ValueError), progress_bars() as report:
        report(0, 3, "looking at the machine")
        raise ValueError
    assert not capsys.readouterr().err.strip()


def test_tables_are_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows("a run", [ComparisonRow("parameters", "200", "100", "2.00x less")], ["remark [with brackets]"])
    print_table("layers", [("name", "left"), ("count", "right")], [["conv1", 16]])
    out, err = capsys.readouterr()
    assert err == ""
    for text in ("a run", "parameters", "2.00x less", "remark [with brackets]", "conv1", "16"):
        assert text in out


@pytest.mark.parametrize("name", ["[/b]", "[red]x[/red]", "[bold", "[link=file:///etc]x", "a[/]", "\\[x]"])
def test_a_name_is_no_markup(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    print_rows(name, [ComparisonRow(name, name, name, name)], [name])
    print_table(name, [("name", "left")], [[name]])
    with progress_bars(name) as report:
        report(2, 2, name)
    out, err = capsys.readouterr()
    assert out.count(name) == 8 and name in err


def test_a_terminal_obeys_no_name(capsys: pytest.CaptureFixture[str]) -> None:
    name = "\x1b]0;owned\x07\x1b[2J"
    print_rows(name, [ComparisonRow(name, "1", "1")], [f"{name}\nsecond line"])
    print_table(name, [("name", "left")], [[name]])
    with progress_bars(name) as report:
        report(2, 2, name)
    out, err = capsys.readouterr()
    assert "\x1b" not in out and "\x07" not in out + err and "\x1b]0" not in err
    assert "\\x1b[2J second line" in out


@pytest.mark.parametrize("columns", ["0", "1", "99999999"])
def test_a_table_is_shown_whatever_columns_says(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    print_table("layers", [("name", "left")], [["conv1"]])
    out = capsys.readouterr().out
    assert "conv1" in out and max(map(len, out.splitlines())) <= 1000
