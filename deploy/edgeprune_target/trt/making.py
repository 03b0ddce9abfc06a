"""Find the stored engine of an ONNX file, or build a new one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edgeprune_target.board import board
from edgeprune_target.cuda import open_gpu
from edgeprune_target.errors import TargetError
from edgeprune_target.system import memory_total_bytes
from edgeprune_target.trt import store
from edgeprune_target.trt.build import BuiltEngine, Recipe, build_engine
from edgeprune_target.trt.library import make_logger, version
from edgeprune_target.trt.options import EngineOptions

MB = 1 << 20
WORKSPACE_SHARE = 0.25  # of a board's memory, which the GPU shares: TensorRT's own default is all of it
OLD_WORKSPACE = 1024 * MB  # before 8.4 the default is 16 MB, too little for most convolutions


def engine_for(trt: Any, onnx: str, options: EngineOptions) -> tuple:
    """Return (engine file, its record) of ``onnx`` on this machine; it is built and stored if it does not exist.

    Args:
        trt: the module ``tensorrt``.
        onnx: path of the ONNX file.
        options: of the engine.

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
        record = store.find_engine(place, key)
        if record is not None:
            return place, {**record, "built_now": False}
        start = time.perf_counter()
        built = build_on(trt, gpu, onnx, options)
        record = engine_record(built, key, time.perf_counter() - start)
        return place, {**store.keep(place, built.content, record), "built_now": True}
    finally:
        gpu.close()


def build_on(trt: Any, gpu: Any, onnx: str, options: EngineOptions) -> BuiltEngine:
    """Build an engine for exactly ``options.batch`` images at a time: other sizes would cost speed.

    Args:
        trt: the module ``tensorrt``.
        gpu: see ``edgeprune_target.cuda``.
        onnx: path of the ONNX file.
        options: of the engine.
    """
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
    return build_engine(trt, logger, onnx, recipe)


def engine_key(trt: Any, onnx: str, options: EngineOptions, gpu: Any) -> dict:
    """Return everything that the engine depends on: a change of it needs another engine.

    Args:
        trt: the module ``tensorrt``.
        onnx: path of the ONNX file.
        options: of the engine.
        gpu: see ``edgeprune_target.cuda``.
    """
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
    """Return the properties of the device that an engine depends on."""
    this_board = board(root)
    names = [card["name"] for card in this_board["gpus"]]
    return {
        "compute": gpu.compute() if gpu else None,
        "gpu": (names[0] if names else None) or this_board["model"],
        "soc": this_board["soc"],
        "l4t": this_board["l4t"],
    }


def engine_record(built: BuiltEngine, key: dict, seconds: float) -> dict:
    """Return the JSON record of an engine.

    Args:
        built: the engine.
        key: as of `engine_key`.
        seconds: duration of the build.
    """
    return {
        "key": key,
        "tensorrt": key["tensorrt"],
        "gpu": key["gpu"],
        "compute": key["compute"],
        "precision": key["precision"],
        "precision_from": built.precision_from,
        "calibration_images": built.calibration_images,
        "shapes": {name: [list(size) for size in sizes] for name, sizes in built.shapes.items()},
        "onnx_sha256": key["onnx_sha256"],
        "build_s": seconds,
        "warnings": built.warnings,
    }


def workspace_bytes(tensorrt_version: tuple, options: EngineOptions) -> int | None:
    """Return the workspace of the options, else a share of a board's memory, else None: TensorRT's default."""
    if options.workspace_mb is not None:
        return int(options.workspace_mb) * MB
    old = tensorrt_version < (8, 4)
    if not old and board(options.root)["soc"] is None:
        return None
    total = memory_total_bytes(Path(options.root))
    share = int(WORKSPACE_SHARE * total) if total else OLD_WORKSPACE
    return min(share, OLD_WORKSPACE) if old else share


def images_of(path: str | None) -> Any:
    """Load the images of a .npy file, N x C x H x W; None without a path."""
    if path is None:
        return None
    import numpy

    try:
        images = numpy.load(path, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise TargetError(f"{path} is not a .npy file of images: {error}") from error
    if images.ndim != 4:
        raise TargetError(f"{path} has the shape {images.shape}: images are N x C x H x W")
    return images
