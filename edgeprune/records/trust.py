"""Trust only factories and hosts that the user typed, not those that a file names.

A run folder names the factory of its model, and the host of its device with options for ssh. Both can run arbitrary
programs. Therefore they are used only if the user typed them in this process, or trusts their package (``--trust``).
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
    """Allow run folders to name factories of these packages during the block.

    Raises:
        ModelError: a name cannot be that of a package.
    """
    for package in packages:
        if not re.fullmatch(rf"{_WORD}(\.{_WORD})*", package):
            raise ModelError(f"--trust is {package!r}: give a package's name, as in --trust mypackage")
    token = _PACKAGES.set(_PACKAGES.get() | set(packages))
    try:
        yield
    finally:
        _PACKAGES.reset(token)


def trusted_packages() -> tuple[str, ...]:
    """Return the packages that are trusted now, sorted."""
    return tuple(sorted(_PACKAGES.get()))


def vouch_for_factory(name: str) -> None:
    """Trust a factory that the user typed: runs made with it need no --trust."""
    _typed_factories.add(name)


def vouch_for_host(host: Mapping[str, Any] | None) -> None:
    """Trust a host that the user typed, with its options."""
    if host is not None:
        _typed_hosts.append(_comparable(host))


def vouch_for(typed: Mapping[str, Any]) -> None:
    """Trust the ``model`` or ``source``, the ``task`` and the ``host`` among options that the user typed."""
    for name in ("model", "source", "task"):
        if isinstance(typed.get(name), str):
            vouch_for_factory(typed[name])
    for host in hosts_of(typed):
        vouch_for_host(host)


def same_host(host: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Return whether two hosts are reached in the same way."""
    return (host and _comparable(host)) == (other and _comparable(other))


def other_hosts(stored: Mapping[str, Any], typed: Mapping[str, Any]) -> str | None:
    """Return what is wrong with hosts that are typed beside ``resume``; None where they are the stored ones, or none.

    Args:
        stored: options with the hosts that the work was begun with.
        typed: options with those that the user typed.
    """
    if typed.get("host") is None:
        return None
    before, now = ([host for host in hosts_of(options) if host is not None] for options in (stored, typed))
    if len(before) == len(now) and all(map(same_host, before, now)):
        return None
    names = [" and ".join(str(host["name"]) for host in hosts) or "this machine" for hosts in (before, now)]
    difference = ", reached with other options" if names[0] == names[1] else f", not {names[1]}"
    return f"for {names[0]}{difference}: type every --host, with its options, as it was then"


def trust_words(model: str | None = None) -> str:
    """Return ' --trust PACKAGE' for each package that a later command on the same run needs."""
    module = (model or "").partition(":")[0] if ":" in (model or "") else None
    own = {module.split(".")[0]} - {"torchvision"} if module else set()
    return "".join(f" --trust {package}" for package in sorted(_PACKAGES.get() | own))


def check_options(options: Mapping[str, Any], where: Path) -> None:
    """Check that the user trusts the model and the host among a file's options.

    Args:
        options: fields of `TrainPruneOptions`, as in the file.
        where: the folder of that file.

    Raises:
        ModelError: the model is not trusted; the message says what to type.
        RunError: likewise for the host.
    """
    for name in ("model", "task"):
        if name in options:
            check_factory(options[name], {}, where, named_folders(options), what=name)
    for host in hosts_of(options):
        check_host(host, where)


def hosts_of(options: Mapping[str, Any]) -> list[Mapping[str, Any] | None]:
    """Return the ``host`` among options, and ``more_hosts``."""
    return [options.get("host"), *(options.get("more_hosts") or ())]


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


def check_factory(
    name: Any, args: Mapping[str, Any], where: Path, folders: Iterable[Path] = (), what: str = "model"
) -> None:
    """Check that the factory that a file names may be imported.

    Args:
        name: a model's name, or 'package.module:factory'.
        args: the file's arguments for the factory.
        where: the folder of that file; nothing is imported from it.
        folders: further folders from which nothing is imported.
        what: the name is of, for messages: "model" or "task".

    Raises:
        ModelError: it is not trusted; the message says what to type.
    """
    if not isinstance(name, str):
        raise ModelError(f"{where} does not say which {what} it holds: was it edited?")
    if ":" not in name or name.startswith("torchvision:") or name in _typed_factories:
        return
    if not _FACTORY.fullmatch(name):
        raise ModelError(
            f"{where} names the {what} {name!r}, which is not of the form package.module:factory"
        )
    module = name.partition(":")[0]
    if what == "model" and _is_registered(name) and set(args) <= set(_PLAIN_ARGS):
        return
    if not any(module == package or module.startswith(f"{package}.") for package in _PACKAGES.get()):
        package = module.split(".")[0]
        raise ModelError(
            f"{where} was made by the factory {name!r}, and to use it runs the code of {module}: if that is your "
            f"own or you trust it, say --trust {package} (in Python: with edgeprune.trusting({package!r}))"
        )
    _check_place(module.split(".")[0], [where, *folders])


def named_folders(options: Mapping[str, Any]) -> list[Path]:
    """Return the data folders that a file's options name."""
    named = (options.get(name) for name in ("data", "data_root"))
    paths = [Path(value).expanduser() for value in named if isinstance(value, str)]
    return [path for path in paths if path.is_dir()]


def _comparable(host: Mapping[str, Any]) -> dict[str, Any]:
    words = {name: host.get(name) for name in ("name", "python", "folder")}
    return {**words, "ssh_options": list(host.get("ssh_options") or ())}


def _is_registered(name: str) -> bool:
    """Return whether torchvision or timm lists a factory as one of its models."""
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
    """Raise ModelError if a package would be imported from a folder that came with the file."""
    if package in sys.modules:
        return
    sys.path.insert(0, str(Path.cwd()))  # as when the factory is imported
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
