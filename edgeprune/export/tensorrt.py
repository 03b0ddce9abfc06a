"""TensorRT engines of exported models: compared with ONNX Runtime on real images, each with its record.

Up to TensorRT 10 an engine is made from the float32 ONNX and flags for the precision, int8 with scales that
TensorRT finds on real images. From 11 on it is made from an ONNX that has the precision itself:
``typed_model`` writes that one in any case, as a board may have such a version. All of TensorRT's own names
are in ``edgeprune_target.trt``.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.errors import ExportError, known
from edgeprune.export.parity import Parity, parity_of, run_onnx

BATCH = 64  # an engine takes 1 to so many images, and is fastest at 1: what a board does
CALIBRATION_IMAGES = 512  # NVIDIA's documents speak of about 500 for ImageNet
Batches = Callable[[], Iterable[tuple[Any, Any]]]


@dataclass(frozen=True)
class Tolerance:
    """How far an engine's logits may be from ONNX Runtime's float32.

    Attributes:
        max_rel_diff: largest difference over the largest logit.
        top1_agreement: share of images for which both name the same class.
    """

    max_rel_diff: float
    top1_agreement: float

    def allows(self, parity: Parity) -> bool:
        """Whether ``parity`` is within; never for logits that are not numbers."""
        return parity.max_rel_diff <= self.max_rel_diff and parity.top1_agreement >= self.top1_agreement


# On Ampere and later fp32 convolutions take TF32's ten bits of mantissa, which are fp16's: both err by some
# 1e-3 in a deep network, a wrong engine by 1e-1 and more. Eight bits move single logits more, classes less.
TOLERANCES = {"fp32": Tolerance(0.01, 0.99), "fp16": Tolerance(0.02, 0.98), "int8": Tolerance(0.5, 0.9)}
PRECISIONS = tuple(TOLERANCES)


@dataclass(frozen=True)
class TrtOptions:
    """What engines are wanted.

    Attributes:
        precision: fp32, fp16 or int8.
        workspace_mb: memory that a kernel may use beside the tensors, at most; None is TensorRT's own choice.
        timing_cache: a file with the times of kernels tried before; read and written, if given.

    Raises:
        ExportError: a value that makes no sense.
    """

    precision: str = "fp16"
    workspace_mb: int | None = None
    timing_cache: Path | None = None

    def __post_init__(self) -> None:
        if self.precision not in TOLERANCES:
            raise ExportError(known("precision", self.precision, list(PRECISIONS)))
        if self.workspace_mb is not None and self.workspace_mb < 1:
            raise ExportError(f"--workspace-mb is {self.workspace_mb}: give 1 or more, or leave it out")
        if self.timing_cache is not None and not self.timing_cache.absolute().parent.is_dir():
            raise ExportError(f"no folder {self.timing_cache.absolute().parent} for the timing cache")


def skip_reason() -> str | None:
    """One line that says why no engine can be built here, naming all that is missing; None when one can."""
    from edgeprune_target.cuda import why_no_gpu
    from edgeprune_target.trt.library import NoTensorRt, load

    missing = [why_no_gpu()]
    try:
        load()
    except NoTensorRt as error:
        missing.append(f"{error}: pip install 'edgeprune[trt]', or on a Jetson: sudo apt install tensorrt")
    return "; ".join(reason for reason in missing if reason) or None


def typed_name(name: str, precision: str) -> str:
    """The file of the model ``name`` that has ``precision`` itself."""
    return f"{name}.onnx" if precision == "fp32" else f"{name}.{precision}.onnx"


def typed_model(
    folder: Path, name: str, precision: str, images: Batches, calibration: Batches
) -> dict[str, Any]:
    """Write ``NAME.fp16.onnx`` or ``NAME.int8.onnx`` and compare it with ``NAME.onnx``; its record.

    What cannot be had is no error, as an older TensorRT does without: ``file`` is then None, with ``reason``.
    """
    if precision == "fp32":
        return {"file": f"{name}.onnx", "reason": None, "parity": None}
    path = folder / typed_name(name, precision)
    try:
        if precision == "fp16":
            from edgeprune.export.half import export_half

            export_half(folder / f"{name}.onnx", path)
        else:
            from edgeprune.export.quantize import export_quantised

            export_quantised(folder / f"{name}.onnx", path, pictures(calibration, CALIBRATION_IMAGES))
        parity = compare(folder / f"{name}.onnx", images, lambda batch: next(run_onnx(path, [batch])))
        check(parity, precision, path.name)
    except ExportError as error:
        path.unlink(missing_ok=True)
        return {"file": None, "reason": str(error), "parity": None}
    return {"file": path.name, "reason": None, "parity": asdict(parity)}


def build_engine(
    folder: Path, name: str, options: TrtOptions, images: Batches, calibration: Batches
) -> dict[str, Any]:
    """Build ``NAME.PRECISION.engine`` beside the ONNX file, compare both on ``images``, write its record.

    Raises:
        ExportError: it cannot be built, or disagrees with ONNX Runtime; the engine is then removed.
    """
    from edgeprune_target.errors import TargetError
    from edgeprune_target.trt import store

    place = folder / f"{name}.{options.precision}.engine"
    try:
        record = _build(folder, name, place, options, calibration)
        parity = _engine_parity(folder / f"{name}.onnx", place, options.precision, images)
        check(parity, options.precision, place.name)
        content = place.read_bytes()
        return store.keep(place, content, {**record, "parity": asdict(parity)})
    except TargetError as error:
        store.forget(place)
        raise ExportError(str(error)) from error
    except BaseException:
        store.forget(place)
        raise


def _build(folder: Path, name: str, place: Path, options: TrtOptions, calibration: Batches) -> dict[str, Any]:
    """The engine's file, and what its record says of it."""
    from edgeprune_target.cuda import open_gpu
    from edgeprune_target.trt import store
    from edgeprune_target.trt.build import Recipe, build
    from edgeprune_target.trt.library import load, make_logger, strongly_typed, version
    from edgeprune_target.trt.making import device_key

    trt = load()
    typed = strongly_typed(version(trt))
    source = folder / (typed_name(name, options.precision) if typed else f"{name}.onnx")
    if not source.is_file():
        raise ExportError(f"TensorRT {trt.__version__} needs {source.name}, which could not be made")
    wants_images = options.precision == "int8" and not typed
    gpu = open_gpu()
    try:
        recipe = Recipe(
            options.precision,
            (1, 1, BATCH),
            workspace_bytes=options.workspace_mb * (1 << 20) if options.workspace_mb else None,
            timing_cache=str(options.timing_cache) if options.timing_cache else None,
            images=np.concatenate(list(pictures(calibration, CALIBRATION_IMAGES))) if wants_images else None,
            gpu=gpu,
        )
        start = time.perf_counter()
        plan = build(trt, make_logger(trt), str(source), recipe)
        seconds = time.perf_counter() - start
        device = device_key(gpu, "/")
    finally:
        gpu.close()
    place.write_bytes(plan.content)
    return {
        "file": place.name,
        "tensorrt": trt.__version__,
        **device,
        "precision": options.precision,
        "precision_from": plan.precision_from,
        "calibration_images": plan.calibration_images,
        "shapes": {one: [list(size) for size in sizes] for one, sizes in plan.shapes.items()},
        "onnx": source.name,
        "onnx_sha256": store.sha256_of(source),
        "workspace_mb": options.workspace_mb,
        "build_s": seconds,
        "warnings": plan.warnings,
    }


def _engine_parity(onnx: Path, place: Path, precision: str, images: Batches) -> Parity:
    from edgeprune_target.runtimes import make_runtime
    from edgeprune_target.trt.options import EngineOptions

    with make_runtime("tensorrt", str(place), 1, EngineOptions(precision, BATCH)) as loaded:
        first = next(iter(loaded.inputs))

        def run(batch: Any) -> np.ndarray:
            outputs = loaded.infer({first: np.asarray(batch, np.float32)})
            return np.asarray(next(iter(outputs.values())))

        return compare(onnx, images, run)


def compare(onnx: Path, images: Batches, run: Callable[[Any], np.ndarray]) -> Parity:
    """Logits of ``run`` against those of ONNX Runtime on the float32 ONNX, on the batches of ``images``."""
    batches = [batch for batch, _ in images()]
    expected = np.concatenate(list(run_onnx(onnx, batches)))
    got = np.concatenate([run(part) for batch in batches for part in _parts(batch)])
    return parity_of(expected, got)


def _parts(batch: Any) -> list[Any]:
    return [batch[start : start + BATCH] for start in range(0, len(batch), BATCH)]


def check(parity: Parity, precision: str, name: str) -> None:
    """Raise ExportError, with the figures, unless ``parity`` is within the tolerance of ``precision``."""
    allowed = TOLERANCES[precision]
    if not allowed.allows(parity):
        raise ExportError(
            f"{name} disagrees with ONNX Runtime on {parity.images} images: top-1 agreement "
            f"{100 * parity.top1_agreement:.2f} % ({100 * allowed.top1_agreement:g} % is the least for "
            f"{precision}), largest difference {parity.max_rel_diff:.3g} of the logits "
            f"({allowed.max_rel_diff:g} allowed); it was not kept: try another --precision"
        )


def pictures(batches: Batches, limit: int) -> Iterable[np.ndarray]:
    """Batches of float32 images, labels left out, until there are at least ``limit``."""
    found = 0
    for batch, _ in islice(batches(), limit):
        if found >= limit:
            return
        found += len(batch)
        yield np.asarray(batch, dtype=np.float32)
