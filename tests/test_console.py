"""Progress goes to stderr and appears only when there is some."""

import pytest

from edgeprune.console import print_rows, print_table, progress_bars
from edgeprune.report import Row


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


def test_tables_are_on_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows("a run", [Row("parameters", "200", "100", "2.00x less")], ["remark [with brackets]"])
    print_table("layers", [("name", "left"), ("count", "right")], [["conv1", 16]])
    out, err = capsys.readouterr()
    assert err == ""
    for text in ("a run", "parameters", "2.00x less", "remark [with brackets]", "conv1", "16"):
        assert text in out
