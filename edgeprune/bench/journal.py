"""Keep the rounds so far in a file, so that an interrupted measurement can continue.

The first line says what is measured, each later one holds a pair of rounds. Half a pair is measured again:
its two rounds must follow each other.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeprune.bench.session import Session
from edgeprune.errors import BenchError, EdgePruneError
from edgeprune.files.paths import explained
from edgeprune.files.reading import read_lines, sha256
from edgeprune.files.writing import append_line
from edgeprune.records import check, check_schema
from edgeprune.records.rounds import FirstLine, PairLine

SCHEMA = 1


Pair = dict[str, dict[str, Any]]  # name -> one round


class Journal:
    """One file; made by ``begin``, and removed once the result is complete."""

    def __init__(self, path: Path, resume: bool = False, *, or_anew: bool = False) -> None:
        """Set the file up; with ``resume`` its pairs are read, without it the file starts anew.

        Args:
            path: of the file.
            resume: continue what it holds.
            or_anew: start anew, too, where that is of something else, instead of refusing it.
        """
        self.path = path
        self.resume = resume
        self.or_anew = or_anew

    def begin(self, about: Mapping[str, Any]) -> list[Pair]:
        """Start the file, or continue it; return the pairs that it holds.

        Args:
            about: what is measured, as JSON; a file about anything else is refused.

        Raises:
            BenchError: there is nothing to resume, or it is of something else.
        """
        lines = self._lines() if self.resume else []
        if self.or_anew and lines and differences(lines[0]["about"], about):
            lines = []
        if not self.resume or (self.or_anew and not lines):
            with explained(self.path):
                self.path.unlink(missing_ok=True)
            append_line(self.path, {"schema": SCHEMA, "about": dict(about)})
            return []
        if not lines:
            raise BenchError(f"nothing to resume: there is no {self.path}; measure without --resume")
        changed = differences(lines[0]["about"], about)
        if changed:
            raise BenchError(
                f"cannot go on with {self.path}: {changed[0]}; give the same options again, or measure anew "
                "without --resume"
            )
        return [line["pair"] for line in lines[1:]]

    def _lines(self) -> list[dict[str, Any]]:
        """Return all lines of the file, checked."""
        hint = "measure anew without --resume"
        try:
            lines = read_lines(self.path)
        except EdgePruneError as error:
            raise BenchError(f"{error}: {hint}") from error
        for number, line in enumerate(lines, start=1):
            where = f"{self.path} line {number}"
            if number == 1:
                check_schema(line, where, schema=SCHEMA, error=BenchError, hint=hint)
            check(line, FirstLine if number == 1 else PairLine, where, error=BenchError, hint=hint)
        return lines

    def add(self, pair: Pair) -> None:
        """Append one pair of rounds."""
        append_line(self.path, {"pair": pair})

    def drop(self) -> None:
        """Remove the file, once the measurement is complete."""
        with explained(self.path):
            self.path.unlink(missing_ok=True)


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what has changed, one line for each."""
    return [
        f"{name} was {then.get(name)}, and is {now.get(name)}"
        for name in [*then, *(name for name in now if name not in then)]
        if then.get(name) != now.get(name)
    ]


def what_is_measured(session: Session, fingerprint: Mapping[str, Any], threads: int) -> dict[str, Any]:
    """Return what is measured, where, and with what: rounds of anything else do not belong to it.

    Args:
        session: with the files and options.
        fingerprint: of the machine.
        threads: of the runtime.
    """
    options, device = session.options, session.options.device
    return {
        "--host": options.host,
        "--device": device.name,
        "the board": fingerprint["board"]["model"],
        "the processor": fingerprint.get("cpu_model"),
        "the browser": fingerprint.get("title"),
        "the runtime": device.runtime,
        "its version": fingerprint["runtimes"].get(device.runtime),
        "the precision": device.precision,
        "--batch": options.batch,
        "--threads": threads,
        "--seconds": options.model_seconds,
        "--sustained": options.sustained,
        "--cool-to": options.cool_to,
        "the number of rounds": options.round_count,
        "the input's shape": {name: list(shape) for name, shape in session.feed_shapes.items()} or None,
        **{
            f"the {name} model".replace("model model", "model"): sha256(session.files[name])
            for name in session.names
        },
    }
