"""Read small files and the output of small programs. Whatever does not answer is None or empty."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

# Besides PATH: over ssh, nvpmodel and jetson_clocks are not on a user's PATH; JetPack 3 has tegrastats in a home.
PROGRAM_FOLDERS = ("usr/bin", "usr/sbin", "home/nvidia", "opt/vc/bin")
TIMEOUT_S = 5.0  # nvpmodel and vcgencmd answer in about 10 ms


def text(path: Path) -> str:
    """Return a file's text without trailing NULs and white space; empty if it cannot be read."""
    try:
        return path.read_text(errors="replace").rstrip("\0\n ")
    except OSError:
        return ""


def read_number(path: Path) -> int | None:
    """Return an integer of 64 bits from a file; None if there is none (a power-gated sensor gives EAGAIN)."""
    return whole_number(text(path))


def whole_number(word: str) -> int | None:
    """Parse an integer of 64 bits; None if the word is not one."""
    try:
        value = int(word[:64])
    except ValueError:
        return None
    return value if abs(value) < 2**63 and len(word) <= 64 else None


def find_program(name: str, root: str = "/") -> str | None:
    """Return the path of a program below ``root`` or on PATH; None if it is in neither."""
    folders = os.pathsep.join(str(Path(root) / folder) for folder in PROGRAM_FOLDERS)
    return shutil.which(name, path=folders) or shutil.which(name)


def output_of(name: str, *arguments: str, root: str = "/") -> tuple:
    """Run a program; return ``(its output, None)``, or ``("", reason)`` if it is missing or fails.

    Args:
        name: of the program.
        *arguments: for it.
        root: the folder used in place of ``/`` to find it.
    """
    program = find_program(name, root)
    if program is None:
        return "", f"there is no program {name} on this machine"
    try:
        completed = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"{name} does not answer ({error})"
    output = completed.stdout.decode(errors="replace")
    if completed.returncode != 0:
        return "", f"{name} {' '.join(arguments)} failed: {' '.join(output.split())[:200]}"
    return output, None


def memory_total_bytes(base: Path) -> int | None:
    """Return MemTotal of /proc/meminfo in bytes; None if it is unknown."""
    for line in text(base / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            kilobytes = whole_number(" ".join(line.split()[1:2]))
            return kilobytes * 1024 if kilobytes is not None and kilobytes > 0 else None
    return None
