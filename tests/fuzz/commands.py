"""Cases over all commands: one seeded fault each, in a file or in the words of the command line."""

import os
import random
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click
from click.testing import CliRunner

from fuzz.folders import copied
from fuzz.guard import Guard, Hang
from fuzz.mutate import mutated
from fuzz.options import COMMANDS, SLOW, changed_words

SECONDS = 20  # a case may take


@dataclass(frozen=True)
class Outcome:
    """What a case did, and what is wrong with it ('' for nothing)."""

    number: int
    what: str
    fault: str
    detail: str = ""


def run_case(number: int, seed: int, base: Path, folder: Path, guard: Guard) -> Outcome:
    """Run one case in the empty ``folder``, which becomes the working folder.

    Args:
        number: of the case; with the seed it gives everything about it.
        seed: of the whole series.
        base: what `folders.make` made.
        folder: for the case.
        guard: watches it.
    """
    rng = random.Random(f"{seed}-{number}")
    words = rng.choice(COMMANDS)
    if words[0] in SLOW and rng.random() < SLOW[words[0]]:
        words = rng.choice([other for other in COMMANDS if other[0] not in SLOW])
    files = copied(base, folder, words)
    typed = list(words)
    if files and rng.random() < 0.75:
        file = rng.choice(files)
        content, what = mutated(file.read_bytes(), file.name, rng)
        file.write_bytes(content)
        what = f"{' '.join(words)} with {file.relative_to(folder)}: {what}"
    else:
        typed = changed_words(words, rng)
        what = f"options {typed}"
    os.chdir(folder)
    return _judged(number, ascii(what)[1:-1], typed, folder, guard)


def _judged(number: int, what: str, words: list[str], folder: Path, guard: Guard) -> Outcome:
    try:
        with guard.watching(folder, SECONDS) as seen:
            code, stderr, error = _invoke(words)
    except Hang:
        trace = traceback.format_exc()
        # Words may turn into a command that is right, and trains: that takes its time.
        trains = f"{os.sep}training{os.sep}loop.py" in trace
        return Outcome(number, what, "" if trains else f"did not end in {SECONDS} s", trace)
    fault = seen[0] if seen else _fault(code, stderr, error)
    leftovers = [path for path in folder.rglob("*.part*") if path.name.startswith(".")]
    if not fault and leftovers:
        fault = f"left {leftovers[0].relative_to(folder)}"
    detail = "".join(traceback.format_exception(error)) if error else stderr
    return Outcome(number, what, fault, detail)


def _invoke(words: list[str]) -> tuple[int, str, BaseException | None]:
    """Run a command in this process: its exit code, its stderr, and an exception that nobody caught."""
    from edgeprune.cli import main

    command: Callable[..., click.Command] | click.Command = _load if words[0] == "load" else main
    result = CliRunner().invoke(command, words[1:] if words[0] == "load" else words)  # type: ignore[arg-type]
    error = result.exception
    return result.exit_code, result.stderr, None if isinstance(error, SystemExit) else error


@click.command()
@click.argument("file")
def _load(file: str) -> None:
    """Load a model and run it once, as a program that uses the library does."""
    import torch

    import edgeprune
    from edgeprune.errors import EdgePruneError

    try:
        edgeprune.load(file)(torch.zeros(1, 3, 8, 8))
    except EdgePruneError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(1) from error


def _fault(code: int, stderr: str, error: BaseException | None) -> str:
    if error is not None:
        last = (str(error).splitlines() or [""])[0]
        return f"traceback {type(error).__name__}: {last[:100]}"
    if "Traceback" in stderr:
        return "a traceback on stderr"
    message = [line for line in stderr.splitlines() if line.startswith(("error:", "Error:"))]
    if code == 1 and len(message) > 1:
        return "several errors"
    if code not in (0, 1, 2, 130):
        return f"exit code {code}"
    if message and not message[-1].isprintable():
        return f"an error that is not printable: {ascii(message[-1])[:80]}"
    return ""
