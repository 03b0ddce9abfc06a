"""Share what ssh and adb have in common: files stored by content on the device, and the runner started there.

On the device there is one folder. It holds the runner as one .pyz and the models, each under the beginning of
its sha256, so that no file is sent twice, and an incomplete copy is never used.
"""

import re
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeprune_target.scratch import scratch_folder

from edgeprune.bench.device_folder import SAFE, first_word, free_bytes, look_script, quoted, read_look
from edgeprune.bench.process import (
    OnEvent,
    ask,
    exit_error,
    ignore_event,
    last_line,
    run_to_end,
)
from edgeprune.bench.pyz import write_runner
from edgeprune.errors import BenchError, ConnectionLost
from edgeprune.files.reading import sha256

MARGIN_BYTES = 1 << 20  # for what a file system needs beside the content
DIGITS = 12  # of the sha256: 2^48 files until two are taken for each other
UNSAFE = re.compile(r"[^\w.-]", re.ASCII)
CUT = ("lost connection", "Connection closed", "Connection reset", "send disconnect")
DISK_FULL = ("No space left on device", "Disk quota exceeded")

CODE = "edgeprune code "  # an adb before version 37 does not pass exit codes on, so they are printed

# Runs the runner, and ends it when the connection does: the end of standard input says so. Without that, a
# runner left behind would be measured along with the next one.
START = """\
exec 3<&0
{python} {runner} {words} < /dev/null 3<&- & run=$!
{{ cat <&3 > /dev/null; kill $run; }} > /dev/null 2>&1 & guard=$!
exec 3<&-
wait $run; code=$?
kill $guard 2> /dev/null
echo; echo "{{\\"event\\": \\"exit\\", \\"code\\": $code}}"
exit $code
"""


class RemoteTransport(ABC):
    """A device that is reached by a program here: ssh or adb."""

    name: str  # of the device, for messages
    home: str  # the default folder on the device
    causes: Mapping[str, str]  # what the program prints -> what to do about it; searched in this order
    broken: str  # the message for a connection that broke

    def __init__(self, python: str | None = None, folder: str | None = None) -> None:
        """Store the settings; ``connect`` inspects the device.

        Args:
            python: the command that starts Python there, as in ``taskset f0 python3``; None searches for one.
            folder: for files there; None for ``home``.

        Raises:
            BenchError: a folder name that some program there would misread.
        """
        self.requested_python = python
        self.folder = folder or self.home
        if not SAFE.fullmatch(self.folder) or self.folder.startswith("-"):
            raise BenchError(
                f"--host-folder is {folder!r}: choose one of letters, digits and / . _ + @ - alone"
            )
        self.python = ""
        self.runner = ""
        self.free_bytes = 0
        self.files: dict[str, int] = {}  # name -> bytes

    # --- what ssh and adb do each in their way ----------------------------------------------------------

    @abstractmethod
    def shell(self, script: str) -> list[str]:
        """Return the local command that runs a script of ``sh`` on the device."""

    @abstractmethod
    def copy(self, path: Path, remote: str) -> list[str]:
        """Return the local command that copies a file to the device."""

    @abstractmethod
    def pythons(self) -> list[str]:
        """Return commands to try for Python when none was named."""

    # --- the transport ------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Inspect the device, and send the runner.

        Raises:
            BenchError: it cannot be reached, has no Python, or its disk is full.
        """
        self.look()
        self.get_ready()

    def get_ready(self) -> None:
        """Send the runner, which needs a Python; the device has been inspected.

        Raises:
            BenchError: there is no Python.
        """
        if not self.python:
            raise BenchError(self.no_python())
        self.send_runner()

    def look(self) -> None:
        """Learn the folder's full path, its files, the free space, and which Python there is."""
        candidates = [self.requested_python] if self.requested_python else self.pythons()
        output_lines = self.run(look_script(self.folder, candidates), f"looking at {self.name}")
        on_device = read_look(self.name, output_lines, candidates)
        self.folder, self.free_bytes = on_device.path, on_device.free_bytes
        self.files, self.python = on_device.files, on_device.python

    def why_lost(self, output_lines: Sequence[str]) -> str:
        """Return one line for a command that did not get through, from the lines it printed."""
        for words, advice in self.causes.items():
            line = next((line.strip() for line in output_lines if words in line), None)
            if line is not None:
                return f"cannot reach {self.name}: {advice.format(host=self.name)} ({line})"
        return self.broken.format(host=self.name, last=last_line(output_lines))

    def no_python(self) -> str:
        """Return the message for a device without a Python."""
        if self.requested_python:
            program = first_word(self.requested_python)
            return f"{self.name} has no {program}: give another --host-python, or install it there"
        return (
            f"{self.name} has no python3: install Python 3.8 or newer and numpy there, or name one with "
            "--host-python"
        )

    def send_runner(self) -> None:
        """Send the .pyz, unless the device has this very file."""
        with scratch_folder() as folder:
            self.runner = self.send(write_runner(Path(folder)))

    def send(self, path: Path) -> str:
        """Copy a file to the device under its sha256, unless it is there; return its path there.

        Raises:
            BenchError: the disk is full, or the copy failed.
        """
        size = path.stat().st_size
        name = f"{sha256(path)[:DIGITS]}-{UNSAFE.sub('_', path.name)}"
        remote = f"{self.folder}/{name}"
        if self.files.get(name) == size:
            return remote
        if size + MARGIN_BYTES > self.free_bytes:
            raise BenchError(self.too_full(path.name, size))
        part = f"{remote}.part"
        exit_code, output_lines = run_to_end(self.copy(path, part))
        if exit_code != 0:
            raise self.why_not_sent(path.name, size, part, output_lines)
        rename_if_complete = f'[ "$(wc -c < {part})" -eq {size} ] && mv {part} {remote}'
        self.run(rename_if_complete, f"sending {path.name} to {self.name}")
        self.files[name] = size
        self.free_bytes -= size
        return remote

    def remove(self, remote: str) -> None:
        """Delete a file that ``send`` copied."""
        self.run(f"rm -f {shlex.quote(remote)}", f"removing a file from {self.name}")
        self.free_bytes += self.files.pop(remote.rpartition("/")[2], 0)

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        """Run the runner there once; when the connection breaks, it is ended there too.

        Args:
            verb: of the runner's command line.
            arguments: after the verb.
            on_event: called with each progress event.

        Raises:
            ConnectionLost: nothing says how the runner ended.
            BenchError: the runner failed.
        """
        words = shlex.join([verb, *arguments])
        script = START.format(python=command(self.python), runner=shlex.quote(self.runner), words=words)
        codes: list[int] = []

        def pass_on(event: dict[str, Any]) -> None:
            code = event.get("code")
            if event.get("event") != "exit":
                on_event(event)
            elif isinstance(code, int) and -256 < code < 256:
                codes.append(code)

        def ended(_code: int, output_lines: Sequence[str]) -> BenchError:
            if not codes:
                return ConnectionLost(self.why_lost(output_lines))
            return exit_error(-signal_of(codes[-1]) or codes[-1], output_lines)

        return ask(self.shell(script), on_event=pass_on, ended=ended, hold=True)

    def run(self, script: str, doing: str) -> list[str]:
        """Run a script there; return the lines it printed.

        Args:
            script: of ``sh``.
            doing: what it does, for error messages.

        Raises:
            ConnectionLost: nothing says how it ended.
            BenchError: it failed.
        """
        _, output_lines = run_to_end(self.shell(f"({script})\necho {CODE}$?\n"))
        codes = [line.removeprefix(CODE) for line in output_lines if line.startswith(CODE)]
        if not codes:
            raise ConnectionLost(self.why_lost(output_lines))
        output_lines = [line for line in output_lines if not line.startswith(CODE)]
        if codes[-1] == "0":
            return output_lines
        if any(words in line for line in output_lines for words in DISK_FULL):
            raise BenchError(
                f"{doing}: its disk is full; free some space there, or give another --host-folder"
            )
        raise BenchError(f"{doing} failed: {last_line(output_lines)}")

    def why_not_sent(self, name: str, size: int, part: str, output_lines: Sequence[str]) -> BenchError:
        """Return the error for a copy that failed: mostly the disk, for which sftp prints only "Failure".

        Args:
            name: of the file.
            size: of the file, bytes.
            part: path of the incomplete copy.
            output_lines: what the copying program printed.
        """
        left = self.run(f"df -Pk {self.folder} | tail -n 1; rm -f {part}", f"sending {name} to {self.name}")
        self.free_bytes = free_bytes(last_line(left))
        if self.free_bytes < MARGIN_BYTES:  # the part that was sent counts
            return BenchError(self.too_full(name, size))
        if any(words in line for line in output_lines for words in CUT):
            return ConnectionLost(self.why_lost(output_lines))
        return BenchError(f"sending {name} to {self.name} failed: {last_line(output_lines)}")

    def too_full(self, name: str, size: int) -> str:
        """Return the message for a disk without room."""
        return (
            f"the disk of {self.name} is full: {name} needs {megabytes(size)}, {self.folder} has "
            f"{megabytes(self.free_bytes)} free; free some space there, or give another --host-folder"
        )


def signal_of(code: int) -> int:
    """Return the signal behind a shell's exit code, else 0."""
    return code - 128 if 128 < code < 128 + 32 else 0


def command(python: str) -> str:
    """Quote each word of a command for a shell there; a ``~`` at the beginning of a word is expanded."""
    return " ".join(quoted(word) for word in shlex.split(python))


def megabytes(size: int) -> str:
    """Format a size in MB, with one digit."""
    return f"{size / 1e6:.1f} MB"
