"""TensorRT, by its Python module if this machine has it, else by its program trtexec."""

from __future__ import annotations

from typing import Any

from edgeprune_target.runtimes.base import Runtime
from edgeprune_target.trt import trtexec
from edgeprune_target.trt.library import NoTensorRt, load_tensorrt
from edgeprune_target.trt.options import EngineOptions


class TensorRtRuntime(Runtime):
    """Base class of both ways to TensorRT. The number of threads is not used: the GPU has its own."""

    name = library = "tensorrt"
    uses_gpu = True

    @classmethod
    def open(cls, model: str, threads: int, options: EngineOptions | None = None) -> Runtime:
        """Make a runtime for a model.

        Args:
            model: an ONNX file, or an engine.
            threads: not used.
            options: of the engine.

        Raises:
            NoTensorRt: neither the module nor the program is installed.
        """
        options = options or EngineOptions()
        try:
            trt = load_tensorrt()
        except NoTensorRt as error:
            program = trtexec.find_trtexec(options.root)
            if program is None:
                raise NoTensorRt(
                    f"{error}, and there is no program trtexec: on a Jetson, sudo apt install tensorrt; "
                    "elsewhere, pip install tensorrt"
                ) from error
            from edgeprune_target.runtimes.trtexec import TrtexecRuntime

            return TrtexecRuntime(program, model, threads, options)
        from edgeprune_target.runtimes.trt import TensorRtPythonRuntime

        return TensorRtPythonRuntime(trt, model, threads, options)

    @classmethod
    def installed(cls, root: str = "/") -> str | None:
        """Return TensorRT's version, also if only its program trtexec is installed; else None."""
        version = super().installed(root)
        program = None if version else trtexec.find_trtexec(root)
        if program:
            numbers = trtexec.trtexec_version(program)
            version = ".".join(map(str, numbers)) if numbers else None
        return version

    def engine_report(self) -> Any:
        """Return the engine's record, without the fields that only the store needs."""
        return {key: value for key, value in self.record.items() if key not in ("key", "warnings", "schema")}
