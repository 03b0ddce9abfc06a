"""The runtimes, by name. Each is a context manager with ``infer(feed) -> dict``, in a file of its own.

A runtime class is made with ``(model, threads, options)``: that imports its library and nothing more, so
that the memory of the library is not counted as the model's. Entering loads the model, leaving frees it.
``options`` are the ``EngineOptions`` of those that build an engine; the others do not look at them.

    runtime.inputs         after entering: {name: (shape with None where it is free, numpy type name)}
    runtime.infer(feed)    {input name: array} -> {output name: array}; may return before it is computed
    runtime.synchronize()  returns when everything asked for has been computed
    runtime.versions()     {library: version}
    runtime.layers(feed, seconds)  every layer with its time, in a pass of its own; see ``trt.layers``

What may be left out:

    runtime.uses_gpu       true when it computes on a GPU, whose clock then matters
    runtime.warnings       ``[{"code", "message"}]`` about what was loaded
    runtime.prepare()      what is done once per machine and model, before anything is measured: building an
                           engine; true when it had to be done now
    runtime.engine_report()         what was built, as JSON
    runtime.device_memory()         bytes on the device, as JSON
    runtime.gpu_pass(feed, seconds) ``{"gpu_ns", "enqueue_ns"}``, in a pass of its own
    runtime.stretch(seconds, during)  in the place of ``infer``, where a program does the timing
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edgeprune_target.errors import TargetError
from edgeprune_target.trt.options import EngineOptions
from edgeprune_target.trt.trtexec import find, version_of

# name -> (module, class, library that must be there or None)
RUNTIMES = {
    "onnxruntime": ("edgeprune_target.runtimes.onnxrt", "OnnxRuntime", "onnxruntime"),
    "tensorrt": ("edgeprune_target.runtimes.tensorrt", "open_tensorrt", "tensorrt"),
    "fake": ("edgeprune_target.runtimes.fake", "FakeRuntime", None),
}


def make_runtime(name: str, model: str, threads: int, options: EngineOptions | None = None) -> Any:
    """A runtime for ``model``, its library imported, the model not yet loaded.

    Raises:
        TargetError: the name is unknown, or the library is not installed on this machine.
    """
    if name not in RUNTIMES:
        raise TargetError(f"unknown runtime {name!r}: known are {', '.join(sorted(RUNTIMES))}")
    module, kind, library = RUNTIMES[name]
    try:
        return getattr(import_module(module), kind)(model, threads, options)
    except ImportError as error:
        raise TargetError(
            f"runtime {name!r} needs the Python package {library} on this machine ({error}): "
            f"install it there, for example with: pip install {library}"
        ) from error


def library_versions(root: str = "/") -> dict:
    """{library: version, or None where it is not installed}, for every runtime that needs one.

    TensorRT counts as installed where only its program trtexec is.
    """
    libraries = sorted({library for _, _, library in RUNTIMES.values() if library})
    versions = {library: _version(library) for library in libraries}
    if not versions["tensorrt"]:
        program = find(root)
        found = version_of(program) if program else None
        versions["tensorrt"] = ".".join(map(str, found)) if found else None
    return versions


def _version(library: str) -> str | None:
    try:
        return str(import_module(library).__version__)
    except (ImportError, OSError, RuntimeError):  # NVIDIA's wheels raise the last without their libraries
        return None
