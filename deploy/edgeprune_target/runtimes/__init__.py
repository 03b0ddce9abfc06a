"""The runtimes, by name. Each is a context manager with ``infer(feed) -> dict``, in a file of its own.

A runtime class is made with ``(model, threads)``: that imports its library and nothing more, so that the
memory of the library is not counted as the model's. Entering it loads the model, leaving it frees the model.

    runtime.inputs         after entering: {name: (shape with None where it is free, numpy type name)}
    runtime.infer(feed)    {input name: array} -> {output name: array}; may return before it is computed
    runtime.synchronize()  returns when everything asked for has been computed
    runtime.versions()     {library: version}
    runtime.uses_gpu       true when it computes on a GPU, whose clock then matters; may be left out
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edgeprune_target.errors import TargetError

# name -> (module, class, library that must be there or None)
RUNTIMES = {
    "onnxruntime": ("edgeprune_target.runtimes.onnxrt", "OnnxRuntime", "onnxruntime"),
    "fake": ("edgeprune_target.runtimes.fake", "FakeRuntime", None),
}


def make_runtime(name: str, model: str, threads: int) -> Any:
    """A runtime for ``model``, its library imported, the model not yet loaded.

    Raises:
        TargetError: the name is unknown, or the library is not installed on this machine.
    """
    if name not in RUNTIMES:
        raise TargetError(f"unknown runtime {name!r}: known are {', '.join(sorted(RUNTIMES))}")
    module, kind, library = RUNTIMES[name]
    try:
        return getattr(import_module(module), kind)(model, threads)
    except ImportError as error:
        raise TargetError(
            f"runtime {name!r} needs the Python package {library} on this machine ({error}): "
            f"install it there, for example with: pip install {library}"
        ) from error


def library_versions() -> dict:
    """{library: version, or None where it is not installed}, for every runtime that needs one."""
    libraries = sorted({library for _, _, library in RUNTIMES.values() if library})
    return {library: _version(library) for library in libraries}


def _version(library: str) -> str | None:
    try:
        return str(import_module(library).__version__)
    except ImportError:
        return None
