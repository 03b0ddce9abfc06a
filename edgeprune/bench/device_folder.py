"""The folder on a device: the script that looks at it, and what its lines say."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from edgeprune.bench.process import last_line, printable_line
from edgeprune.errors import BenchError

SAFE = re.compile(r"[\w./+@~-]+", re.ASCII)  # old scp hands the path to a shell
LISTED = re.compile(r"edgeprune file (\d{1,18}) (.+)")
STALE_MINUTES = 24 * 60  # what was being sent, or test images that were left, by a process that was killed

# Makes the folder, sweeps it, then says what it is, what is free there and what lies in it, a line each.
LOOK = """\
mkdir -p {folder} && cd {folder} || exit
command -v find > /dev/null && find . -maxdepth 1 -type f \\( -name '*.part' -o -name '*-images.npy' \
-o -name '*-labels.npy' \\) -mmin +{stale_minutes} -exec rm -f {{}} + 2> /dev/null
echo "edgeprune folder $(pwd)"
echo "edgeprune free $(df -Pk . | tail -n 1)"
for file in *; do [ -f "$file" ] && echo "edgeprune file $(wc -c < "$file") $file"; done
{pythons}
exit 0
"""


@dataclass(frozen=True)
class DeviceFolder:
    """What was seen on a device.

    Attributes:
        path: of the folder, in full.
        free_bytes: on its disk.
        files: name -> bytes.
        python: the first command whose program is there; "" for none.
    """

    path: str
    free_bytes: int
    files: dict[str, int]
    python: str


def look_script(folder: str, pythons: Sequence[str]) -> str:
    """Return the script of ``sh`` that makes the folder, sweeps it and says what is there.

    Args:
        folder: on the device.
        pythons: commands to try.
    """
    return LOOK.format(
        folder=quoted(folder), stale_minutes=STALE_MINUTES, pythons="\n".join(map(look_for, pythons))
    )


def read_look(name: str, output_lines: Sequence[str], pythons: Sequence[str]) -> DeviceFolder:
    """Return what the script printed.

    Args:
        name: of the device, for messages.
        output_lines: of the script.
        pythons: commands that were tried.

    Raises:
        BenchError: the lines do not say it, or the folder's path is one that some program would misread.
    """
    tagged = [line.split(" ", 2) for line in output_lines if line.startswith("edgeprune ")]
    facts = {words[1]: words[2] for words in tagged if len(words) == 3}
    if "folder" not in facts or "free" not in facts:
        raise BenchError(f"{name} did not say what it has: {last_line(output_lines)}")
    if not SAFE.fullmatch(facts["folder"]):
        raise BenchError(
            f"{name} has its files in {printable_line(facts['folder'], 100)!r}: choose a --host-folder of "
            "letters, digits and / . _ + @ - alone"
        )
    listed = [LISTED.fullmatch(line) for line in output_lines]
    candidates = (python for python in pythons if f"edgeprune python {first_word(python)}" in output_lines)
    return DeviceFolder(
        path=facts["folder"],
        free_bytes=free_bytes(facts["free"]),
        files={line.group(2): int(line.group(1)) for line in listed if line},
        python=next(candidates, ""),
    )


def look_for(python: str) -> str:
    """Return a line of ``sh`` that prints whether the command's program is there."""
    word = first_word(python)
    return f"command -v {quoted(word)} > /dev/null && echo {shlex.quote(f'edgeprune python {word}')}"


def quoted(folder: str) -> str:
    """Quote a folder for a shell there, which expands a ``~`` at its beginning."""
    return f'"$HOME"{shlex.quote(folder[1:])}' if folder.startswith("~/") else shlex.quote(folder)


def first_word(python: str) -> str:
    """Return the program of a command.

    Raises:
        BenchError: the command is empty or has an open quote.
    """
    try:
        words = shlex.split(python)
    except ValueError as error:
        raise BenchError(f"--host-python is {python!r}: {error}") from error
    if not words:
        raise BenchError("--host-python is empty: name a command, as in --host-python python3.8")
    return words[0]


def free_bytes(line: str) -> int:
    """Return the free bytes from a line of ``df -Pk``; 0 where it cannot be read.

    Its columns: file system, kB in all, used, available, used in percent, mounted on.
    """
    match = re.search(r"(\d{1,18})\s+(-?\d{1,18})\s+(-?\d{1,18})\s+\S+%", line)
    return int(match.group(3)) * 1024 if match else 0
