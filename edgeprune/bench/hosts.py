"""Turn ``--host`` into a transport: a board over ssh, a phone over adb."""

from dataclasses import dataclass
from pathlib import Path

from edgeprune_target.scratch import scratch_folder

from edgeprune.bench.adb import AdbTransport
from edgeprune.bench.local import Transport
from edgeprune.bench.program_transport import ProgramTransport, no_program, programs_on
from edgeprune.bench.remote import RemoteTransport
from edgeprune.bench.ssh import SshTransport
from edgeprune.devices import AUTO, PHONE, Device
from edgeprune.errors import BenchError

ADB = "adb:"


@dataclass(frozen=True)
class Host:
    """A machine other than this one, where the runner is to run.

    Attributes:
        name: ``user@board`` for ssh, ``adb:SERIAL`` for adb.
        python: the command for Python there; None for ``python3``.
        folder: for files there; None for the usual one.
        ssh_options: as of ``ssh -o``.
    """

    name: str
    python: str | None = None
    folder: str | None = None
    ssh_options: tuple[str, ...] = ()

    @property
    def is_phone(self) -> bool:
        """Whether adb leads there."""
        return self.name.startswith(ADB)

    def device(self, name: str | None) -> str:
        """Return the profile's name: the requested one, else "auto"; over adb, that of a phone."""
        if self.is_phone:
            return PHONE if name is None or name == AUTO else name
        return name or AUTO

    def connect(self) -> Transport:
        """Connect to the machine, and send it the runner.

        Raises:
            BenchError: it cannot be reached, or has nothing to run the runner with.
        """
        if self.is_phone:
            return self._phone(self.name.removeprefix(ADB))
        board = SshTransport(self.name, self.ssh_options, self.python, self.folder)
        board.connect()
        return board

    def leave_profile(self, device: Device, transport: Transport) -> None:
        """Write the profile beside the runner, as its arguments, for a person to measure by hand.

        The command is ``python3 RUNNER measure --model FILE @PROFILE``.
        """
        if not isinstance(transport, RemoteTransport):
            return
        with scratch_folder() as folder:
            path = Path(folder) / f"{device.name}.profile"
            path.write_text("\n".join(runner_words(device)) + "\n")
            transport.send(path)

    def _phone(self, serial: str) -> Transport:
        phone = AdbTransport(serial, self.python, self.folder)
        phone.look()
        if not phone.python and self.python is None:
            if not programs_on(phone):
                raise BenchError(no_program(phone))
            return ProgramTransport(phone)
        phone.get_ready()
        return phone


def runner_words(device: Device) -> list[str]:
    """Return a profile as arguments of the runner's ``measure``, one per line of its file."""
    sensors = ["--sensors", ",".join(device.sensors)] if device.sensors else []
    return [*sensors, *(word for total in device.totals for word in ("--total", str(total)))]
