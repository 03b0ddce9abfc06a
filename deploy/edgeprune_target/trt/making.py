"""An engine for an ONNX file: the one kept from before, or a new one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edgeprune_target.board import board
from edgeprune_target.cuda import open_gpu
from edgeprune_target.errors import TargetError
from edgeprune_target.system import memory_total_bytes
from edgeprune_target.trt import store
from edgeprune_target.trt.build import Plan, Recipe, build
from edgeprune_target.trt.library import make_logger, version
from edgeprune_target.trt.options import EngineOptions

MB = 1 << 20
WORKSPACE_SHARE = 0.25  # of a board's memory, which is the GPU's too: TensorRT's own default is all of it
OLD_WORKSPACE = 1024 * MB  # before 8.4 the default is 16 MB, too little for most convolutions


def engine_for(trt: Any, onnx: str, options: EngineOptions) -> tuple:
    """(engine file, its record) for ``onnx`` on this machine; built, and kept, when it is not there yet.

    Raises:
        TargetError: no such file, no GPU, or TensorRT cannot build it.
    """
    options = options.checked()
    if not Path(onnx).is_file():
        raise TargetError(f"no such model file: {onnx}")
    gpu = open_gpu()
    try:
        key = engine_key(trt, onnx, options, gpu)
        folder = Path(options.folder) if options.folder else store.engine_folder()
        place = store.place_of(folder, Path(onnx).stem, key)
        record = store.find(place, key)
        if record is not None:
            return place, {**record, "built_now": False}
        start = time.perf_counter()
        plan = build_on(trt, gpu, onnx, options)
        record = record_of(plan, key, time.perf_counter() - start)
        return place, {**store.keep(place, plan.content, record), "built_now": True}
    finally:
        gpu.close()


def build_on(trt: Any, gpu: Any, onnx: str, options: EngineOptions) -> Plan:
    """Build, for exactly ``options.batch`` images at a time: other sizes would cost speed."""
    logger = make_logger(trt)
    recipe = Recipe(
        options.precision,
        (options.batch,) * 3,
        options.shapes,
        workspace_bytes(version(trt), options),
        options.timing_cache,
        images_of(options.calibration),
        gpu,
    )
    return build(trt, logger, onnx, recipe)


def engine_key(trt: Any, onnx: str, options: EngineOptions, gpu: Any) -> dict:
    """Everything that another engine would have to be built for."""
    return store.key_of(
        tensorrt=trt.__version__,
        onnx_sha256=store.sha256_of(onnx),
        precision=options.precision,
        batch=options.batch,
        shapes=options.shapes,
        workspace_mb=options.workspace_mb,
        calibration_sha256=store.sha256_of(options.calibration) if options.calibration else None,
        **device_key(gpu, options.root),
    )


def device_key(gpu: Any, root: str) -> dict:
    """Which device this is, as far as an engine cares."""
    found = board(root)
    names = [card["name"] for card in found["gpus"]]
    return {
        "compute": gpu.compute() if gpu else None,
        "gpu": (names[0] if names else None) or found["model"],
        "soc": found["soc"],
        "l4t": found["l4t"],
    }


def record_of(plan: Plan, key: dict, seconds: float) -> dict:
    """The JSON that goes with an engine."""
    return {
        "key": key,
        "tensorrt": key["tensorrt"],
        "gpu": key["gpu"],
        "compute": key["compute"],
        "precision": key["precision"],
        "precision_from": plan.precision_from,
        "calibration_images": plan.calibration_images,
        "shapes": {name: [list(size) for size in sizes] for name, sizes in plan.shapes.items()},
        "onnx_sha256": key["onnx_sha256"],
        "build_s": seconds,
        "warnings": plan.warnings,
    }


def workspace_bytes(found: tuple, options: EngineOptions) -> int | None:
    """What was asked for; else a share of a board's memory; else TensorRT's own choice."""
    if options.workspace_mb is not None:
        return int(options.workspace_mb) * MB
    old = found < (8, 4)
    if not old and board(options.root)["soc"] is None:
        return None
    total = memory_total_bytes(Path(options.root))
    share = int(WORKSPACE_SHARE * total) if total else OLD_WORKSPACE
    return min(share, OLD_WORKSPACE) if old else share


def images_of(path: str | None) -> Any:
    """The images of a .npy, N x C x H x W; None without one."""
    if path is None:
        return None
    import numpy

    try:
        images = numpy.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise TargetError(f"{path} is no .npy file of images: {error}") from error
    if images.ndim != 4:
        raise TargetError(f"{path} has the shape {images.shape}: images are N x C x H x W")
    return images
