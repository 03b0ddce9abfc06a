"""What a person vouches for, as against what a file from elsewhere says.

A run folder names the factory of its model, and the host of its device with options for ssh. Both end in
programs that run. So they count only if they were typed: in this process, or for the file (``--trust``).
"""

import importlib
import importlib.util
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from edgeprune.errors import ModelError, RunError

_PACKAGES: ContextVar[frozenset[str]] = ContextVar("trusted packages", default=frozenset())
_typed_factories: set[str] = set()
_typed_hosts: list[dict[str, Any]] = []

_WORD = r"[^\W\d]\w*"
_FACTORY = re.compile(rf"{_WORD}(\.{_WORD})*:{_WORD}(\.{_WORD})*")
_PLAIN_ARGS = ("num_classes", "in_channels")


@contextmanager
def trusting(*packages: str) -> Iterator[None]:
    """Let factories of these packages be imported from run folders within the block.

    Raises:
        ModelError: a name that is not a package's.
    """
    for package in packages:
        if not re.fullmatch(rf"{_WORD}(\.{_WORD})*", package):
            raise ModelError(f"--trust is {package!r}: give a package's name, as in --trust mypackage")
    token = _PACKAGES.set(_PACKAGES.get() | set(packages))
    try:
        yield
    finally:
        _PACKAGES.reset(token)


def vouch_for_factory(name: str) -> None:
    """Remember a factory that was typed: runs made with it need no more."""
    _typed_factories.add(name)


def vouch_for_host(host: Mapping[str, Any] | None) -> None:
    """Remember a host that was typed, with its options."""
    if host is not None:
        _typed_hosts.append(_comparable(host))


def vouch_for(typed: Mapping[str, Any]) -> None:
    """The same of what was typed by name: a ``model`` or ``source``, and a ``host``."""
    for name in ("model", "source"):
        if isinstance(typed.get(name), str):
            vouch_for_factory(typed[name])
    vouch_for_host(typed.get("host"))


def same_host(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Whether two hosts are reached in the same way."""
    return (one and _comparable(one)) == (other and _comparable(other))


def trust_words(model: str | None = None) -> str:
    """Return ' --trust PACKAGE' for each package that a later command on the same run needs."""
    module = (model or "").partition(":")[0] if ":" in (model or "") else None
    own = {module.split(".")[0]} - {"torchvision"} if module else set()
    return "".join(f" --trust {package}" for package in sorted(_PACKAGES.get() | own))


def check_options(options: Mapping[str, Any], where: Path) -> None:
    """Raise unless the model and the host among a file's options were vouched for.

    Args:
        options: fields of `TrainPruneOptions`, as a file has them.
        where: the folder of that file.

    Raises:
        ModelError, RunError: with what to type.
    """
    if "model" in options:
        check_factory(options["model"], {}, where, named_folders(options))
    check_host(options.get("host"), where)


def check_host(host: Mapping[str, Any] | None, where: Path) -> None:
    """Raise RunError unless a stored host was typed again, with the same options."""
    if host is None or _comparable(host) in _typed_hosts:
        return
    stored = _comparable(host)
    words = [f"--host {stored['name']}"]
    words += [f"--host-{name} {stored[name]!r}" for name in ("python", "folder") if stored[name]]
    words += [f"--ssh-option {option!r}" for option in stored["ssh_options"]]
    raise RunError(
        f"{where} is for a device at another host, and what a file says of a host may run programs: look at "
        f"it, then type it again: {' '.join(words)}"
    )


def check_factory(name: Any, args: Mapping[str, Any], where: Path, folders: Iterable[Path] = ()) -> None:
    """Raise ModelError unless the factory that a file names may be imported.

    Args:
        name: a model's name, or 'package.module:factory'.
        args: that the file gives to it.
        where: the folder of that file; nothing is imported from inside of it.
        folders: others of which the same is true.

    Raises:
        ModelError: with what to type.
    """
    if not isinstance(name, str):
        raise ModelError(f"{where} does not say which model it holds: was it edited?")
    if ":" not in name or name.startswith("torchvision:") or name in _typed_factories:
        return
    if not _FACTORY.fullmatch(name):
        raise ModelError(f"{where} names the model {name!r}, which is not of the form package.module:factory")
    module = name.partition(":")[0]
    if _is_registered(name) and set(args) <= set(_PLAIN_ARGS):
        return
    if not any(module == package or module.startswith(f"{package}.") for package in _PACKAGES.get()):
        raise ModelError(
            f"{where} was made by the factory {name!r}, which is other people's code: if you trust it, say "
            f"--trust {module.split('.')[0]} (in Python: with edgeprune.trusting({module.split('.')[0]!r}))"
        )
    _check_place(module.split(".")[0], [where, *folders])


def named_folders(options: Mapping[str, Any]) -> list[Path]:
    """The folders of data that a file names."""
    named = (options.get(name) for name in ("data", "data_root"))
    paths = [Path(value).expanduser() for value in named if isinstance(value, str)]
    return [path for path in paths if path.is_dir()]


def _comparable(host: Mapping[str, Any]) -> dict[str, Any]:
    words = {name: host.get(name) for name in ("name", "python", "folder")}
    return {**words, "ssh_options": list(host.get("ssh_options") or ())}


def _is_registered(name: str) -> bool:
    """Whether torchvision or timm lists a factory as one of its models."""
    module, _, function = name.partition(":")
    package = module.split(".")[0]
    if not f"{module}.".startswith((f"{package}.models.",)) or package not in ("torchvision", "timm"):
        return False
    try:
        models = importlib.import_module(f"{package}.models")
        if function not in models.list_models():
            return False
        registered = models.get_model_builder if package == "torchvision" else models.model_entrypoint
        return getattr(importlib.import_module(module), function, None) is registered(function)
    except (ImportError, AttributeError, ValueError, RuntimeError):
        return False


def _check_place(package: str, folders: Iterable[Path]) -> None:
    """Raise ModelError where a package would be imported from a folder that came with the file."""
    if package in sys.modules:
        return
    sys.path.insert(0, str(Path.cwd()))  # as the factory will be looked for
    try:
        importlib.invalidate_caches()
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        spec = None
    finally:
        sys.path.remove(str(Path.cwd()))
    if spec is None:
        return
    origin = [spec.origin] if spec.has_location and spec.origin else []
    places = [Path(place).resolve() for place in (*origin, *(spec.submodule_search_locations or ()))]
    for folder in folders:
        if any(place.is_relative_to(folder.resolve()) for place in places):
            raise ModelError(
                f"{package} would be imported from {folder} itself: a run folder brings no code along; go to "
                "the folder of your own package, or install it"
            )
