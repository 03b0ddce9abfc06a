"""The verb ``measure``: one model, one session, one round, in a separate process."""

from __future__ import annotations

import time
from time import perf_counter_ns
from typing import Any, Callable

from edgeprune_target.cooling import cool_down
from edgeprune_target.feeds import random_feed
from edgeprune_target.machine_warnings import enqueue_bound, machine_warnings
from edgeprune_target.memory import PeakMemory
from edgeprune_target.pauses import pauses, slept_since, suspended_clock_s
from edgeprune_target.runtimes import Runtime, make_runtime
from edgeprune_target.sensors import first_available
from edgeprune_target.state import Watch, state
from edgeprune_target.trt.options import EngineOptions
from edgeprune_target.window import Window, energy_report

WARM_UP_S = 0.2  # trtexec's own default warm-up
WARM_UP_RUNS = 10
WARM_UP_LIMIT_S = 1.0  # a slow model is warm after two runs: ten would take longer than the measurement
MIN_SAMPLES = 3  # per round, however slow the model is
IDLE_S = 0.5
STEP_S = 1e-5  # between two samples, with a margin for a slow processor
GPU_PASS_S = 0.3  # after the window: some hundred inferences of a small model


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
    cool_to: float | None = None,
    root: str = "/",
    options: EngineOptions | None = None,
    clock: Callable[[], int] = perf_counter_ns,
) -> dict:
    """Load ``model``, warm it up, time single inferences for ``seconds``, and return all measurements as JSON.

    A sample is the time of one ``infer`` and its synchronization, in ns: it includes the library's call, but not the
    creation of the input. Loading and warm-up are timed separately and are in no sample.

    Args:
        model: the model's file.
        runtime: a name of ``RUNTIMES``.
        batch: images per inference.
        threads: of the runtime.
        seconds: of timed inference.
        shapes: {input: shape} for inputs with dynamic sizes.
        sensors: power sensors, tried in this order.
        totals: definitions of the total power, as from ``parse_total``.
        cool_to: degrees C that the warmest zone is to have first; None begins at once.
        root: the folder used in place of ``/``, for tests.
        options: for a runtime that builds an engine.
        clock: returns ns, for tests.

    Raises:
        TargetError: the model cannot be measured here.
    """
    cooled = None if cool_to is None else cool_down(cool_to, root)
    sensor, reasons = first_available(sensors or ["none"], root, clock)
    try:
        before = state(root)
        engine = make_runtime(runtime, model, threads, options)
        built_now = engine.prepare()
        idle_w = idle_watts(sensor, totals)
        memory = PeakMemory()
        load_start = perf_counter_ns()
        with engine:
            load_ns = perf_counter_ns() - load_start
            memory.note_loaded()
            feed = feed_of(engine, batch, shapes or {})
            window, watch = Window(sensor, engine.synchronize, totals), Watch(root)
            benchmark = run_benchmark(engine, feed, seconds, watch, window, clock)
            report = {
                "feed": fed_shapes(engine, feed),
                "load_ns": load_ns,
                **{
                    key: benchmark[key]
                    for key in ("first_ns", "warm_up", "window_runs", "samples_ns", "pauses")
                },
                **memory_report(memory, engine, built_now),  # before more is run on a GPU
                **about_gpu(engine, feed, benchmark),
                "uses_gpu": engine.uses_gpu,
            }
        after = state(root)
    finally:
        sensor.close()
    watched = watch.report()
    times = [report["gpu_ns"] or report["samples_ns"]]
    return {
        "model": model,
        "runtime": runtime,
        "versions": engine.versions(),
        "batch": batch,
        "threads": threads,
        "cooled": cooled,
        "window_s": window.seconds,
        **report,
        "energy": energy_report(window, idle_w, reasons),
        "before": before,
        "watched": watched,
        "after": after,
        "warnings": [
            *report["engine_warnings"],
            *machine_warnings(before, after, watched, times, report["uses_gpu"]),
        ],
    }


def feed_of(engine: Runtime, batch: int, shapes: dict) -> dict:
    """Return random inputs; none for a runtime whose program makes its own and needs no numpy.

    Args:
        engine: loaded.
        batch: images per inference.
        shapes: {input: shape} for inputs with dynamic sizes.
    """
    return {} if engine.timed_by else random_feed(engine.inputs, batch, shapes)


def fed_shapes(engine: Runtime, feed: dict) -> dict:
    """Return {input: shape} of what is fed; the model's own where the runtime's program makes its inputs."""
    return {name: list(feed[name].shape if feed else shape) for name, (shape, _) in engine.inputs.items()}


def run_benchmark(
    engine: Runtime, feed: dict, seconds: float, watch: Watch, window: Window, clock: Callable[[], int]
) -> dict:
    """Time single inferences, or let the runtime's own program do it.

    Args:
        engine: loaded.
        feed: {input: array}.
        seconds: of timed inference.
        watch: of the machine's state, open during the timed inferences.
        window: of the power, open during the timed inferences.
        clock: returns ns.

    Returns:
        ``first_ns`` of the first inference (None from a program), ``samples_ns``, ``warm_up``, ``window_runs``
        (inferences in the window), and ``pauses``, what interrupted them.
    """
    slept_s = suspended_clock_s()
    if engine.timed_by:  # its warm-up included
        benchmark, between_s = {"first_ns": None, **engine.run_benchmark(seconds, (watch, window))}, 0.0
    else:
        begun = clock()
        engine.infer(feed)
        engine.synchronize()
        first_ns = clock() - begun
        warm_up = warm(engine, feed)
        with watch, window:
            samples = timed(engine, feed, seconds, clock)
        between_s = window.seconds - sum(samples) / 1e9 - len(samples) * STEP_S
        benchmark = {
            "first_ns": first_ns, "samples_ns": samples, "warm_up": warm_up, "window_runs": len(samples),
        }  # fmt: skip
    return {**benchmark, "pauses": pauses(benchmark["samples_ns"], between_s, slept_since(slept_s))}


def memory_report(memory: PeakMemory, engine: Runtime, built_now: bool) -> dict:
    """Return the memory of this process and of the device.

    Args:
        memory: of this process, since before the model was loaded.
        engine: the runtime; if it runs its own program, this process holds no model.
        built_now: whether an engine was built in this process, which needs memory too.
    """
    report = memory.report()
    reason = None
    if engine.timed_by:
        reason = f"the model runs in another process, {engine.timed_by}"
    elif built_now:
        reason = "the engine was built in this process, which took memory of its own: measure again"
    if reason:
        report.update(memory_peak_bytes=None, memory_loaded_bytes=None, memory_reason=reason)
    return {**report, "device_memory": engine.device_memory()}


def about_gpu(engine: Runtime, feed: dict, benchmark: dict) -> dict:
    """Return what only a runtime on a GPU reports: its engine, times on the GPU, warnings.

    Args:
        engine: still loaded.
        feed: {input: array}.
        benchmark: the result of `run_benchmark`.
    """
    times: dict = {key: benchmark.get(key) for key in ("gpu_ns", "enqueue_ns")}
    if not engine.timed_by:
        times = engine.gpu_pass(feed, GPU_PASS_S)
    warnings = list(engine.warnings)
    if times["gpu_ns"]:
        bound = enqueue_bound(times["enqueue_ns"], times["gpu_ns"])
        warnings += [{"code": code, "message": message} for code, message in bound]
    return {**times, "engine": engine.engine_report(), "engine_warnings": warnings}


def timed(engine: Any, feed: dict, seconds: float, clock: Callable[[], int] = perf_counter_ns) -> list:
    """Time single inferences until ``seconds`` have passed and there are ``MIN_SAMPLES``; return the times in ns.

    Args:
        engine: loaded.
        feed: {input: array}.
        seconds: of timed inference.
        clock: returns ns.
    """
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
    """Run until ``WARM_UP_S`` and ``WARM_UP_RUNS`` are reached, or ``WARM_UP_LIMIT_S`` and two runs.

    Args:
        engine: loaded.
        feed: {input: array}.
        clock: returns ns.

    Returns:
        ``{"runs", "seconds"}``.
    """
    start, runs, elapsed_s = clock(), 0, 0.0
    while not warmed_up(elapsed_s, runs):
        engine.infer(feed)
        engine.synchronize()
        runs += 1
        elapsed_s = (clock() - start) / 1e9
    return {"runs": runs, "seconds": elapsed_s}


def warmed_up(elapsed_s: float, runs: int) -> bool:
    """Return whether a warm-up may end."""
    usual = elapsed_s >= WARM_UP_S and runs >= WARM_UP_RUNS
    return usual or (elapsed_s >= WARM_UP_LIMIT_S and runs >= 2)


def idle_watts(sensor: Any, totals: list | None = None) -> float | None:
    """Return the mean total power while this process sleeps for ``IDLE_S`` without a model; None without a sensor."""
    if sensor.why_not() is not None:
        return None
    with Window(sensor, totals=totals) as window:
        time.sleep(IDLE_S)
    return energy_watts(window)


def energy_watts(window: Window) -> float | None:
    """Return the mean power of a window; None if its energy is unknown."""
    joules = energy_report(window, None, [])["gross_j"]
    return joules / window.counted_s() if joules is not None and window.counted_s() > 0 else None
