"""The tree of exceptions. A user's mistake is an `EdgePruneError`; anything else is a bug.

    EdgePruneError
    ├── DataError      a data set that is missing, broken or does not fit
    ├── ModelError     a model that is unknown, cannot be built or cannot be traced
    │   └── TraceError a model whose code cannot be traced; names the line
    ├── WeightsError   a checkpoint that is foreign, truncated or of another model
    ├── TargetError    a budget that is malformed or cannot be reached
    ├── PlanError      a keep-plan that does not belong to this model
    ├── RunError       a run folder that exists, is missing or is not one
    │   ├── InUseError   a folder that another process works on
    │   └── MovedError   a folder that was moved or removed while it was written
    ├── StorageError   a disk that is full, read-only or broken, or a database that cannot be used
    ├── TrainError     training that cannot continue (a loss that is not a number)
    ├── BudgetError    a file of limits that `verify` cannot use
    ├── ExportError    an export that failed or disagrees with the model
    ├── SearchError    a search that cannot be started or resumed
    ├── ServeError     a page that cannot be served
    ├── LatencyError   a latency table that is missing, damaged, or of another device
    └── BenchError     a measurement that could not be made
        └── ConnectionLost  a device that is unreachable, or whose connection was lost

Every message is one line: what is wrong, where, and what to do next. The command line prints it
after ``error:`` and exits with 1.
"""

import unicodedata

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # controls, invisible formats, lone surrogates, line separators


MANY_NAMES = 16  # more than a line shows well


class EdgePruneError(Exception):
    """Root of all errors that a user can cause and correct."""


class DataError(EdgePruneError):
    """A data set that is missing, broken or does not fit."""


class ModelError(EdgePruneError):
    """A model that is unknown or cannot be built."""


class TraceError(ModelError):
    """A model whose own code cannot be traced."""


class WeightsError(EdgePruneError):
    """A checkpoint that is foreign, truncated or of another model."""


class TargetError(EdgePruneError):
    """A budget that is malformed or cannot be reached."""


class PlanError(EdgePruneError):
    """A keep-plan that does not belong to this model."""


class RunError(EdgePruneError):
    """A run folder that exists, is missing, or is not one."""


class InUseError(RunError):
    """A folder that another process works on."""


class MovedError(RunError):
    """A folder that was moved or removed while a process wrote into it."""


class StorageError(EdgePruneError):
    """A disk that is full, read-only or broken, a path without permission, or a shared database that cannot be used."""


class TrainError(EdgePruneError):
    """Training that cannot continue."""


class BudgetError(EdgePruneError):
    """A file of limits that `verify` cannot use."""


class ExportError(EdgePruneError):
    """An export that failed or disagrees with the model."""


class SearchError(EdgePruneError):
    """A search that cannot be started or resumed."""


class ServeError(EdgePruneError):
    """A page that cannot be served."""


class LatencyError(EdgePruneError):
    """A latency table that is missing, damaged, or of another device."""


class BenchError(EdgePruneError):
    """A measurement that could not be made."""


class ConnectionLost(BenchError):
    """A device that is unreachable, or whose connection was lost: earlier measurements remain valid."""


def known(kind: str, name: str, names: list[str]) -> str:
    """Return the message for an unknown name: the name, a similar one if any, and the known ones.

    Beside a similar name, many others would only hide it: they are left out.

    Args:
        kind: what is named, such as "model".
        name: the unknown name.
        names: all known names.
    """
    hint = near_miss(name, names)
    others = "" if hint and len(names) > MANY_NAMES else f"; known: {', '.join(sorted(names))}"
    return f"unknown {kind} {name!r}{hint}{others}"


def near_miss(name: str, names: list[str]) -> str:
    """Return " (did you mean 'resnet20'?)" where names are similar to an unknown one, or have it in them; else ''."""
    import difflib
    import os.path

    def likeness(other: str) -> tuple[float, int]:
        ratio = difflib.SequenceMatcher(None, name, other).ratio()
        return ratio, len(
            os.path.commonprefix([name, other])
        )  # resnet2O is closer to resnet20 than to resnet32

    nearest = max(difflib.get_close_matches(name, names), key=likeness, default=None)
    if nearest:
        return f" (did you mean {nearest!r}?)"
    longer = sorted(other for other in names if len(name) > 1 and name.lower() in other.lower())
    if not 0 < len(longer) <= MANY_NAMES:
        return ""
    return f" (did you mean {' or '.join(map(repr, longer))}?)"


def printable(text: object, *, keep: str = "") -> str:
    """Return ``text`` with control characters escaped, so that they have no effect on a terminal.

    Args:
        text: anything; it is converted by `str`.
        keep: control characters that stay, such as a newline.
    """
    return "".join(
        sign if sign in keep or unicodedata.category(sign) not in _HIDDEN else _written_out(sign)
        for sign in str(text)
    )


def one_line(text: object) -> str:
    """Return ``text`` on one line: newlines become spaces, other control characters are escaped."""
    return printable(" ".join(str(text).split("\n")).strip())


def _written_out(sign: str) -> str:
    return sign.encode("unicode_escape", "backslashreplace").decode("ascii")
