"""The verb ``measure``: one model, one session, one round, in a process of its own."""

from __future__ import annotations

import time
from time import perf_counter_ns
from typing import Any, Callable

from edgeprune_target.caution import cautions, enqueue_bound
from edgeprune_target.feeds import random_feed
from edgeprune_target.memory import PeakMemory
from edgeprune_target.pauses import pauses, slept_since, suspended_clock_s
from edgeprune_target.runtimes import make_runtime
from edgeprune_target.sensors import first_that_answers
from edgeprune_target.state import Watch, state
from edgeprune_target.trt.options import EngineOptions
from edgeprune_target.window import Window, energy_report

WARM_UP_S = 0.2  # trtexec's own default warm-up
WARM_UP_RUNS = 10
WARM_UP_LIMIT_S = 1.0  # a slow model is warm after two runs: ten would outlast the measurement
MIN_SAMPLES = 3  # a round of a slow model has at least this many, however long they take
IDLE_S = 0.5
STEP_S = 1e-5  # between two samples, with room for a slow processor
GPU_PASS_S = 0.3  # after the window: some hundreds of inferences of a small model


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
    options: EngineOptions | None = None,
    clock: Callable[[], int] = perf_counter_ns,
) -> dict:
    """Load ``model``, warm it up, time single inferences for ``seconds``; everything measured, as JSON.

    A sample is the time of one ``infer`` and the wait for it, in ns: it has the library's call in it, and not
    the making of the input. Loading and warm-up are timed apart and are in no sample. ``totals`` are those of
    ``parse_total``; ``root`` stands for ``/`` and ``clock`` gives ns, both for tests; ``options`` are for a
    runtime that builds an engine.
    """
    sensor, reasons = first_that_answers(sensors or ["none"], root, clock)
    try:
        before = state(root)
        engine = make_runtime(runtime, model, threads, options)
        built_now = engine.prepare() if hasattr(engine, "prepare") else False
        idle_w = idle_watts(sensor, totals)
        memory = PeakMemory()
        load_start = perf_counter_ns()
        with engine:
            load_ns = perf_counter_ns() - load_start
            feed = feed_of(engine, batch, shapes or {})
            fed = {name: feed[name].shape if feed else shape for name, (shape, _) in engine.inputs.items()}
            window = Window(sensor, engine.synchronize, totals)
            watch = Watch(root)
            slept_s = suspended_clock_s()
            stretch = stretch_of(engine, feed, seconds, watch, window, clock)
            samples = stretch["samples_ns"]
            interrupted = pauses(samples, stretch.get("between_s", 0.0), slept_since(slept_s))
            report = memory_report(memory, engine, built_now)
            about = about_gpu(engine, feed, stretch)
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
        "feed": {name: list(shape) for name, shape in fed.items()},
        "load_ns": load_ns,
        "warm_up": stretch["warm_up"],
        "window_s": window.seconds,
        "window_runs": stretch["window_runs"],
        "samples_ns": samples,
        "pauses": interrupted,
        **about,
        **report,
        "energy": energy_report(window, idle_w, reasons),
        "uses_gpu": uses_gpu,
        "before": before,
        "watched": watch.report(),
        "after": after,
        "warnings": [
            *about["engine_warnings"],
            *cautions(before, after, watch.report(), [about["gpu_ns"] or samples], uses_gpu),
        ],
    }


def feed_of(engine: Any, batch: int, shapes: dict) -> dict:
    """Made-up inputs; none for a runtime whose program makes its own, which then needs no numpy."""
    return {} if hasattr(engine, "stretch") else random_feed(engine.inputs, batch, shapes)


def stretch_of(
    engine: Any, feed: dict, seconds: float, watch: Watch, window: Window, clock: Callable[[], int]
) -> dict:
    """The timed stretch: ``samples_ns``, ``warm_up``, and ``window_runs``, the inferences in the window."""
    if hasattr(engine, "stretch"):  # a program does the timing, its warm-up included
        found: dict = engine.stretch(seconds, (watch, window))
        return found
    warm_up = warm(engine, feed)
    with watch, window:
        samples = timed(engine, feed, seconds, clock)
    between_s = window.seconds - sum(samples) / 1e9 - len(samples) * STEP_S
    return {"samples_ns": samples, "warm_up": warm_up, "window_runs": len(samples), "between_s": between_s}


def memory_report(memory: PeakMemory, engine: Any, built_now: bool) -> dict:
    """Of this process, unless somebody else's work is in it or ours is elsewhere; and on the device."""
    found = memory.report()
    reason = None
    if hasattr(engine, "stretch"):
        reason = "the model runs in another process, trtexec"
    elif built_now:
        reason = "the engine was built in this process, which took memory of its own: measure again"
    if reason:
        found.update(memory_peak_bytes=None, memory_reason=reason)
    return {**found, "device_memory": engine.device_memory() if hasattr(engine, "device_memory") else None}


def about_gpu(engine: Any, feed: dict, stretch: dict) -> dict:
    """What only a runtime on a GPU says: its engine, times on the GPU alone, and what to be warned of."""
    times: dict = {"gpu_ns": stretch.get("gpu_ns"), "enqueue_ns": stretch.get("enqueue_ns")}
    if hasattr(engine, "gpu_pass"):
        times = engine.gpu_pass(feed, GPU_PASS_S)
    warnings = [*getattr(engine, "warnings", [])]
    if times["gpu_ns"]:
        found = enqueue_bound(times["enqueue_ns"], times["gpu_ns"])
        warnings += [{"code": code, "message": message} for code, message in found]
    report = engine.engine_report() if hasattr(engine, "engine_report") else None
    return {**times, "engine": report, "engine_warnings": warnings}


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
