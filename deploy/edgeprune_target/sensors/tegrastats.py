"""tegrastats as a power sensor: a child process that prints a line every ``period_s``.

For boards whose sensor files cannot be read. It starts and ends its own child, and never uses ``--stop``,
which would end those of all users.
"""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from time import perf_counter_ns
from typing import IO, Callable

from edgeprune_target.parent import die_with_parent
from edgeprune_target.sensors.base import Sensor
from edgeprune_target.system import find_program
from edgeprune_target.tegrastats import is_line, rails_w

TIMEOUT_S = 5.0  # for the first line; JetPack 4 takes a second
INTERVAL_MS = 100  # with shorter intervals, tegrastats itself needs noticeable time


class Tegrastats(Sensor):
    """A sensor whose thread stores each line with its time of arrival, so that late reads lose nothing."""

    period_s = INTERVAL_MS / 1000

    def __init__(
        self, argument: str = "", root: str = "/", clock: Callable[[], int] = perf_counter_ns
    ) -> None:
        super().__init__(argument, root, clock)
        self.child: subprocess.Popen | None = None
        self.lines: deque = deque(maxlen=100_000)  # (time_ns, rails): three hours of them
        self.line_arrived = threading.Event()
        self.has_rails = False

    def why_not(self) -> str | None:
        """Start the child if necessary; return None once lines with rails arrive, else the reason."""
        program = find_program("tegrastats", self.root)
        if program is None:
            return "there is no program tegrastats on this machine (not a Jetson, or a container without it)"
        if self.child is None:
            try:
                self._start(program)
            except OSError as error:
                return f"{program} does not start ({error})"
        self.line_arrived.wait(TIMEOUT_S)
        if self.has_rails and self.child is not None and self.child.poll() is None:
            return None
        printed = bool(self.lines)
        self.close()
        if self.has_rails:
            return "tegrastats has ended by itself, or somebody ended it (tegrastats --stop ends all)"
        if printed:
            return "tegrastats prints no power rails here (none on this board, or only for root)"
        return f"tegrastats printed no line of statistics in {TIMEOUT_S:g} s"

    def read(self) -> dict:
        """Return the newest line's rails."""
        lines = self.take()
        return dict(lines[-1][1]) if lines else {}

    def take(self) -> list:
        """Return all lines since the last call."""
        return [self.lines.popleft() for _ in range(len(self.lines))]

    def close(self) -> None:
        """End the child and wait for it."""
        if self.child is not None:
            self.child.terminate()
            try:
                self.child.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()
            self._reader.join(TIMEOUT_S)
        self.child = None
        self.lines.clear()
        self.line_arrived.clear()

    def _start(self, program: str) -> None:
        self.child = subprocess.Popen(
            [program, "--interval", str(INTERVAL_MS)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=1,
            universal_newlines=True,
            errors="replace",
            preexec_fn=die_with_parent(),
        )
        assert self.child.stdout is not None
        self._reader = threading.Thread(target=self._follow, args=(self.child.stdout,), daemon=True)
        self._reader.start()

    def _follow(self, stdout: IO[str]) -> None:
        with stdout:
            for line in stdout:
                if line.endswith("\n") and is_line(line):
                    rails = rails_w(line)
                    self.has_rails = self.has_rails or bool(rails)
                    self.lines.append((self.clock(), rails))
                    self.line_arrived.set()
        self.line_arrived.set()
