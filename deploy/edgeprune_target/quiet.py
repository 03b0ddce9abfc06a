"""The verb ``times``: several small models in turn, and what each takes while nothing disturbs it."""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any, Callable

from edgeprune_target.measure import feed_of, timed
from edgeprune_target.runtimes import make_runtime
from edgeprune_target.trt.options import EngineOptions
from edgeprune_target.undisturbed import undisturbed

PASSES = 3  # over all models: what disturbs one pass of a model seldom disturbs all of them
WARM_UP_S = 0.03
SECONDS = 0.06  # of timed inference in a pass


def times(
    models: list,
    *,
    runtime: str,
    batch: int,
    threads: int,
    options: EngineOptions,
    clock: Callable[[], int] = perf_counter_ns,
) -> dict:
    """Return the time of each model as JSON: the mean of its fastest quarter, in the best of a few passes.

    Noise only ever adds. Models are loaded one at a time: threads of another, which spin while they wait, take cores.

    Args:
        models: their files.
        runtime: a name of ``RUNTIMES``.
        batch: images per inference.
        threads: of the runtime.
        options: of the runtime.
        clock: returns ns, for tests.

    Raises:
        TargetError: a model cannot be loaded here.
    """
    best: list = [None] * len(models)
    versions: Any = {}
    for _ in range(PASSES):
        for number, model in enumerate(models):
            engine = make_runtime(runtime, model, threads, options)
            with engine:
                feed = feed_of(engine, batch, options.shapes)
                timed(engine, feed, WARM_UP_S, clock)
                ms = undisturbed(timed(engine, feed, SECONDS, clock)) / 1e6
                versions = engine.versions()
            best[number] = ms if best[number] is None else min(ms, best[number])
    return {"runtime": runtime, "versions": versions, "batch": batch, "times_ms": best}
