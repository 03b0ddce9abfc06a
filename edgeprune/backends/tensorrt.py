"""Build TensorRT engines of exported models, compared with ONNX Runtime on real images.

Up to TensorRT 10 an engine is made from the float32 ONNX and flags for the precision, int8 with scales that
TensorRT finds on real images. From 11 on it is made from an ONNX that has the precision itself: that one is
written in any case, as a board may have such a version. All of TensorRT's own names are in
``edgeprune_target.trt``.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeprune.backends.base import Artifact, Backend
from edgeprune.backends.jobs import CALIBRATION_IMAGES, Job, pictures
from edgeprune.backends.onnx import FromOnnx, Onnx
from edgeprune.backends.onnx_fp16 import OnnxFp16
from edgeprune.backends.onnx_int8 import OnnxInt8TensorRt
from edgeprune.backends.parity import Parity
from edgeprune.errors import ExportError

BATCH = 64  # an engine takes 1 to so many images, and is fastest at 1: the usual case on a board
TYPED_FROM = 11  # the TensorRT that takes the precision from the ONNX file alone
TYPED: dict[str, type[Backend]] = {"fp32": Onnx, "fp16": OnnxFp16, "int8": OnnxInt8TensorRt}


@dataclass(frozen=True)
class TensorRt(FromOnnx):
    """An engine for this machine's GPU.

    Attributes:
        workspace_mb: upper limit of the memory that a kernel may use beside the tensors; None for TensorRT's default.
        timing_cache: a file with the times of kernels tried before; read and written; None for no cache.

    Raises:
        ExportError: a value is out of range.
    """

    name = "tensorrt"
    title = "TensorRT"
    summary = "engines, where CUDA and TensorRT are"
    precisions = ("fp16", "fp32", "int8")
    extra = "trt"
    sidecars = (".json",)
    requires = ()  # the system may bring it; see `why_skipped`
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "fp32": ("onnx",), "fp16": ("onnx", "onnx-fp16"), "int8": ("onnx", "onnx-int8-tensorrt"),
    }  # fmt: skip
    runtime = "tensorrt"
    times_layers = True
    builds_on_target = True

    workspace_mb: int | None = None
    timing_cache: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise ExportError(f"`workspace_mb` is {self.workspace_mb}: give 1 or more, or leave it out")
        if self.timing_cache is not None and not self.timing_cache.absolute().parent.is_dir():
            raise ExportError(f"no folder {self.timing_cache.absolute().parent} for the timing cache")

    @property
    def suffix(self) -> str:
        """The end of its files' names."""
        return f".{self.precision}.engine"

    def why_skipped(self) -> str | None:
        """Return one line that says why no engine can be built here, naming all that is missing."""
        from edgeprune_target.cuda import why_no_gpu
        from edgeprune_target.trt.library import NoTensorRt, load_tensorrt

        missing = [why_no_gpu()]
        try:
            load_tensorrt()
        except NoTensorRt as error:
            missing.append(
                f"{error}: pip install 'edgeprune[trt]', or on a Jetson: sudo apt install tensorrt"
            )
        return "; ".join(reason for reason in missing if reason) or None

    def versions(self) -> dict[str, str | None]:
        """Return TensorRT's version, where its module loads."""
        from edgeprune_target.trt.library import NoTensorRt, load_tensorrt

        try:
            return {"tensorrt": str(load_tensorrt().__version__)}
        except NoTensorRt:
            return {"tensorrt": None}

    def measured_file(self, runtime_version: str | None = None) -> Backend:
        """Return the backend whose files a board's TensorRT builds its engine from."""
        major = (runtime_version or "").split(".")[0]
        typed = major.isdigit() and int(major) >= TYPED_FROM
        return TYPED[self.numbers]() if typed else Onnx()

    def export(self, job: Job) -> Artifact:
        """Build the engine, compare it, and write its record beside it."""
        from edgeprune_target.errors import TargetError

        try:
            return super().export(job)
        except TargetError as error:
            raise ExportError(str(error)) from error

    def convert(self, job: Job, path: Path) -> dict[str, Any]:
        """Build the engine; return details for its record."""
        from edgeprune_target.trt import store
        from edgeprune_target.trt.library import load_tensorrt

        trt = load_tensorrt()
        source = job.folder / self.measured_file(trt.__version__).file_name(job.name)
        if not source.is_file():
            raise ExportError(f"TensorRT {trt.__version__} needs {source.name}, which could not be made")
        plan, device, seconds = self._build(trt, source, job)
        path.write_bytes(plan.content)
        return {
            "file": path.name,
            "tensorrt": trt.__version__,
            **device,
            "precision": self.precision,
            "precision_from": plan.precision_from,
            "calibration_images": plan.calibration_images,
            "shapes": {name: [list(size) for size in sizes] for name, sizes in plan.shapes.items()},
            "onnx": source.name,
            "onnx_sha256": store.sha256_of(source),
            "workspace_mb": self.workspace_mb,
            "build_s": seconds,
            "warnings": plan.warnings,
        }

    def _build(self, trt: Any, source: Path, job: Job) -> tuple[Any, dict[str, Any], float]:
        """Return the engine, what it was built on, and the seconds that took."""
        from edgeprune_target.cuda import open_gpu
        from edgeprune_target.trt.build import Recipe, build_engine
        from edgeprune_target.trt.library import make_logger, strongly_typed, version
        from edgeprune_target.trt.making import device_key

        wants_images = self.precision == "int8" and not strongly_typed(version(trt))
        images = list(pictures(job.calibration, CALIBRATION_IMAGES)) if wants_images else []
        gpu = open_gpu()
        try:
            recipe = Recipe(
                self.numbers,
                (1, 1, BATCH),
                workspace_bytes=self.workspace_mb * (1 << 20) if self.workspace_mb else None,
                timing_cache=str(self.timing_cache) if self.timing_cache else None,
                images=np.concatenate(images) if images else None,
                gpu=gpu,
            )
            start = time.perf_counter()
            plan = build_engine(trt, make_logger(trt), str(source), recipe)
            return plan, device_key(gpu, "/"), time.perf_counter() - start
        finally:
            gpu.close()

    def outputs(self, path: Path, images: Iterable[Any]) -> Iterator[np.ndarray]:
        """Yield the engine's logits."""
        from edgeprune_target.runtimes import make_runtime
        from edgeprune_target.trt.options import EngineOptions

        with make_runtime("tensorrt", str(path), 1, EngineOptions(self.numbers, BATCH)) as loaded:
            first = next(iter(loaded.inputs))
            for batch in images:
                for start in range(0, len(batch), BATCH):
                    part = np.asarray(batch[start : start + BATCH], np.float32)
                    yield np.asarray(next(iter(loaded.infer({first: part}).values())))

    def keep(self, path: Path, details: Mapping[str, Any], parity: Parity | None) -> dict[str, Any]:
        """Write the engine's record beside it; return it without the artifact's own fields.

        Args:
            path: of the engine.
            details: as `convert` returned them.
            parity: with the reference.
        """
        from edgeprune_target.trt import store

        assert parity is not None
        record = store.keep(path, path.read_bytes(), {**details, "parity": parity.to_dict()})
        return {key: value for key, value in record.items() if key not in ("file", "precision", "parity")}

    def describe(self, artifact: Artifact) -> list[str]:
        """Return a line about the engine, and its builder's warnings."""
        details, parity = artifact.details, artifact.parity
        if artifact.size_bytes is None or parity is None:
            return []
        line = (
            f"{artifact.file}: TensorRT {details['tensorrt']} {artifact.precision} on {details['gpu']}, "
            f"{artifact.size_bytes / 1e3:,.1f} kB, built in {details['build_s']:.0f} s; top-1 agrees on "
            f"{100 * parity.top1_agreement:.2f} % of {parity.images} images, "
            f"largest difference {parity.max_rel_diff:.2e} of the logits"
        )
        return [line, *(f"{warning['code']}: {warning['message']}" for warning in details["warnings"])]
