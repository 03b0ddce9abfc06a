"""The verbs ``build`` and ``layers``: build an engine before it is measured, and time a model layer by layer."""

from __future__ import annotations

from typing import Any

from edgeprune_target.errors import TargetError
from edgeprune_target.measure import feed_of, warm
from edgeprune_target.runtimes import make_runtime
from edgeprune_target.trt.options import EngineOptions


def build_if_needed(model: str, *, runtime: str, threads: int, options: EngineOptions) -> dict:
    """Build the engine of ``model`` if the runtime needs one that does not exist yet; return the result as JSON.

    Args:
        model: the model's file.
        runtime: a name of ``RUNTIMES``.
        threads: of the runtime.
        options: of the engine.

    Raises:
        TargetError: the engine cannot be built.
    """
    engine = make_runtime(runtime, model, threads, options)
    built_now = engine.prepare()
    return {"model": model, "runtime": runtime, "built_now": built_now, "engine": engine.record}


def layers(
    model: str, *, runtime: str, batch: int, threads: int, seconds: float, options: EngineOptions
) -> dict:
    """Return every layer of ``model`` with its median time, as JSON.

    This is a separate pass: timing layers slows the model down, so their sum exceeds the latency.

    Args:
        model: the model's file.
        runtime: a name of ``RUNTIMES``.
        batch: images per inference.
        threads: of the runtime.
        seconds: of the pass.
        options: of the engine.

    Raises:
        TargetError: the runtime timed no layer.
    """
    engine = make_runtime(runtime, model, threads, options)
    with engine:
        feed = feed_of(engine, batch, options.shapes)
        if feed:
            warm(engine, feed)
        timed_layers: list = engine.layers(feed, seconds)
    if not any(layer["ms"] is not None for layer in timed_layers):
        raise TargetError(f"{runtime} timed no layer of {model}")
    versions: Any = engine.versions()
    return {"model": model, "runtime": runtime, "versions": versions, "batch": batch, "layers": timed_layers}
