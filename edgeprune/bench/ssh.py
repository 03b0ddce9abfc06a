"""Reach a board over the system's own ssh and scp, so that ~/.ssh/config applies."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeprune.bench.login import KeptLogin, kept_login
from edgeprune.bench.remote import RemoteTransport
from edgeprune.errors import BenchError

WORDS = "EDGEPRUNE_SSH"  # the environment's name for more words on both command lines, as in: -F FILE -i KEY

# Nobody can answer a question while rounds go on, so ssh must not ask one. A board that says nothing for 15 s
# is lost; the first value that ssh sees is the one that counts, so those of the user come first.
ALWAYS = ("BatchMode=yes", "ConnectTimeout=10", "ServerAliveInterval=5", "ServerAliveCountMax=3")

CAUSES = {
    "Permission denied": "it refuses the login; give it your key: ssh-copy-id {host}",
    "Host key verification failed": "its host key is not known here; look at it once: ssh {host}",
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "its host key has changed; look at it: ssh {host}",
    "Could not resolve hostname": "there is no such host; check the name, or ~/.ssh/config",
    "Connection refused": "no ssh server answers there; is the board up, and sshd on it?",
    "No route to host": "no way leads there; is the board on this network?",
    "Network is unreachable": "no way leads there; is this machine on a network?",
    "Connection timed out": "it does not answer; is the board up, and on this network?",
    "Bad configuration option": "an option for ssh is wrong",
}
BROKEN = (
    "the connection to {host} broke ({last}); what was measured so far is kept: look at the board, then give "
    "the same command with --resume"
)


class SshTransport(RemoteTransport):
    """Starts one ssh for each call, so that a board that reconnects needs no handling; they share a login."""

    home = "~/.cache/edgeprune"
    causes = CAUSES
    broken = BROKEN

    def __init__(
        self,
        host: str,
        options: Sequence[str] = (),
        python: str | None = None,
        folder: str | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        """Build the common arguments of ssh and scp.

        Args:
            host: a name for ssh, as in ``user@board``.
            options: ``Name=value`` as of ``ssh -o``.
            python: the command for Python there; None searches for one.
            folder: for files there; None for ``home``.
            environment: may hold further arguments in ``WORDS``.

        Raises:
            BenchError: a host, an option or a folder that ssh would misread.
        """
        super().__init__(python, folder)
        if not host or host.startswith("-") or any(sign.isspace() for sign in host):
            raise BenchError(f"--host is {host!r}: give a name for ssh, as in --host user@board")
        wrong = [option for option in options if "=" not in option]
        if wrong:
            raise BenchError(f"--ssh-option is {wrong[0]!r}: write it as in --ssh-option Port=2222")
        self.name = host
        try:
            more = shlex.split(environment.get(WORDS, ""))
        except ValueError as error:
            raise BenchError(f"the environment's {WORDS} has a quote without its end: close it") from error
        self.words = [
            *more,
            *(word for option in (*options, *ALWAYS) for word in ("-o", option)),
        ]
        self._login: KeptLogin | None = None

    def look(self) -> None:
        """Log in once for all calls, and inspect the board."""
        self._login = kept_login(self.words, self.name)
        super().look()

    @property
    def shared(self) -> list[str]:
        """Return the options that go through the kept login, while there is one."""
        return self._login.words if self._login else []

    def why_lost(self, output_lines: Sequence[str]) -> str:
        """Return one line for a command that did not get through; the kept login may know why."""
        return super().why_lost([*output_lines, *(self._login.last_lines() if self._login else ())])

    def shell(self, script: str) -> list[str]:
        """Return the command that runs a script through ``sh``, whatever the login shell is."""
        return ["ssh", *self.words, *self.shared, "-T", "--", self.name, f"sh -c {shlex.quote(script)}"]

    def copy(self, path: Path, remote: str) -> list[str]:
        """Return the command of scp; an absolute path cannot be taken for ``host:path``."""
        return ["scp", "-q", *self.words, *self.shared, "--", str(path.resolve()), f"{self.name}:{remote}"]

    def pythons(self) -> list[str]:
        """Return the system's Python, which has a Jetson's TensorRT."""
        return ["python3"]
