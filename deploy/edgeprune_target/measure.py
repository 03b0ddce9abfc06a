"""The verb ``measure``: one model, one session, one round, in a process of its own."""

from __future__ import annotations

import time
from time import perf_counter_ns
from typing import Any, Callable

from edgeprune_target.caution import cautions
from edgeprune_target.feeds import random_feed
from edgeprune_target.memory import PeakMemory
from edgeprune_target.runtimes import make_runtime
from edgeprune_target.sensors import first_that_answers
from edgeprune_target.state import Watch, state
from edgeprune_target.window import Window, energy_report

WARM_UP_S = 0.2  # trtexec's own default warm-up
WARM_UP_RUNS = 10
WARM_UP_LIMIT_S = 1.0  # a slow model is warm after two runs: ten would outlast the measurement
MIN_SAMPLES = 3  # a round of a slow model has at least this many, however long they take
IDLE_S = 0.5


def measure(
    model: str,
    *,
    runtime: str = "onnxruntime",
    batch: int = 1,
    threads: int = 1,
    seconds: float = 1.0,
    shapes: dict | None = None,
    sensors: list | None = None,
    totals: list | None = None,
    root: str = "/",
    clock: Callable[[], int] = perf_counter_ns,
) -> dict:
    """Load ``model``, warm it up, time single inferences for ``seconds``; everything measured, as JSON.

    A sample is the time of one ``infer`` and the wait for it, in ns: it has the library's call in it, and not
    the making of the input. Loading and warm-up are timed apart and are in no sample. ``totals`` are those of
    ``parse_total``; ``root`` stands for ``/`` and ``clock`` gives ns, both for tests.
    """
    sensor, reasons = first_that_answers(sensors or ["none"], root, clock)
    try:
        before = state(root)
        idle_w = idle_watts(sensor, totals)
        engine = make_runtime(runtime, model, threads)
        memory = PeakMemory()
        load_start = perf_counter_ns()
        with engine:
            load_ns = perf_counter_ns() - load_start
            feed = random_feed(engine.inputs, batch, shapes or {})
            warm_up = warm(engine, feed)
            with Watch(root) as watch, Window(sensor, engine.synchronize, totals) as window:
                samples = timed(engine, feed, seconds, clock)
            report = memory.report()
            uses_gpu = bool(getattr(engine, "uses_gpu", False))
        after = state(root)
    finally:
        sensor.close()
    return {
        "model": model,
        "runtime": runtime,
        "versions": engine.versions(),
        "batch": batch,
        "threads": threads,
        "feed": {name: list(value.shape) for name, value in feed.items()},
        "load_ns": load_ns,
        "warm_up": warm_up,
        "window_s": window.seconds,
        "samples_ns": samples,
        **report,
        "energy": energy_report(window, idle_w, reasons),
        "uses_gpu": uses_gpu,
        "before": before,
        "watched": watch.report(),
        "after": after,
        "warnings": cautions(before, after, watch.report(), [samples], uses_gpu),
    }


def timed(engine: Any, feed: dict, seconds: float, clock: Callable[[], int] = perf_counter_ns) -> list:
    """Times of single inferences, ns, until ``seconds`` have passed and there are ``MIN_SAMPLES`` of them."""
    infer, synchronize = engine.infer, engine.synchronize
    samples: list = []
    until = clock() + int(seconds * 1e9)
    end = 0
    while end < until or len(samples) < MIN_SAMPLES:
        start = clock()
        infer(feed)
        synchronize()
        end = clock()
        samples.append(end - start)
    return samples


def warm(engine: Any, feed: dict, clock: Callable[[], int] = perf_counter_ns) -> dict:
    """Run until ``WARM_UP_S`` and ``WARM_UP_RUNS`` are reached, or ``WARM_UP_LIMIT_S`` and two runs."""
    start, runs, elapsed_s = clock(), 0, 0.0
    while not warmed_up(elapsed_s, runs):
        engine.infer(feed)
        engine.synchronize()
        runs += 1
        elapsed_s = (clock() - start) / 1e9
    return {"runs": runs, "seconds": elapsed_s}


def warmed_up(elapsed_s: float, runs: int) -> bool:
    """Whether a warm-up may end."""
    usual = elapsed_s >= WARM_UP_S and runs >= WARM_UP_RUNS
    return usual or (elapsed_s >= WARM_UP_LIMIT_S and runs >= 2)


def idle_watts(sensor: Any, totals: list | None = None) -> float | None:
    """Mean power of the total while this process sleeps for ``IDLE_S``, no model loaded; None without one."""
    if sensor.why_not() is not None:
        return None
    with Window(sensor, totals=totals) as window:
        time.sleep(IDLE_S)
    return energy_watts(window)


def energy_watts(window: Window) -> float | None:
    """Mean power of a window whose energy is known."""
    joules = energy_report(window, None, [])["gross_j"]
    return joules / window.counted_s() if joules is not None and window.counted_s() > 0 else None
