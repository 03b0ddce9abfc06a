"""Build engines of TensorRT for RTX, for PCs with GeForce and RTX cards: ahead of time, so that no GPU is needed here.

The precision is that of the ONNX file which the engine is made from. NVIDIA's own library parses and builds it; without
such a card it cannot be run, and is not compared.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgeprune.backends.base import Artifact, Backend
from edgeprune.backends.jobs import Job
from edgeprune.backends.tensorrt import BATCH, TYPED, TensorRt
from edgeprune.errors import ExportError

CAPABILITY = "SM86"  # GeForce RTX 30


@dataclass(frozen=True)
class TensorRtRtx(Backend):
    """An engine for a kind of GPU.

    Attributes:
        compute_capability: of the GPU, as SM86 (RTX 30), SM89 (RTX 40), SM120 (RTX 50).

    Raises:
        ExportError: the model cannot be built for that GPU.
    """

    name = "tensorrt-rtx"
    title = "TensorRT for RTX"
    summary = "engines for RTX cards, built without one"
    precisions = ("fp16", "fp32", "int8")
    extra = "trt-rtx"
    requires = ()  # one of two modules; see `why_skipped`
    needs = TensorRt.needs  # the same files
    runtime = "tensorrt-rtx"
    why_not_measured: ClassVar[str] = "its engines are exported for other machines"

    compute_capability: str = CAPABILITY

    @property
    def suffix(self) -> str:
        """The end of its files' names."""
        return f".{self.precision}.{self.compute_capability.lower()}.rtx"

    def why_skipped(self) -> str | None:
        """Return one line that says why no engine can be built here; None when it can."""
        from edgeprune_target.trt.library import NoTensorRt

        from edgeprune.backends.rtx_builder import load_tensorrt_rtx

        try:
            load_tensorrt_rtx()
        except NoTensorRt as error:
            return f"{error}: pip install 'edgeprune[{self.extra}]'"
        return None

    def versions(self) -> dict[str, str | None]:
        """Return the version of TensorRT for RTX, where it loads."""
        from edgeprune_target.trt.library import NoTensorRt

        from edgeprune.backends.rtx_builder import load_tensorrt_rtx

        try:
            return {"tensorrt_rtx": str(load_tensorrt_rtx().__version__)}
        except NoTensorRt:
            return {"tensorrt_rtx": None}

    def convert(self, job: Job, path: Path) -> dict[str, Any]:
        """Build the engine; return details for its record."""
        from edgeprune_target.errors import TargetError
        from edgeprune_target.trt.build import Recipe
        from edgeprune_target.trt.library import make_logger

        from edgeprune.backends.rtx_builder import build_ahead, load_tensorrt_rtx

        source = job.folder / TYPED[self.numbers]().file_name(job.name)
        if not source.is_file():
            raise ExportError(f"{self.title} needs {source.name}, which could not be made")
        trt = load_tensorrt_rtx()
        start = time.perf_counter()
        try:
            recipe = Recipe(self.numbers, (1, 1, BATCH))
            content = build_ahead(trt, make_logger(trt), str(source), recipe, self.compute_capability)
        except TargetError as error:
            raise ExportError(str(error)) from error
        path.write_bytes(content)
        return {"onnx": source.name, "build_s": time.perf_counter() - start}

    def describe(self, artifact: Artifact) -> list[str]:
        """Return a line about the engine, and that it was not run."""
        if artifact.size_bytes is None:
            return []
        return [
            f"{artifact.file}: built by TensorRT for RTX {artifact.versions.get('tensorrt_rtx')} for "
            f"{artifact.options['compute_capability']}; without such a card it cannot be run, so it was not compared"
        ]
