"""The verbs ``build`` and ``layers``: an engine made before it is measured, and a model layer by layer."""

from __future__ import annotations

from typing import Any

from edgeprune_target.errors import TargetError
from edgeprune_target.measure import feed_of, warm
from edgeprune_target.runtimes import make_runtime
from edgeprune_target.trt.options import EngineOptions


def build(model: str, *, runtime: str, threads: int, options: EngineOptions) -> dict:
    """See that ``model`` can be measured without being built first, as JSON; often there is nothing to do."""
    engine = make_runtime(runtime, model, threads, options)
    built_now = engine.prepare()
    return {"model": model, "runtime": runtime, "built_now": built_now, "engine": engine.record}


def layers(
    model: str, *, runtime: str, batch: int, threads: int, seconds: float, options: EngineOptions
) -> dict:
    """Every layer of ``model`` with the median of its times, as JSON.

    A pass of its own: what times layers slows the whole down, so their sum is more than the latency.

    Raises:
        TargetError: the runtime named no layer.
    """
    engine = make_runtime(runtime, model, threads, options)
    with engine:
        feed = feed_of(engine, batch, options.shapes)
        if feed:
            warm(engine, feed)
        found: list = engine.layers(feed, seconds)
    if not any(layer["ms"] is not None for layer in found):
        raise TargetError(f"{runtime} timed no layer of {model}")
    versions: Any = engine.versions()
    return {"model": model, "runtime": runtime, "versions": versions, "batch": batch, "layers": found}
