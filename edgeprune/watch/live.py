"""The page in parts, each with the number of its version, so that a browser gets only those that have changed."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeprune.errors import EdgePruneError
from edgeprune.report.blocks import Page
from edgeprune.report.rendering import page_parts
from edgeprune.reporting.rows import percent
from edgeprune.runs.run import Run
from edgeprune.train_prune.steering import refusal, send_command, status
from edgeprune.watch.parts import watched_page
from edgeprune.watch.state import RUNNING, State, WatchedRun, duration

FRESH_S = 0.5  # for which an answer stays good, whoever asks
AROUND = ("head", "links", "foot")  # parts that are no sections
# Files whose change changes the page, besides those of the network that is in training.
SHOWN = (
    "config.json", "model.json", "summary.json", "metrics.jsonl", "steer.jsonl", "max_drop.json", "sensitivity.json",
    "settled.safetensors", "export/export.json", "bench/*.json",
)  # fmt: skip


class LivePage:
    """The page of a run, made anew where files of the run have changed; may be used from several threads.

    Attributes:
        watched: the run.
    """

    def __init__(self, watched: WatchedRun, clock: Callable[[], float] = time.monotonic) -> None:
        """Make the page for the first time.

        Args:
            watched: the run.
            clock: returns seconds.

        Raises:
            EdgePruneError: it cannot be made.
        """
        self.watched = watched
        self._clock, self._lock = clock, threading.Lock()
        self._mark: object = None
        self._parts: dict[str, str] = {}
        self._versions: dict[str, int] = {}
        self._version = 0
        self._steering: dict[str, Any] = {}
        self._state: dict[str, Any] = {}
        self._make()
        self._due = clock() + FRESH_S

    def changes(self, seen: int) -> dict[str, Any]:
        """Return the state of the run, and the parts that are newer than a version.

        Args:
            seen: the version that the browser has; 0 for none.
        """
        with self._lock:
            if self._clock() >= self._due:
                try:
                    self._make()
                except EdgePruneError as error:
                    self._state = {**self._state, "problem": str(error)}
                self._due = self._clock() + FRESH_S
            since = seen if 0 <= seen <= self._version else 0
            parts = {name: text for name, text in self._parts.items() if self._versions[name] > since}
            return {
                "seen": self._version,
                "state": self._state,
                "sections": [name for name in self._parts if name not in AROUND],
                "parts": parts,
            }

    def page(self) -> tuple[Page, dict[str, Any]]:
        """Return the page in one piece, and what `changes` says of it.

        Raises:
            EdgePruneError: a file is damaged.
        """
        changes = self.changes(0)
        with self._lock:
            return watched_page(self.watched), {**changes, "parts": {}}

    def steer(self, interacting: str | None, target: str | None, auto: bool) -> None:
        """Write a steering command, as `edgeprune steer` does.

        Args:
            interacting: see `send_command`.
            target: likewise.
            auto: likewise.

        Raises:
            EdgePruneError: likewise.
        """
        run = Run.open(self.watched.path)
        send_command(self.watched.in_training(run).path, interacting, auto=auto, target=target)

    def _make(self) -> None:
        """Make anew what has changed."""
        mark = self._files()
        if mark != self._mark:
            parts = page_parts(watched_page(self.watched))
            if {**parts, "foot": ""} != {**self._parts, "foot": ""}:  # a new date alone is no change
                self._take(parts)
            self._steering = self._steering_now()
            self._mark = mark
        state = self.watched.state()
        self._state = {**_shown(state), "steering": self._steering, "problem": None}

    def _take(self, parts: dict[str, str]) -> None:
        """Give new versions to the parts that differ from those of before."""
        self._version += 1
        for name, text in parts.items():
            if self._parts.get(name) != text:
                self._versions[name] = self._version
        self._parts = parts

    def _files(self) -> tuple[tuple[str, int, int], ...]:
        """Return name, size and time of the files that the page shows."""
        run = self.watched.run()
        if run is None:
            return ()
        folders = dict.fromkeys((run.path, self.watched.in_training(run).path))
        return tuple(
            _stamp(path) for folder in folders for name in SHOWN for path in sorted(folder.glob(name))
        )

    def _steering_now(self) -> dict[str, Any]:
        """Return whether the run can be steered, and where its pruning phase is."""
        run = self.watched.run()
        if run is None:
            return {"shown": False}
        run = self.watched.in_training(run)
        if refusal(run) is not None or self.watched.path.joinpath("summary.json").is_file():
            return {"shown": False}
        phase = status(run.path)
        return {"shown": True, "text": _phase_text(phase), "commands": phase["commands"]}


def _shown(state: State) -> dict[str, Any]:
    """Return a state as the page takes it."""
    progress = state.progress
    shown: dict[str, Any] = {"kind": state.kind, "text": state.text, "left": None, "later": None}
    if progress is None:
        return {**shown, "done": None, "total": None}
    left, later = (progress.left_s, progress.later_s) if state.kind == RUNNING else (None, None)
    return {
        **shown,
        "done": progress.done,
        "total": progress.total,
        "left": None if left is None else duration(left),
        "later": None if left is None or not later else duration(left + later),
    }


def _phase_text(phase: dict[str, Any]) -> str:
    """Return where a pruning phase is, in a sentence."""
    if "step" not in phase:
        return (
            f"The phase has not begun, and will aim for {phase['target']}: a command is taken when it begins."
        )
    by = "set by hand" if phase.get("manual") else "set by the controller"
    shares = [
        f"{percent(phase[key], 1)} of the {what}"
        for key, what in (("flops_fraction", "FLOPs"), ("params_fraction", "parameters"))
        if key in phase
    ]
    left = f"; {' and '.join(shares)} left" if shares else ""
    interacting = f"interacting {phase.get('interacting', 0.0):+.0f}, {by}"
    return f"At step {phase['step']}: {interacting}{left}; target {phase['target']}."


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        about = path.stat()
    except OSError:
        return str(path), -1, -1
    return str(path), about.st_size, about.st_mtime_ns
