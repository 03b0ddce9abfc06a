"""A PostgreSQL and a Redis of the tests' own: on loopback, with a password, their files in a folder of their own."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from urllib.parse import quote

PASSWORD = "p@ss/wo:rd%1-secret"  # with what a URL must escape
READY_S = 60.0


def program(name: str) -> str | None:
    """Return the path of a program; distributions keep those of PostgreSQL outside of PATH."""
    places = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return shutil.which(name) or next((str(p / name) for p in places if (p / name).exists()), None)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server(ABC):
    """A server that can be killed and started again where it was."""

    def __init__(self) -> None:
        self.folder, self.port = Path(tempfile.mkdtemp(prefix="edgeprune-server-")), free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def url(self, number: int = 0) -> str:
        """Return the URL of a database of its own for each number."""

    @abstractmethod
    def command(self) -> list[str]:
        """Return the command that starts it."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it takes commands."""

    def as_user(self) -> dict[str, object]:
        """Return how its processes are started: PostgreSQL refuses root."""
        return {}

    def start(self) -> None:
        """Start it, and wait until it takes commands."""
        with (self.folder / "log").open("ab") as log:
            # However the tests end, the server ends with them.
            dying = ["setpriv", "--pdeathsig", self.crashing.name] if shutil.which("setpriv") else []
            self.process = subprocess.Popen(
                [*dying, *self.command()], stdout=log, stderr=log, start_new_session=True, **self.as_user()
            )  # type: ignore[call-overload]
        end = time.monotonic() + READY_S
        while not self.answers():
            log_text = (self.folder / "log").read_text()[-2000:]
            assert self.process.poll() is None and time.monotonic() < end, log_text
            time.sleep(0.05)

    def crash(self) -> None:
        """End it at once, as a machine that goes down."""
        assert self.process is not None
        self.process.send_signal(self.crashing)
        self.process.wait()

    crashing = signal.SIGKILL

    def remove(self) -> None:
        """End it, and delete its files."""
        if self.process is not None and self.process.poll() is None:
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)


class PostgreSQL(Server):
    """Database 'study0', 'study1' and so on, of the user 'worker'."""

    crashing = signal.SIGQUIT  # at once, without a checkpoint: its log is replayed at the next start

    def __init__(self, databases: int = 8) -> None:
        super().__init__()
        self.databases = databases
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if os.getuid() == 0:
            for path in (self.folder, password):
                os.chown(path, *self._unprivileged())
        self._run(
            "initdb", "-D", self.data, "-U", "worker", "-A", "scram-sha-256", "--pwfile", str(password), "-N"
        )
        password.unlink()

    @property
    def data(self) -> str:
        return str(self.folder / "data")

    def start(self) -> None:
        is_new = self.process is None
        super().start()
        for number in range(self.databases if is_new else 0):
            self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "worker", f"study{number}")

    def url(self, number: int = 0) -> str:
        return f"postgresql://worker:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/study{number}"

    def command(self) -> list[str]:
        options = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "fsync": "off",
        }
        words = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        return [program("postgres") or "", "-D", self.data, "-p", str(self.port), *words]

    def answers(self) -> bool:
        ready = [program("pg_isready") or "", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(ready).returncode == 0

    def as_user(self) -> dict[str, object]:
        environment = {**os.environ, "PGPASSWORD": PASSWORD, "LC_ALL": "C"}
        if os.getuid():
            return {"env": environment}
        user, group = self._unprivileged()
        return {"env": environment, "user": user, "group": group, "extra_groups": [], "cwd": self.folder}

    @staticmethod
    def _unprivileged() -> tuple[int, int]:
        for name in ("postgres", "nobody"):
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return entry.pw_uid, entry.pw_gid
        raise AssertionError("no user that PostgreSQL could run as")

    def _run(self, name: str, *words: str) -> None:
        done = subprocess.run([program(name) or "", *words], capture_output=True, text=True, **self.as_user())  # type: ignore[call-overload]
        assert done.returncode == 0, done.stderr


class Redis(Server):
    """Its databases by number; what was written survives a crash, unless ``keeps`` is off."""

    keeps = True

    def url(self, number: int = 0) -> str:
        return f"redis://:{quote(PASSWORD, safe='')}@127.0.0.1:{self.port}/{number}"

    def command(self) -> list[str]:
        kept = "yes" if self.keeps else "no"
        return [
            program("redis-server") or "", "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder),
            "--requirepass", PASSWORD, "--appendonly", kept, "--save", "",
        ]  # fmt: skip

    def answers(self) -> bool:
        import redis

        try:  # the driver alone would try again, with long pauses
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return bool(redis.Redis.from_url(self.url()).ping())
        except (OSError, redis.ConnectionError):
            return False
