"""The verb ``accuracy``: top-1 of a model on images in .npy files."""

from __future__ import annotations

from typing import Any, Callable

from edgeprune_target.errors import TargetError
from edgeprune_target.runtimes import make_runtime
from edgeprune_target.trt.options import EngineOptions


def accuracy(
    model: str,
    images: str,
    labels: str,
    *,
    runtime: str = "onnxruntime",
    batch: int = 64,
    threads: int = 1,
    options: EngineOptions | None = None,
    emit: Callable[[dict], None] = lambda _event: None,
) -> dict:
    """Count the correct predictions of ``model``, as JSON: ``correct``, ``count``, ``not_finite``.

    Args:
        model: the model's file; its first input takes the images, its first output gives the logits.
        images: .npy, float32, N x C x H x W, already normalised; read through a memory map.
        labels: .npy, integers, N.
        runtime: a name of ``RUNTIMES``.
        batch: images per call; the last call may have fewer.
        threads: of the runtime.
        options: for a runtime that builds an engine, with the same batch.
        emit: called with ``{"event": "progress", "done": images, "total": images}`` after every batch.

    Raises:
        TargetError: the files do not fit each other.
    """
    import numpy

    pictures, truth = numpy.load(images, mmap_mode="r"), numpy.load(labels)
    if len(pictures) != len(truth) or len(truth) == 0:
        raise TargetError(
            f"{images} has {len(pictures)} images and {labels} has {len(truth)} labels: write them again"
        )
    correct, not_finite = 0, 0
    with make_runtime(runtime, model, threads, options) as engine:
        for start in range(0, len(truth), batch):
            logits = _logits(engine, numpy.ascontiguousarray(pictures[start : start + batch]))
            correct += int((logits.argmax(axis=1) == truth[start : start + batch]).sum())
            not_finite += int((~numpy.isfinite(logits)).any(axis=1).sum())
            emit({"event": "progress", "done": min(start + batch, len(truth)), "total": len(truth)})
    return {"correct": correct, "count": len(truth), "not_finite": not_finite}


def _logits(engine: Any, pictures: Any) -> Any:
    import numpy

    outputs = engine.infer({next(iter(engine.inputs), "input"): pictures})
    engine.synchronize()
    logits = numpy.asarray(next(iter(outputs.values())))
    if logits.ndim != 2 or len(logits) != len(pictures):
        raise TargetError(
            f"the model's first output has the shape {logits.shape} for {len(pictures)} images: "
            "top-1 needs one row of class scores per image"
        )
    return logits
