"""Files for devices: each kind of file is a backend, in a module of its own; see `Backend`.

base.py       the base class of backends, their input (`Job`) and output (`Artifact`)
onnx.py, onnx_fp16.py, onnx_int8.py, onnx_nms.py, tensorrt.py, tensorrt_rtx.py, openvino.py, ncnn.py, litert.py,
              executorch.py, coreml.py    one backend each
rtx_builder.py    TensorRT for RTX, for `tensorrt_rtx`
runner.py    the base of those whose files the runner's own runtime runs here
earlier.py    what of an earlier export is kept
parity.py     whether two files compute the same
record.py     export.json
export.py     the export of a run
listing.py    an export as a table, for people

Another package adds a backend by an entry point in the group ``edgeprune.backends``, a script by `register`.
A backend whose runtime the runner lacks brings it as a Python file (``runtime_file``), which is sent along.
Both are code that the user has installed: a run folder names backends, and never code.
"""

from collections.abc import Iterable
from pathlib import Path

from edgeprune.backends.base import MODELS, Artifact, Backend
from edgeprune.backends.coreml import CoreMl
from edgeprune.backends.executorch import ExecuTorch
from edgeprune.backends.jobs import Job
from edgeprune.backends.litert import LiteRt
from edgeprune.backends.ncnn import Ncnn
from edgeprune.backends.onnx import Onnx
from edgeprune.backends.onnx_fp16 import OnnxFp16
from edgeprune.backends.onnx_int8 import OnnxInt8, OnnxInt8TensorRt
from edgeprune.backends.onnx_nms import OnnxNms
from edgeprune.backends.openvino import OpenVino
from edgeprune.backends.parity import Parity, Tolerance
from edgeprune.backends.record import ExportRecord
from edgeprune.backends.tensorrt import TensorRt
from edgeprune.backends.tensorrt_rtx import TensorRtRtx
from edgeprune.errors import ExportError, known
from edgeprune.registry import Registry, import_on_first_use

__all__ = [
    "BACKENDS",
    "MODELS",
    "Artifact",
    "Backend",
    "ExportRecord",
    "Job",
    "Parity",
    "Tolerance",
    "export_run",
    "for_runtime",
    "get",
    "names",
    "register",
    "runtime_files",
    "runtimes",
    "target_packages",
    "unregister",
]

BACKENDS: Registry[type[Backend]] = Registry("backend", "edgeprune.backends", ExportError)


__getattr__ = import_on_first_use(__name__, {"export": ("export_run",)})  # and data with it


def names() -> tuple[str, ...]:
    """Return the names of all backends; nothing is imported."""
    return BACKENDS.names()


def get(name: str) -> type[Backend]:
    """Return a backend's class.

    Raises:
        ExportError: there is no backend of that name, or it cannot be imported.
    """
    backend = BACKENDS[name]
    if not (isinstance(backend, type) and issubclass(backend, Backend)) or backend.name != name:
        raise ExportError(
            f"the backend {name!r} is not a Backend of that name: update the package that brings it"
        )
    return backend


def register(backend: type[Backend], *, replace: bool = False) -> type[Backend]:
    """Add a backend under its name, for this process; can be a decorator.

    Args:
        backend: its class.
        replace: whether it may take the place of another.

    Raises:
        ExportError: the name is empty or taken, or it has no runtime.
    """
    if not backend.runtime:
        raise ExportError(f"{backend.__name__} has no runtime: name what runs its files")
    return BACKENDS.register(backend.name, backend, replace=replace)


def unregister(name: str) -> None:
    """Remove what `register` added."""
    BACKENDS.unregister(name)


def for_runtime(runtime: str, precision: str | None = None) -> Backend | None:
    """Return the backend whose files a runtime runs in a precision; None for a runtime without a backend.

    Args:
        runtime: of the runner.
        precision: of the numbers; None for the first backend's own.

    Raises:
        ExportError: the runtime has backends, and none in that precision.
    """
    others: list[str] = []
    for backend in map(get, names()):  # other packages' backends come last, and are imported only if needed
        if runtime not in (backend.runtime, *backend.also_run_by):
            continue
        if precision is None or precision in backend.precisions:
            return backend(precision)
        others += backend.precisions
    if others:
        raise ExportError(f"{known('precision', precision or '', [*{*others}])} (of the runtime {runtime})")
    return None


def runtimes() -> list[str]:
    """Return the runtimes that run the files of any backend."""
    kinds = map(get, names())
    return list(dict.fromkeys(runtime for kind in kinds for runtime in (kind.runtime, *kind.also_run_by)))


def target_packages() -> dict[str, str]:
    """Return {runtime: its name for pip}, of those whose package has another name."""
    kinds = map(get, names())
    return {kind.runtime: kind.target_package for kind in kinds if kind.target_package}


def runtime_files(runtime_names: Iterable[str]) -> list[Path]:
    """Return the Python files that bring the runtimes of these names; the runner's own need none."""
    backends = [for_runtime(runtime) for runtime in dict.fromkeys(runtime_names)]
    files = [backend.runtime_file for backend in backends if backend is not None]
    return list(dict.fromkeys(file for file in files if file is not None))


for _backend in (
    Onnx,
    OnnxFp16,
    OnnxInt8,
    TensorRt,
    TensorRtRtx,
    OpenVino,
    Ncnn,
    LiteRt,
    ExecuTorch,
    CoreMl,
    OnnxNms,
    OnnxInt8TensorRt,
):
    register(_backend)
