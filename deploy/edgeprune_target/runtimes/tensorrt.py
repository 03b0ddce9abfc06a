"""TensorRT, by whatever this machine has: its Python module, else its program trtexec."""

from __future__ import annotations

from typing import Any

from edgeprune_target.runtimes.base import Runtime
from edgeprune_target.trt import trtexec
from edgeprune_target.trt.library import NoTensorRt, load
from edgeprune_target.trt.options import EngineOptions


class TensorRtRuntime(Runtime):
    """What both ways to TensorRT share. The number of threads is not used: the GPU has its own."""

    name = library = "tensorrt"
    uses_gpu = True

    @classmethod
    def open(cls, model: str, threads: int, options: EngineOptions | None = None) -> Runtime:
        """Make a runtime for a model.

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

            return TrtexecRuntime(program, model, threads, options)
        from edgeprune_target.runtimes.trt import TensorRt

        return TensorRt(trt, model, threads, options)

    @classmethod
    def installed(cls, root: str = "/") -> str | None:
        """Return TensorRT's version; it counts as installed where only its program trtexec is."""
        version = super().installed(root)
        program = None if version else trtexec.find(root)
        if program:
            numbers = trtexec.version_of(program)
            version = ".".join(map(str, numbers)) if numbers else None
        return version

    def engine_report(self) -> Any:
        """Return the engine's record, without what only its keeper needs."""
        return {key: value for key, value in self.record.items() if key not in ("key", "warnings", "schema")}
