"""A real sshd on this machine's loopback, as the board: on a high port, with keys and settings of its own.

``start(folder)`` gives a ``Loopback``, or the reason why there is none. What the board's "Python" is, is a
script: it gives the runner the stand-in tree as its root, and can cut its own connection. Its home is a folder
of its own: what our user has in ~/.bashrc can take a second at each login.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

SSHD = "/usr/sbin/sshd"  # must be started by its full path

SETTINGS = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PidFile {folder}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
Subsystem sftp internal-sftp
MaxStartups 100
SetEnv HOME={folder}
"""

# The client's side of it, as a user would write it in ~/.ssh/config; "other" is the same board, nobody is at "closed".
CLIENT = """\
Host closed
  HostName 127.0.0.1
  Port 1

Host board other
  HostName 127.0.0.1
  Port {port}
  User {user}
  IdentityFile {folder}/key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known_hosts
"""

# Counts what it is asked to measure; kills the sshd of its own connection at number CUT.
PYTHON = """\
#!/bin/sh
export PYTHONPATH= OMP_NUM_THREADS=1
case "$2" in
  probe|sensors|measure) root="{root}" ;;
esac
if [ "$2" = measure ]; then
  echo x >> {folder}/measured
  if [ "$(wc -l < {folder}/measured)" = "$(cat {folder}/cut 2> /dev/null)" ]; then
    {executable} {folder}/cut.py
  fi
fi
exec {executable} "$@" $root
"""

# Walks up from itself to the process that the listener made for this connection, and sends it a signal.
CUT = """\
import os, signal

def parent(pid):
    with open("/proc/%d/stat" % pid) as handle:
        return int(handle.read().rpartition(")")[2].split()[1])

listener = int(open({pid!r}).read())
found = os.getpid()
while parent(found) != listener:
    found = parent(found)
os.kill(found, {signal})
"""


@dataclass
class Loopback:
    """A board that is reached by ``ssh -F config board``."""

    folder: Path
    port: int
    listener: "subprocess.Popen[bytes]"

    @property
    def environment(self) -> dict[str, str]:
        """For ``SshTransport``."""
        return {"EDGEPRUNE_SSH": f"-F {self.folder}/config"}

    @property
    def home(self) -> Path:
        """For ``--host-folder``: gone after each test."""
        return self.folder / "home"

    def clear(self) -> None:
        """As it was at first."""
        shutil.rmtree(self.home, ignore_errors=True)
        for name in ("cut", "measured"):
            (self.folder / name).unlink(missing_ok=True)

    def python(self, root: Path | None = None) -> Path:
        """A program for ``--host-python``; ``root`` is the tree of a stand-in board."""
        words = PYTHON.format(
            folder=self.folder, executable=sys.executable, root=f"--root {root}" if root else ""
        )
        path = self.folder / "python-of-board"
        path.write_text(words)
        path.chmod(0o755)
        return path

    def cut_at(self, measurement: int, how: signal.Signals = signal.SIGKILL) -> None:
        """Break the connection when that many rounds have been asked for, from now on."""
        (self.folder / "measured").write_text("")
        (self.folder / "cut").write_text(f"{measurement}\n")
        code = CUT.format(pid=str(self.folder / "sshd.pid"), signal=int(how))
        (self.folder / "cut.py").write_text(code)

    def measured(self) -> int:
        """Rounds asked for since ``cut_at``."""
        return len((self.folder / "measured").read_text().splitlines())

    def runners(self) -> list[int]:
        """Process numbers of runners that are at work on the board."""
        own = f"{self.home}/"
        return [
            pid
            for pid, words in processes()
            if own in words and " measure " in words and "sh -c" not in words
        ]

    def end_connections(self) -> None:
        """Those that there are, frozen ones too."""
        for pid in children(self.listener.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End the listener, and every connection it has."""
        self.end_connections()
        self.listener.terminate()
        self.listener.wait(10)


def processes() -> Iterator[tuple[int, str]]:
    """(number, command line) of every process."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            yield int(folder.name), words


def children(pid: int) -> list[int]:
    """Of a process."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def start(folder: Path) -> "Loopback | str":
    """Start it with everything below ``folder``; or the reason why not."""
    if not Path(SSHD).exists():
        return f"there is no {SSHD}: apt-get install openssh-server"
    if not (shutil.which("ssh") and shutil.which("scp") and shutil.which("ssh-keygen")):
        return "there is no ssh, scp or ssh-keygen: apt-get install openssh-client"
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where root's sshd parks itself
    port = free_port()
    write_settings(folder, port)
    log = (folder / "log").open("wb")
    listener = subprocess.Popen(
        [SSHD, "-D", "-e", "-f", str(folder / "config_of_board")], stdin=subprocess.DEVNULL, stderr=log
    )
    board = Loopback(folder, port, listener)
    reason = why_not_answering(board)
    if reason is not None:
        board.stop()
        return reason
    return board


def write_settings(folder: Path, port: int) -> None:
    """Keys and settings of both sides."""
    for name in ("host_key", "key"):
        made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(folder / name)]
        subprocess.run(made, check=True, stdin=subprocess.DEVNULL)
    (folder / "config_of_board").write_text(SETTINGS.format(folder=folder, port=port))
    (folder / "config").write_text(CLIENT.format(folder=folder, port=port, user=getpass.getuser()))
    kind, key = (folder / "host_key.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")


def why_not_answering(board: Loopback, patience_s: float = 20.0) -> str | None:
    """Log in once; None when that works, else what the log says."""
    until = time.monotonic() + patience_s
    login = ["ssh", "-F", str(board.folder / "config"), "-o", "BatchMode=yes", "board", "true"]
    while time.monotonic() < until and board.listener.poll() is None:
        done = subprocess.run(login, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        if done.returncode == 0:
            return None
        if "refused" not in done.stderr:
            break
        time.sleep(0.1)
    log = (board.folder / "log").read_text().strip().splitlines()
    return f"sshd does not let us in: {log[-1] if log else 'it says nothing'}"


def free_port() -> int:
    """One that nobody listens on now."""
    with closing(socket.socket()) as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])
