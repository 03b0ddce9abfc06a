"""Where stderr is not a terminal, progress is plain lines: one for each epoch, and one now and then of other work."""

import subprocess
import sys
from collections.abc import Iterable

import pytest

from edgeprune.processes.progress import ProgressCallback
from edgeprune.reporting.console import progress_bars
from edgeprune.reporting.progress_lines import ProgressLines
from edgeprune.tasks import ACCURACY
from edgeprune.training.stage_log import StageLog


class Clock:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def train(progress: ProgressCallback, clock: Clock, scores: Iterable[float], stage: str = "finetune") -> None:
    """Report three epochs of 40 steps, which take a second each; those on held-out images take 10 s."""
    log = StageLog(stage, 120, 40, ACCURACY, None, progress, lambda *_: None)
    for epoch, score in enumerate(scores):
        for step in range(40 * epoch + 1, 40 * epoch + 41):
            log.after_step(step, 1 / step, 0.1, {})
            clock.now += 1
        clock.now += 9
        log.after_epoch(step, {"accuracy": score})


def lines_of(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Return the lines on stderr; nothing else is anywhere."""
    out, err = capsys.readouterr()
    assert out == "" and "\r" not in err and "\x1b" not in err
    return err.splitlines()


def test_a_training_has_a_line_for_each_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    """A pace is that of the last 60 s: 39 steps in 49 s, then 41 in 60 s."""
    clock = Clock()
    lines = ProgressLines(("finetune", "test"), clock)
    train(lines.report, clock, [0.5, 0.75, 0.9])
    assert lines_of(capsys) == [
        "finetune begins",
        "finetune epoch 1/3, loss 0.025, val 50.00 %, 0:01:41 left",
        "finetune epoch 2/3, loss 0.013, val 75.00 %, 0:00:59 left",
    ]
    lines.report(0, 1, "test images")
    lines.stop()
    assert lines_of(capsys) == [
        "finetune epoch 3/3, loss 0.008, val 90.00 %",
        "finetune ends after 0:02:27",
        "test images",
    ]


def test_a_stage_that_is_stopped_shows_how_far_it_came_and_has_not_ended(capsys) -> None:
    clock = Clock()
    lines = ProgressLines(("finetune",), clock)
    train(lines.report, clock, [0.5])
    lines.stop()
    assert lines_of(capsys) == [
        "finetune begins",
        "finetune epoch 1/3, loss 0.025, val 50.00 %, 0:01:41 left",
    ]


def test_a_stage_may_end_early_or_be_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressLines(("prune", "finetune"), Clock())
    for text in ("prune", "finetune", "prune"):
        for done in (1, 2):
            lines.report(done, 4, f"{text} epoch {done}/4, loss 1.000")
    lines.stop()
    assert [line for line in lines_of(capsys) if "epoch" not in line] == [
        "prune begins", "prune ends after 0:00:00", "finetune begins", "finetune ends after 0:00:00", "prune begins",
    ]  # fmt: skip


def test_rounds_of_bench_have_a_line_every_30_seconds_and_a_last_one(capsys) -> None:
    """Twenty rounds of 4 s."""
    clock = Clock()
    lines = ProgressLines((), clock)
    for done in range(20):
        lines.report(done, 20, f"{('baseline', 'pruned')[done % 2]}: round {done // 2 + 1} of 10")
        clock.now += 4
    lines.report(20, 20, "measured")
    assert lines_of(capsys) == [
        "baseline: round 1 of 10, 0%",
        "baseline: round 5 of 10, 40%, 0:00:48 left",
        "baseline: round 9 of 10, 80%, 0:00:16 left",
    ]
    lines.stop()
    assert lines_of(capsys) == ["measured, 100%"]


def test_trials_of_a_search_have_a_last_line_before_what_follows(capsys) -> None:
    """A hundred trials of half a second, then others that are waited for."""
    clock = Clock()
    lines = ProgressLines(("trials",), clock)
    lines.report(0, 1, "collecting activations")
    for done in range(101):
        lines.report(done, 100, f"trials {done}, best {done / 2:.2f} %")
        clock.now += 0.5
    for _ in range(9):
        lines.report(100, 100, "trials 100, best 50.00 %")
    lines.report(0, 1, "evaluating on the test images")
    lines.stop()
    assert lines_of(capsys) == [
        "collecting activations",
        "trials 0, best 0.00 %, 0%",
        "trials 60, best 30.00 %, 60%, 0:00:20 left",
        "trials 100, best 50.00 %, 100%",
        "evaluating on the test images",
    ]


def test_boards_at_once_have_their_own_lines(capsys: pytest.CaptureFixture[str]) -> None:
    lines = ProgressLines(("desk:", "lab:"), Clock())
    for done in range(9):
        for board in ("desk", "lab"):
            lines.report(done, 8, f"{board}: round {done}")
    lines.stop()
    assert lines_of(capsys) == [
        "desk: round 0, 0%", "lab: round 0, 0%", "desk: round 8, 100%", "lab: round 8, 100%",
    ]  # fmt: skip


def test_what_is_in_a_text_stays_on_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as report:
        report(0, 1, "\x1b]0;owned\x07 two\nlines")
    assert lines_of(capsys) == ["\\x1b]0;owned\\x07 two lines"]


def test_a_terminal_has_bars(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    clock = Clock()
    with progress_bars("finetune") as report:
        train(report, clock, [0.5, 0.75, 0.9])
    out, err = capsys.readouterr()
    assert out == "" and "━" in err and "begins" not in err and "ends" not in err and "left" not in err


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_cannot_draw_has_lines(
    term: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress_bars() as report:
        report(0, 1, "looking at the machine")
    assert lines_of(capsys) == ["looking at the machine"]


def test_a_line_is_written_at_once() -> None:
    """A process that is ended without any cleaning up has left its lines; a wish for colours changes nothing."""
    code = (
        "import os; from edgeprune.reporting.console import progress_bars\n"
        "with progress_bars() as report: report(0, 4, 'looking at the machine'); os._exit(0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"FORCE_COLOR": "1"}, check=True
    )
    assert (done.stdout, done.stderr) == ("", "looking at the machine, 0%\n")
