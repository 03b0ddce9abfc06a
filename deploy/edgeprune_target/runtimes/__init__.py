"""The runtimes, by name: those of the runner, one per file, and those of a file that is sent with it.

A file that is sent with it comes from a package that is installed on the host (see ``edgeprune.backends``). It defines
a ``Runtime`` and registers it:

    from edgeprune_target.runtimes import Runtime, register

    @register
    class MyRuntime(Runtime):
        name, library = "myruntime", "mylibrary"
        ...
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from edgeprune_target.errors import TargetError
from edgeprune_target.runtimes.base import Runtime
from edgeprune_target.runtimes.executorch import ExecuTorchRuntime
from edgeprune_target.runtimes.fake import FakeRuntime
from edgeprune_target.runtimes.litert import LiteRtRuntime
from edgeprune_target.runtimes.ncnn import NcnnRuntime
from edgeprune_target.runtimes.onnxrt import OnnxRuntime
from edgeprune_target.runtimes.openvino import OpenVinoRuntime
from edgeprune_target.runtimes.tensorrt import TensorRtRuntime

__all__ = ["RUNTIMES", "Runtime", "load_file", "make_runtime", "register", "runtime_versions"]

Kind = TypeVar("Kind", bound=type)

RUNTIMES: dict = {
    kind.name: kind
    for kind in (
        OnnxRuntime,
        TensorRtRuntime,
        OpenVinoRuntime,
        NcnnRuntime,
        LiteRtRuntime,
        ExecuTorchRuntime,
        FakeRuntime,
    )
}


def register(kind: Kind) -> Kind:
    """Add a runtime under its name; a decorator.

    Raises:
        TargetError: it has no name, one that is taken, or is not a ``Runtime``.
    """
    if not issubclass(kind, Runtime) or not kind.name:
        raise TargetError(f"{kind.__name__} is not a runtime: derive it from Runtime and give it a name")
    if kind.name in RUNTIMES:
        raise TargetError(f"there is a runtime {kind.name!r} already: give {kind.__name__} another name")
    RUNTIMES[kind.name] = kind
    return kind


def load_file(path: str) -> None:
    """Run a Python file that registers runtimes: code that the user has installed, never from a run folder.

    Raises:
        TargetError: there is no such file, or it does not run on this machine's Python.
    """
    file = Path(path)
    module = ModuleType(f"edgeprune_runtime_{len(sys.modules)}")
    module.__file__ = path
    sys.modules[module.__name__] = module  # where dataclasses and typing look for it
    try:
        exec(compile(file.read_bytes(), path, "exec"), module.__dict__)
    except TargetError:
        raise
    except FileNotFoundError as error:
        raise TargetError(f"no such runtime file: {path}") from error
    except ModuleNotFoundError as error:
        raise TargetError(
            f"the runtime file {file.name} needs the Python package {error.name} on this machine: install it "
            f"there, for example with: pip install {error.name}"
        ) from error
    except Exception as error:  # the file may raise anything
        python = ".".join(map(str, sys.version_info[:2]))
        reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        raise TargetError(
            f"the runtime file {file.name} does not run on Python {python} ({reason})"
        ) from error


def make_runtime(name: str, model: str, threads: int, options: Any = None) -> Runtime:
    """Make a runtime for a model, its library imported, the model not yet loaded.

    Args:
        name: of the runtime.
        model: the model's file.
        threads: per inference.
        options: ``EngineOptions``, for runtimes that build an engine.

    Raises:
        TargetError: the name is unknown, or the library is not installed on this machine.
    """
    if name not in RUNTIMES:
        raise TargetError(f"unknown runtime {name!r}: known are {', '.join(sorted(RUNTIMES))}")
    kind = RUNTIMES[name]
    try:
        runtime: Runtime = kind.open(model, threads, options)
    except ImportError as error:
        package = kind.distribution or kind.library
        install = kind.install or f"install it there, for example with: pip install {package}"
        raise TargetError(
            f"runtime {name!r} needs the Python package {kind.library} on this machine ({error}): {install}"
        ) from error
    return runtime


def runtime_versions(root: str = "/") -> dict:
    """Return {runtime: version of its library, or None if it is not installed}, without fakes for tests."""
    return {name: kind.installed(root) for name, kind in sorted(RUNTIMES.items()) if kind.listed}
