"""TensorRT, by the way that this machine has: its Python module, else its program trtexec."""

from __future__ import annotations

from typing import Any

from edgeprune_target.trt import trtexec
from edgeprune_target.trt.library import NoTensorRt, load
from edgeprune_target.trt.options import EngineOptions


def open_tensorrt(model: str, _threads: int, options: EngineOptions | None = None) -> Any:
    """A runtime for ``model``. The number of threads is not used: the GPU has its own.

    Raises:
        NoTensorRt: there is neither the module nor the program.
    """
    options = options or EngineOptions()
    try:
        trt = load()
    except NoTensorRt as error:
        program = trtexec.find(options.root)
        if program is None:
            raise NoTensorRt(
                f"{error}, and there is no program trtexec: on a Jetson, sudo apt install tensorrt; "
                "elsewhere, pip install tensorrt"
            ) from error
        from edgeprune_target.runtimes.trtexec import TrtexecRuntime

        return TrtexecRuntime(program, model, options)
    from edgeprune_target.runtimes.trt import TensorRt

    return TensorRt(trt, model, options)
