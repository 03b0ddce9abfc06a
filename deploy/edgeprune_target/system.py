"""Reading the machine: small files and small programs. Whatever does not answer is None or empty."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

# Beside PATH: nvpmodel and jetson_clocks are no user's PATH over ssh; JetPack 3 had tegrastats in a home.
PROGRAM_FOLDERS = ("usr/bin", "usr/sbin", "home/nvidia", "opt/vc/bin")
PATIENCE_S = 5.0  # nvpmodel and vcgencmd answer in some 10 ms


def text(path: Path) -> str:
    """A file's text, without NULs and white space at the end; empty when it cannot be read."""
    try:
        return path.read_text(errors="replace").rstrip("\0\n ")
    except OSError:
        return ""


def number(path: Path) -> int | None:
    """A whole number of 64 bits from a file; None without one (a gated sensor answers EAGAIN)."""
    return whole_number(text(path))


def whole_number(word: str) -> int | None:
    """Return the number that a word is; None when it is none, or none of 64 bits."""
    try:
        value = int(word[:64])
    except ValueError:
        return None
    return value if abs(value) < 2**63 and len(word) <= 64 else None


def find_program(name: str, root: str = "/") -> str | None:
    """The path of a program below ``root`` or on PATH; None when it is in neither."""
    folders = os.pathsep.join(str(Path(root) / folder) for folder in PROGRAM_FOLDERS)
    return shutil.which(name, path=folders) or shutil.which(name)


def answer_of(name: str, *arguments: str, root: str = "/") -> tuple:
    """``(what it printed, None)``, or ``("", why there is nothing)``."""
    program = find_program(name, root)
    if program is None:
        return "", f"there is no program {name} on this machine"
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return "", f"{name} does not answer ({error})"
    said = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        return "", f"{name} {' '.join(arguments)} failed: {' '.join(said.split())[:200]}"
    return said, None


def memory_total_bytes(base: Path) -> int | None:
    """MemTotal of /proc/meminfo."""
    for line in text(base / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            kilobytes = whole_number(" ".join(line.split()[1:2]))
            return kilobytes * 1024 if kilobytes is not None and kilobytes > 0 else None
    return None
