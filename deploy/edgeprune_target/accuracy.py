"""The verb ``accuracy``: score a model on images and targets in .npy files."""

from __future__ import annotations

from typing import Any, Callable

from edgeprune_target.errors import TargetError
from edgeprune_target.runtimes import make_runtime
from edgeprune_target.scorers import Scorer, make_scorer
from edgeprune_target.trt.options import EngineOptions


def accuracy(
    model: str,
    images: str,
    labels: str,
    *,
    scorer: str = "classification",
    runtime: str = "onnxruntime",
    batch: int = 64,
    threads: int = 1,
    options: EngineOptions | None = None,
    emit: Callable[[dict], None] = lambda _event: None,
) -> dict:
    """Score ``model``, as JSON: what the scorer counted, ``count`` and ``not_finite`` of images.

    Args:
        model: the model's file; its first input takes the images.
        images: .npy, float32, N x C x H x W, already normalised; read through a memory map.
        labels: .npy, integers: N labels, or N x H x W masks.
        scorer: a name of ``SCORERS``.
        runtime: a name of ``RUNTIMES``.
        batch: images per call; the last call may have fewer.
        threads: of the runtime.
        options: for a runtime that builds an engine, with the same batch.
        emit: called with ``{"event": "progress", "done": images, "total": images}`` after every batch.

    Raises:
        TargetError: the files do not fit each other, or there is no such scorer.
    """
    import numpy

    pictures, truth = numpy.load(images, mmap_mode="r"), numpy.load(labels, mmap_mode="r")
    if len(pictures) != len(truth) or len(truth) == 0:
        raise TargetError(
            f"{images} has {len(pictures)} images and {labels} has {len(truth)} labels: write them again"
        )
    counts = make_scorer(scorer)
    with make_runtime(runtime, model, threads, options) as engine:
        return score(engine, pictures, truth, counts, batch, emit)


def score(
    engine: Any, pictures: Any, truth: Any, counts: Scorer, batch: int, emit: Callable[[dict], None]
) -> dict:
    """Score a loaded model; see `accuracy`.

    Args:
        engine: has ``inputs``, ``infer`` and ``synchronize``.
        pictures: N x C x H x W.
        truth: as many targets.
        counts: the scorer.
        batch: images per call.
        emit: called with the progress.
    """
    import numpy

    not_finite = 0
    for start in range(0, len(truth), batch):
        outputs = _outputs(engine, numpy.ascontiguousarray(pictures[start : start + batch]))
        counts.add(outputs, numpy.asarray(truth[start : start + batch]))
        not_finite += _not_finite(outputs)
        emit({"event": "progress", "done": min(start + batch, len(truth)), "total": len(truth)})
    return {**counts.totals(), "count": len(truth), "not_finite": not_finite}


def _outputs(engine: Any, pictures: Any) -> list:
    import numpy

    outputs = engine.infer({next(iter(engine.inputs), "input"): pictures})
    engine.synchronize()
    return [numpy.asarray(output) for output in outputs.values()]


def _not_finite(outputs: list) -> int:
    """Return the number of images for which an output holds a value that is not a finite number."""
    import numpy

    finite = numpy.ones(len(outputs[0]), bool)
    for output in outputs:
        if output.dtype.kind == "f" and len(output) == len(finite):
            finite &= numpy.isfinite(output).reshape(len(finite), -1).all(axis=1)
    return int((~finite).sum())
