"""Warnings about a measurement, as pure functions of machine states and samples.

A warning is ``{"code", "message"}``. Messages name the command that helps; it is never run from here.
"""

from __future__ import annotations

from statistics import mean, median, pstdev
from typing import Any, Iterator

from edgeprune_target.clocks import locked

LOW_READS = 3  # consecutive reads, a second apart, of a GPU below its highest clock (devices.md 3.2)
WARMER_C = 5.0
UNSTABLE = 0.025  # coefficient of variation; trtexec's threshold of the same warning
ENQUEUE_SHARE = 0.8  # of the GPU's time, spent enqueueing the work (devices.md 3.2, as in trtexec)
FEWEST_SAMPLES = 10  # a coefficient of variation of fewer is meaningless
HELD_DOWN = ("cpu", "gpu", "gv11b", "gp10b", "ga10b", "cluster", "devfreq")
PI_BITS = {0: "under-voltage", 1: "capped clock", 2: "throttling", 3: "soft temperature limit"}


def machine_warnings(before: dict, after: dict, watched: dict, samples_ns: list, uses_gpu: bool) -> list:
    """Return all warnings about a measurement.

    Args:
        before: ``state()`` at its start.
        after: ``state()`` at its end.
        watched: ``Watch.report()`` in between.
        samples_ns: lists of latencies of single inferences; each list is one uninterrupted segment.
        uses_gpu: whether the runtime computes on the GPU.
    """
    warnings = [
        *clocks_move(before),
        *below_full_mode(before),
        *(gpu_slow(after, watched) if uses_gpu else []),
        *(unstable(samples_ns) if uses_gpu else []),
        *(card_slow(after) if uses_gpu else []),
        *hot(after, watched),
        *warmer(before, after),
        *held_down(after),
        *over_current_events(before, after),
        *current_alarm(after),
        *swapping(before, after),
        *pi_slowdown(before, after),
    ]
    return [{"code": code, "message": message} for code, message in warnings]


def clocks_move(state: dict) -> Iterator[tuple]:
    """Warn about a Jetson whose GPU or processor clock is not locked."""
    gpu = state["gpu"]
    if gpu is None:
        return
    free = ["the GPU"] if locked(gpu, "hz") is False else []
    free += ["the processor"] if any(locked(cpu, "khz") is False for cpu in state["cpu"]["clocks"]) else []
    if free:
        yield (
            "clocks_not_locked",
            f"the clocks of {' and '.join(free)} move with the load; for steady numbers: "
            "sudo jetson_clocks   (and afterwards: sudo jetson_clocks --restore)",
        )


def below_full_mode(state: dict) -> Iterator[tuple]:
    """Warn about a power mode below the highest, if the machine lists its modes."""
    mode = state["power_mode"]
    full = [(number, name) for number, name in mode["modes"].items() if name.startswith("MAXN")]
    if mode["name"] and full and mode["name"] not in [name for _, name in full]:
        number, name = full[-1]
        yield (
            "power_mode",
            f"the power mode is {mode['name']}: the numbers hold for it alone; for {name}: "
            f"sudo nvpmodel -m {number}   (it may ask to start the board anew)",
        )


def gpu_slow(after: dict, watched: dict) -> Iterator[tuple]:
    """Warn about a GPU that stayed below its highest clock."""
    top = (after["gpu"] or {}).get("max_hz") or 0
    longest = streak([hertz < top for hertz in watched["gpu_hz"]])
    if longest >= LOW_READS:
        lowest = min(watched["gpu_hz"])
        yield (
            "gpu_below_max",
            f"the GPU ran below its highest clock for {longest} reads in a row, down to "
            f"{lowest / 1e6:.0f} of {top / 1e6:.0f} MHz: it is throttled, or has too little to do; "
            "check the cooling, or: sudo jetson_clocks",
        )


def streak(flags: list) -> int:
    """Return the length of the longest run of true values."""
    longest = current = 0
    for flag in flags:
        current = current + 1 if flag else 0
        longest = max(longest, current)
    return longest


def card_slow(after: dict) -> Iterator[tuple]:
    """Warn about a graphics card that reports throttling."""
    for card in after["nvidia"]:
        if card["slowed_by"]:
            yield "gpu_throttled", f"{card['name']} is held back by: {', '.join(card['slowed_by'])}"


def unstable(samples_ns: list) -> Iterator[tuple]:
    """Warn about latencies on a GPU that vary within one segment."""
    spreads = [pstdev(part) / mean(part) for part in samples_ns if len(part) >= FEWEST_SAMPLES]
    if spreads and max(spreads) > UNSTABLE:
        yield (
            "unstable",
            f"inference times vary by {100 * max(spreads):.1f} % (more than {100 * UNSTABLE:.1f} %): "
            "lock the clocks, or measure longer",
        )


def enqueue_bound(enqueue_ns: list, gpu_ns: list) -> Iterator[tuple]:
    """Warn if enqueueing an inference takes about as long as computing it: the processor is the bottleneck."""
    share = median(enqueue_ns) / median(gpu_ns) if median(gpu_ns) > 0 else 0.0
    if share > ENQUEUE_SHARE:
        yield (
            "enqueue_bound",
            f"enqueueing an inference takes {100 * share:.0f} % of the time the GPU computes: the processor is the "
            "bottleneck, and a smaller model hardly gains; a larger batch helps, or a CUDA graph",
        )


def hot(after: dict, watched: dict) -> Iterator[tuple]:
    """Warn about a zone at the temperature from which it slows the chip down."""
    for zone, trip in after["passive_trips_c"].items():
        warmest = max(_known(after["temperatures_c"].get(zone), watched["warmest_c"].get(zone)), default=None)
        if warmest is not None and warmest >= trip:
            yield (
                "hot",
                f"zone {zone} reached {warmest:.0f} C, and from {trip:.0f} C on the chip is slowed down: "
                "cool it, let it rest, measure again",
            )


def warmer(before: dict, after: dict) -> Iterator[tuple]:
    """Warn about a board that is still warming up."""
    rises = [
        (degrees - before["temperatures_c"][zone], zone)
        for zone, degrees in after["temperatures_c"].items()
        if zone in before["temperatures_c"]
    ]
    rise, zone = max(rises, default=(0.0, ""))
    if rise > WARMER_C:
        yield "warming_up", f"zone {zone} rose by {rise:.0f} C while measuring: warm the board up first"


def held_down(after: dict) -> Iterator[tuple]:
    """Warn about a cooling device that lowers a clock; fans do not count."""
    for device in after["cooling"]:
        kind = device["type"].lower()
        if device["cur"] and "fan" not in kind and any(word in kind for word in HELD_DOWN):
            yield (
                "throttled",
                f"the system holds {device['type']} down (step {device['cur']} of "
                f"{device['max']}) to keep it cool",
            )


def over_current_events(before: dict, after: dict) -> Iterator[tuple]:
    """Warn about over-current events during the measurement."""
    for counter, count in after["over_current"].items():
        new = count - before["over_current"].get(counter, count)
        if new > 0:
            yield (
                "over_current",
                f"{new} over-current events ({counter}) slowed the chip down while measuring: the supply or "
                "the power mode's budget is too small for this load",
            )


def current_alarm(after: dict) -> Iterator[tuple]:
    """Warn about a rail above a limit of its sensor."""
    if after["alarms"]:
        yield "current_alarm", f"current above the sensor's limit: {', '.join(after['alarms'])}"


def swapping(before: dict, after: dict) -> Iterator[tuple]:
    """Warn about swap that grew; on a board, where GPU and processor share the memory, about any swap in use."""
    old, new = before["swap_used_bytes"] or 0, after["swap_used_bytes"] or 0
    if new > old:
        yield "swap", f"{(new - old) / 1e6:.0f} MB went to swap while measuring: free some memory"
    elif new and after["gpu"]:
        yield "swap", f"{new / 1e6:.0f} MB are in swap, and the memory is the GPU's too: stop other programs"


def pi_slowdown(before: dict, after: dict) -> Iterator[tuple]:
    """Warn about a Raspberry Pi that slowed down: now, or since the start (bits 16 to 19)."""
    old, new = before["pi_throttled"] or 0, after["pi_throttled"] or 0
    events = new | ((new & ~old) >> 16)
    reasons = [name for bit, name in PI_BITS.items() if events & (1 << bit)]
    if reasons:
        yield "throttled", f"the Pi slowed down while measuring: {', '.join(reasons)}"


def _known(*values: Any) -> list:
    return [value for value in values if value is not None]
