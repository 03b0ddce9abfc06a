"""An Android phone over ``adb``: the runner where the phone has a Python, else a runtime's own program."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune.bench.process import OnEvent, ignore_event
from edgeprune.bench.remote import RemoteTransport
from edgeprune.errors import BenchError

TERMUX = "/data/data/com.termux/files/usr/bin/python3"  # for root alone: it is an app's own folder

CAUSES = {
    "unauthorized": "it has not allowed this computer; unlock it and accept the question on its screen",
    "no devices/emulators found": "adb sees no phone; turn on USB debugging and plug it in: adb devices",
    "more than one device": "adb sees several; name one of 'adb devices', as in --host adb:SERIAL",
    "not found": "adb does not see it; look at: adb devices",
    "offline": "it is offline; plug it in again, or: adb reconnect",
    "closed": "the connection broke; plug it in again",
}
BROKEN = (
    "the connection to {host} broke ({last}); what was measured so far is kept: plug it in again, then give "
    "the same command with --resume"
)


class AdbTransport(RemoteTransport):
    """``adb shell`` and ``adb push``."""

    home = "/data/local/tmp/edgeprune"  # the one place where the shell's user may both write and execute
    causes = CAUSES
    broken = BROKEN

    def __init__(self, serial: str = "", python: str | None = None, folder: str | None = None) -> None:
        """``serial`` is one of ``adb devices``, or empty where there is only one.

        Raises:
            BenchError: a serial or a folder that adb would misunderstand.
        """
        super().__init__(python, folder)
        if serial.startswith("-") or any(sign.isspace() for sign in serial):
            raise BenchError(f"--host is 'adb:{serial}': give a serial of 'adb devices', as in adb:R5CT10ABC")
        self.name = f"the phone {serial}" if serial else "the phone"
        self.words = ["adb", *(["-s", serial] if serial else [])]

    def shell(self, script: str) -> list[str]:
        """Return the command that runs a script in the phone's own ``sh``."""
        return [*self.words, "shell", f"sh -c {shlex.quote(script)}"]

    def copy(self, path: Path, remote: str) -> list[str]:
        """Return the command that pushes a file as the phone's shell user."""
        return [*self.words, "push", str(path.resolve()), remote]

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        """Run the runner on the phone, and mark the board as Android in its ``probe`` answer.

        The shell's user may not read the file by which the runner recognises Android; adb implies it.

        Args:
            verb: of the runner's command line.
            arguments: after the verb.
            on_event: called with each progress event.
        """
        answer = super().call(verb, arguments, on_event)
        if verb == "probe" and isinstance(answer, dict) and isinstance(answer.get("board"), dict):
            answer["board"]["android"] = True
        return answer

    def pythons(self) -> list[str]:
        """Return a Python on PATH (a rooted phone, or one with its own), then Termux's."""
        return ["python3", TERMUX]

    def push_command(self, names: Sequence[str]) -> str:
        """Return the command that pushes files to the phone's folder, for a person to type."""
        return shlex.join([*self.words, "push", *names, f"{self.folder}/"])
