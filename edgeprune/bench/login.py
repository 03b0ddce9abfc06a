"""Keep one ssh login for all calls of a measurement: each login of its own costs a board a second of work.

This is ssh's ControlMaster, begun by us and ended with us. Who has a ControlPath of their own keeps it. If the login
breaks, ssh logs in for each call, as without it.
"""

import shutil
import subprocess
import tempfile
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

from edgeprune.bench.process import output_tail

PATIENCE_S = 15.0  # ConnectTimeout and a slow board's key exchange
ENDING_S = 2.0
LONGEST_PATH = 90  # of a socket; the kernel takes 107, and ssh adds some of its own while it makes it
HELD = "cat > /dev/null"  # ends when our end of its pipe does, however we end


class KeptLogin:
    """A login that further calls of ssh and scp go through, while it lasts."""

    def __init__(self, words: Sequence[str], name: str) -> None:
        """Log in, and wait until others can go through it; a login that fails is no error here.

        Args:
            words: ssh's options.
            name: of the host.
        """
        folder = Path(tempfile.mkdtemp(prefix="edgeprune-ssh-"))
        self._socket = folder / "login"
        self._log: IO[bytes] = (folder / "log").open("w+b")
        options = ["-o", "ControlMaster=yes", *self._path_option()]
        self._process = subprocess.Popen(
            ["ssh", *words, *options, "-T", "--", name, HELD],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=self._log,
            start_new_session=True,
        )
        self._finalizer = weakref.finalize(self, _end, self._process, self._log, folder)
        until = time.monotonic() + PATIENCE_S
        while not self._socket.exists() and self._process.poll() is None and time.monotonic() < until:
            time.sleep(0.01)

    @property
    def words(self) -> list[str]:
        """Return the options by which ssh and scp go through this login; none once it is over."""
        return self._path_option() if self._process.poll() is None and self._socket.exists() else []

    def last_lines(self) -> list[str]:
        """Return what ssh said of the login itself, such as why it broke."""
        return output_tail(self._log).splitlines()

    def end(self) -> None:
        """End the login, and whatever still goes through it."""
        self._finalizer()

    def _path_option(self) -> list[str]:
        return ["-o", f"ControlPath={self._socket}"]


def kept_login(words: Sequence[str], name: str) -> KeptLogin | None:
    """Return a new login; None where the user's settings share one already, or none can be shared here.

    Args:
        words: ssh's options.
        name: of the host.
    """
    if len(tempfile.gettempdir()) > LONGEST_PATH - len("/edgeprune-ssh-12345678/login"):
        return None
    with suppress(OSError, subprocess.TimeoutExpired):
        settings = subprocess.run(
            ["ssh", *words, "-G", "--", name], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        paths = [
            line.split(" ", 1)[1] for line in settings.stdout.splitlines() if line.startswith("controlpath ")
        ]
        if settings.returncode == 0 and all(path == "none" for path in paths):
            return KeptLogin(words, name)
    return None


def _end(process: "subprocess.Popen[bytes]", log: IO[bytes], folder: Path) -> None:
    assert process.stdin is not None
    with suppress(OSError):
        process.stdin.close()
    try:
        process.wait(ENDING_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    log.close()
    shutil.rmtree(folder, ignore_errors=True)
