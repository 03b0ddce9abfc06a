"""ExecuTorch on the CPU, with its XNNPACK backend; its Python package needs torch beside it."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import Any

from edgeprune_target.errors import TargetError
from edgeprune_target.runtimes.base import Runtime, first_line, has_magic, in_pieces

METHOD = "forward"
MAGIC = b"ET12"


class ExecuTorchRuntime(Runtime):
    """One method of one program; a file with a fixed batch runs on larger ones piece by piece."""

    name = library = distribution = "executorch"
    install = "install it there, with torch: pip install executorch torch"

    def __init__(self, model: str, threads: int, options: Any = None) -> None:
        """Import the libraries, and set the size of the pool of threads, which all programs share."""
        import torch
        from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
        from executorch.runtime import Runtime as Loader

        super().__init__(model, threads, options)
        self.torch, self.loader = torch, Loader.get()
        _unsafe_reset_threadpool(threads)
        self.method: Any = None

    def load(self) -> None:
        """Read the program."""
        if not has_magic(self.model, MAGIC):
            raise self._refusal("it is no .pte file")
        try:
            self.program = self.loader.load_program(Path(self.model))
            self.method = self.program.load_method(METHOD)
        except (RuntimeError, ValueError, TypeError) as error:
            raise self._refusal(first_line(error)) from error
        if self.method is None:
            raise self._refusal(f"it has no method {METHOD}")
        about = self.method.metadata
        tensors = [about.input_tensor_meta(index) for index in range(about.num_inputs())]
        self.inputs = {
            f"input{index}": (tuple(map(int, tensor.sizes())), self._numpy_name(tensor.dtype()))
            for index, tensor in enumerate(tensors)
        }

    def free(self) -> None:
        """Drop the program."""
        self.method = self.program = None

    def infer(self, feed: dict) -> dict:
        """Run the method; more images than its batch go through it in pieces."""
        return in_pieces(self._run, feed, next(iter(self.inputs.values()))[0][0])

    def _run(self, feed: dict) -> dict:
        outputs = self.method.execute([self.torch.from_numpy(feed[name]) for name in self.inputs])
        return {f"output{index}": value.detach().numpy() for index, value in enumerate(outputs)}

    def _numpy_name(self, kind: Any) -> str:
        """Return a type's name: numbers stand for ExecuTorch's types, in torch's order."""
        kinds = {
            6: "float32",
            5: "float16",
            7: "float64",
            3: "int32",
            4: "int64",
            0: "uint8",
            1: "int8",
            11: "bool",
        }
        return kinds.get(int(kind), str(kind))

    def versions(self) -> dict:
        """Return the libraries' versions."""
        return {"executorch": self.installed(), "torch": self.torch.__version__}

    def _refusal(self, reason: str) -> TargetError:
        return TargetError(
            f"executorch {self.installed()} cannot load {PurePath(self.model).name}: {reason}: export the model "
            "again, or install a newer executorch"
        )
