"""What a case may do: end in time, write in its own folder alone, and start nothing strange."""

import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

# Programs that edgeprune starts by itself: its runner (this Python), and what numpy and torch ask once.
PYTHONS = {Path(sys.executable).name, Path(sys.executable).resolve().name}
STARTED = {*PYTHONS, "python3", "lscpu", "uname", "ldconfig"}
WAITING = 6  # a busy machine, or a child that computes, takes longer than this process computes
NEVER = {"os.system", "os.exec", "os.spawn", "os.posix_spawn", "pty.spawn", "os.fork", "os.forkpty"}
WRITING = ("w", "a", "x", "+")


class Hang(BaseException):
    """A case that did not end in time: a BaseException, so that nothing takes it for a user's mistake."""


class Guard:
    """An audit hook that is on while a case runs. It cannot be taken off again, so there is one."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    @contextmanager
    def watching(self, folder: Path, seconds: int) -> Iterator[list[str]]:
        """Yield a list that fills with what should not happen.

        Raises Hang after ``seconds`` of computing, or `WAITING` times as long of anything.
        """

        def ring(signum: int, frame: FrameType | None) -> None:
            raise Hang

        self.folder, self.seen = folder, []
        before = {kind: signal.signal(kind, ring) for kind in (signal.SIGALRM, signal.SIGPROF)}
        signal.alarm(WAITING * seconds)
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            yield self.seen
        finally:
            signal.alarm(0)
            signal.setitimer(signal.ITIMER_PROF, 0)
            for kind, handler in before.items():
                signal.signal(kind, handler)
            self.folder = None

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event in NEVER:
            self.seen.append(f"{event} {args[:1]}")
        elif event == "subprocess.Popen":
            program = Path(str(args[0])).name
            if program not in STARTED:
                self.seen.append(f"started {args[0]} {args[1]}")
        elif event == "open" and isinstance(args[0], str) and self._writes(args[1], args[2]):
            self._check_place(args[0])
        elif event == "import" and args[0] in ("os_system_was_called", "evil", "this"):
            self.seen.append(f"imported {args[0]}")

    @staticmethod
    def _writes(mode: Any, flags: Any) -> bool:
        if isinstance(mode, str):
            return any(letter in mode for letter in WRITING)
        return isinstance(flags, int) and bool(flags & 3)  # O_WRONLY, O_RDWR

    def _check_place(self, name: str) -> None:
        assert self.folder is not None
        path = Path(name)
        own = path.is_relative_to(self.folder) or not path.is_absolute()
        if own or path.is_relative_to(tempfile.gettempdir()) or name.startswith("/dev/"):
            return
        if "__pycache__" not in path.parts and ".cache" not in path.parts:
            self.seen.append(f"opened {name} for writing")
