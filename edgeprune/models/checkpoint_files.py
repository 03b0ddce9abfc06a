"""Read a checkpoint file: every tensor in it by its dotted name, without running any code of the file."""

import pickle
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeprune.errors import WeightsError, printable
from edgeprune.models import check_weights_file
from edgeprune.options.checks import short

TORCH_SUFFIXES = (".pt", ".pth", ".th", ".ckpt", ".bin", ".tar")  # .pth.tar among the last
SAVE = "save model.state_dict(), or {'state_dict': ...}"
MAX_DEPTH, MAX_ENTRIES = 32, 1_000_000  # of dicts in dicts; a damaged file may refer to itself

# Objects that training scripts save beside their weights. They are read as empty objects of the same name, so that
# argparse, numpy and pathlib are never called with a file's content.
_IGNORED = (
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.ndarray",
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
    *(f"numpy.dtypes.{kind}DType" for kind in ("Float16", "Float32", "Float64", "Int32", "Int64", "Bool")),
    *(f"pathlib.{name}" for name in ("Path", "PosixPath", "PurePosixPath", "WindowsPath", "PureWindowsPath")),
    *(f"pathlib._local.{name}" for name in ("Path", "PosixPath", "WindowsPath")),
    *(f"datetime.{name}" for name in ("datetime", "date", "timedelta")),
)


@dataclass(frozen=True)
class Holdings:
    """The content of a checkpoint file.

    Attributes:
        path: the file.
        tensors: each tensor by the keys of all dicts that lead to it, joined by dots: ``state_dict.conv1.weight``.
        homes: the dict that contains each tensor, in the same notation; "" is the file itself.
        others: the type's name of every other entry, including the dicts.
        unnamed: keys of tensors that are not text, each with its type's name.
    """

    path: Path
    tensors: dict[str, Tensor] = field(default_factory=dict)
    homes: dict[str, str] = field(default_factory=dict)
    others: dict[str, str] = field(default_factory=dict)
    unnamed: list[str] = field(default_factory=list)

    def add(self, content: Mapping[Any, Any], home: str = "", depth: int = 0) -> None:
        """Add a dict and those nested in it.

        Args:
            content: the dict.
            home: its dotted name; "" for the file itself.
            depth: number of dicts around it.

        Raises:
            WeightsError: two entries have one name, there are too many of them, or dicts are nested too deeply.
        """
        for key, value in content.items():
            name = joined(home, key if isinstance(key, str) else str(key))
            if name in self.tensors or name in self.others:
                raise WeightsError(f"{self.path} holds two things named {short(printable(name))}: {SAVE}")
            if len(self.tensors) + len(self.others) > MAX_ENTRIES:
                raise WeightsError(f"{self.path} holds more than {MAX_ENTRIES:,} entries: {SAVE}")
            if isinstance(value, Tensor) and not value.is_nested:
                self.tensors[name], self.homes[name] = value, home
                if not isinstance(key, str):
                    self.unnamed.append(
                        f"{short(printable(repr(key)))} for a tensor's name, a {type(key).__name__}"
                    )
                continue
            self.others[name] = type(value).__name__
            for number, part in enumerate(value if isinstance(value, list | tuple) else [value]):
                if isinstance(part, Mapping):
                    if depth == MAX_DEPTH:
                        raise WeightsError(f"{self.path} nests more than {MAX_DEPTH} dicts: {SAVE}")
                    self.add(part, name if part is value else f"{name}.{number}", depth + 1)

    def named(self, name: str) -> bool:
        """Return whether a dict, or a prefix of tensors' names, has this name; "" is the file itself."""
        return not name or any(tensor.startswith(f"{name}.") for tensor in self.tensors)


def joined(*parts: str) -> str:
    """Join the parts of a dotted name; empty parts are left out."""
    return ".".join(part for part in parts if part)


def read_checkpoint(path: Path) -> Holdings:
    """Read a checkpoint file.

    Raises:
        WeightsError: it is missing, a folder, truncated, of an unknown kind, without tensors, or needs code to be read.
    """
    check_weights_file(path)
    suffix = path.suffix.lower()
    if suffix == ".safetensors":
        content: Any = _read_safetensors(path)
    elif suffix in TORCH_SUFFIXES:
        content = _read_torch(path)
    else:
        raise WeightsError(f"{path} is of no known kind: use .safetensors, or a state dict as .pt or .pth")
    holdings = Holdings(path)
    if isinstance(content, Mapping):
        holdings.add(content)
    if not holdings.tensors:
        names = [short(printable(name)) for name in list(holdings.others)[:5]]
        only = f" (only {', '.join(names)})" if names else ""
        raise WeightsError(f"{path} holds no tensors by name{only}: {SAVE}")
    return holdings


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is no safetensors file, or a truncated one ({_brief(error)})") from error


def _read_torch(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), _ignored_names():
            warnings.simplefilter("ignore")  # torch warns about the pickle protocol before it refuses
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        needed = re.search(r"GLOBAL (\S+)", str(error))
        what = f" ({short(printable(needed[1]))})" if needed else ", or no checkpoint at all"
        raise WeightsError(
            f"{path} is refused: it is a pickle of more than tensors{what}, and reading it would run its code; "
            "where you trust that code, save model.state_dict() alone: torch.save(model.state_dict(), 'weights.pt')"
        ) from error
    except Exception as error:  # a cut zip gives RuntimeError, an empty file EOFError, and so on
        if "TorchScript" in str(error):
            raise WeightsError(
                f"{path} is a TorchScript archive: save its tensors alone, as in "
                "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt')"
            ) from error
        raise WeightsError(f"{path} is no torch checkpoint, or a truncated one ({_brief(error)})") from error


class _Ignored:
    """Placeholder for an object beside the weights, without its content."""

    def __new__(cls, *_arguments: Any, **_keywords: Any) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *_arguments: Any, **_keywords: Any) -> None:
        """Discard the arguments that the file gives."""

    def __setstate__(self, _state: Any) -> None:
        """Discard the state that the file gives."""


def _placeholder(full_name: str) -> type[_Ignored]:
    module, _, name = full_name.rpartition(".")
    return type(name, (_Ignored,), {"__module__": module})


_PLACEHOLDERS: list[Any] = [_placeholder(name) for name in _IGNORED]


@contextmanager
def _ignored_names() -> Iterator[None]:
    """Let torch's reader skip the classes of `_IGNORED`; afterwards the earlier list of allowed classes is restored."""
    allowed = torch.serialization.get_safe_globals()
    torch.serialization.add_safe_globals(_PLACEHOLDERS)
    try:
        yield
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(allowed)


def _brief(error: Exception) -> str:
    first = (str(error).splitlines() or [""])[0]
    return (
        type(error).__name__ if first.isdigit() or not first else first
    )  # torch raises some by a bare number
