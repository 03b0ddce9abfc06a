"""Warn about a measurement: codes with a sentence each, as a pure function of the result."""

from collections.abc import Iterator
from functools import partial

from edgeprune_target.clocks import locked

from edgeprune.backends.base import TOLERANCES
from edgeprune.backends.parity import SAME_NUMBERS, Tolerance
from edgeprune.devices import BROWSER
from edgeprune.records.bench import BenchResult, WarningRecord

NOISY_SPREAD = 0.05  # a model against itself varies by about 1 % from round to round on an idle machine
FEW_SAMPLES = 100  # below it, p99 is the slowest sample or an interpolation towards it
SLOWER = 0.02  # a clock is lowered in larger steps
FREE_SHARE = 0.75  # of the requested cores must have been free, or other work was measured too
SURE_WINDOW_S = 10.0  # 200 samples of a board's sensor chip; below, slow swings of power show
LONG_GAP_S = 1.0  # twenty readings of a board's sensor chip missed
MANY_DENORMALS = 1000  # of weights; fewer cost no time that is measured
CLOCKS = "clocks_not_locked"

CodedWarning = tuple[str, str]  # (code, message)


def warnings_for(result: BenchResult, source: str | None = None) -> tuple[WarningRecord, ...]:
    """Return all warnings about ``result``.

    Args:
        result: of a measurement.
        source: what `edgeprune prune` would prune; None for a run of `train-prune`.
    """
    checks = (
        device_assumed,
        resumed,
        paused,
        replaced,
        noisy,
        undisturbed,
        not_steady,
        slowed_down,
        not_cool,
        few_samples,
        few_images,
        coarse_clock,
        one_thread,
        disagreeing,
        partial(not_faster, source=source),
        denormal,
        machine_loaded,
        too_many_threads,
        governor,
        machine_warnings,
        engine_warnings,
        other_runtime,
        energy_unavailable,
        short_energy,
        accuracy_unavailable,
    )
    return tuple(WarningRecord(code, message) for check in checks for code, message in check(result))


def device_assumed(result: BenchResult) -> Iterator[CodedWarning]:
    """Report a profile that the machine contradicts."""
    device = result.device
    if device.assumed:
        yield (
            "device_assumed",
            f"{device.title} was assumed (--assume-device); the machine is {device.assumed}, so that "
            f"nothing here was measured on a {device.name}",
        )


def resumed(result: BenchResult) -> Iterator[CodedWarning]:
    """Report a measurement that was interrupted and resumed."""
    segments = result.settings.stretches
    if segments > 1:
        yield (
            "resumed",
            f"measured in {segments} segments: each pair of rounds is complete, so that the speedup holds; "
            "latencies and energies are means over segments between which the machine may have changed",
        )


def paused(result: BenchResult) -> Iterator[CodedWarning]:
    """Report what stopped the runner inside its measuring windows, whether it was measured again or not."""
    kept, again = result.settings.paused_rounds, result.settings.discarded_rounds
    if again:
        yield (
            "rounds_discarded",
            f"{len(again)} {'pair' if len(again) == 1 else 'pairs'} of rounds were measured again, since "
            f"{again[0]}",
        )
    if kept:
        yield (
            "paused",
            f"{kept[0]} in one of {len(kept)} interrupted rounds, which distort throughput and means; "
            "keep the machine awake and suspend nothing, then measure again",
        )


def replaced(result: BenchResult) -> Iterator[CodedWarning]:
    """Report files that were replaced while their copies were measured."""
    for name in result.replaced:
        model = result.models[name]
        yield (
            "file_replaced",
            f"{name}: {model.file} was replaced while it was measured; the result is of "
            f"the original file (sha256 {model.sha256[:12]})",
        )


def noisy(result: BenchResult) -> Iterator[CodedWarning]:
    """Report models whose median latency varies between rounds."""
    for name, model in result.models.items():
        spread = model.round_spread
        if spread is not None and spread > NOISY_SPREAD:
            yield (
                "noisy",
                f"{name}: p50 varies by {100 * spread:.0f} % between rounds; close other programs or measure longer",
            )


def undisturbed(result: BenchResult) -> Iterator[CodedWarning]:
    """Report the speedup by the fast samples where rounds vary and that speedup is more certain."""
    fast, medians = result.speedup_undisturbed, result.speedup
    if fast is None or medians is None or not any(True for _ in noisy(result)):
        return
    if fast.high - fast.low < medians.high - medians.low:
        yield (
            "undisturbed",
            "by the 10th percentiles, which are more certain here than the medians, the speedup is "
            f"{fast.value:.2f}x ({fast.low:.2f} to {fast.high:.2f})",
        )


def few_samples(result: BenchResult) -> Iterator[CodedWarning]:
    """Report models with too few inferences for a p99."""
    for name, model in result.models.items():
        count = sum(len(samples) for samples in model.samples_ns)
        if model.latency_ms.p99 is not None and count < FEW_SAMPLES:
            yield (
                "few_samples",
                f"{name}: only {count} inferences, so p99 means little; measure longer with --seconds",
            )


def few_images(result: BenchResult) -> Iterator[CodedWarning]:
    """Report scores of a part of the test images, where not all of them are sent to the device."""
    most = result.device.fingerprint.get("most_images")
    models = result.models.values()
    counts = [model.accuracy_images for model in models if model.scores and model.accuracy_images]
    if most is not None and counts:
        yield "few_images", f"scores are of the first {counts[0]} test images, which were sent to the device"


def coarse_clock(result: BenchResult) -> Iterator[CodedWarning]:
    """Report samples that are means of several inferences, since the clock's steps are too coarse for one."""
    together = {
        name: model.runs_per_sample for name, model in result.models.items() if model.runs_per_sample > 1
    }
    if together:
        counts = ", ".join(f"{name} {count}" for name, count in together.items())
        yield (
            "coarse_clock",
            f"the clock steps by {result.settings.clock_step_ms or 0:g} ms, so that a sample is the mean of several "
            f"inferences ({counts}): p90 and p99 are of such means",
        )


def one_thread(result: BenchResult) -> Iterator[CodedWarning]:
    """Report a machine on which the runtime had fewer threads than it could have."""
    if reason := result.device.fingerprint.get("threads_reason"):
        yield "one_thread", f"{result.settings.threads} thread was used: {reason}"


def disagreeing(result: BenchResult) -> Iterator[CodedWarning]:
    """Report outputs on the device that are not those of ONNX Runtime on this machine."""
    for name, model in result.models.items():
        parity = model.parity
        if parity is not None and not tolerance(result.settings.precision, result.settings.runtime).allows(
            parity
        ):
            yield (
                "disagreeing",
                f"{name}: its outputs on the device differ from ONNX Runtime's here by {parity.max_rel_diff:.2g} of "
                f"the largest, with {100 * parity.top1_agreement:.1f} % agreement on the {model.parity_inputs}: its "
                "times are of another computation",
            )


def tolerance(precision: str, runtime: str) -> Tolerance:
    """Return how far a device's outputs may be from those here: fp32 on a processor differs by rounding alone.

    Args:
        precision: of the numbers.
        runtime: that computes; a GPU has shorter numbers inside.
    """
    gpu = runtime.endswith("webgpu")
    return SAME_NUMBERS if precision == "fp32" and not gpu else TOLERANCES[precision]


def not_faster(result: BenchResult, source: str | None = None) -> Iterator[CodedWarning]:
    """Report a speedup whose confidence interval is not entirely above 1; ``source`` as for `warnings_for`."""
    speedup = result.speedup
    if speedup is None or speedup.low > 1.0:
        return
    if speedup.high < 1.0:
        what = f"the pruned model is slower ({speedup.value:.2f} times the baseline's speed)"
    else:
        what = f"no speedup is shown (the interval {speedup.low:.3f} to {speedup.high:.3f} contains 1)"
    device = result.device.name
    if source is None:
        remedy, for_device = "train-prune", f"--target latency=0.5 --target-device {device}"
    else:
        remedy, for_device = f"edgeprune prune {source}", f"--target latency=0.7 --device {device}"
    if device == BROWSER:  # which no network is pruned for
        for_device = "--align 8" if source is None else "--target flops=0.5 --align 8"
    yield (
        "not_faster",
        f"{what}; channel counts off the device's alignment are the usual cause, which {remedy} {for_device} avoids",
    )


def denormal(result: BenchResult) -> Iterator[CodedWarning]:
    """Report weights that processors multiply many times slower, where the two models have not as many."""
    counts = {name: model.denormal_weights or 0 for name, model in result.models.items()}
    most = max(counts, key=lambda name: counts[name])
    if counts[most] >= MANY_DENORMALS and min(counts.values()) < counts[most] / 2:
        yield (
            "denormal_weights",
            f"{counts[most]:,} weights of {most} are denormal (nearer to 0 than 1.2e-38), which many processors "
            "multiply several times slower: a part of the speedup may be theirs, not pruning's; set them to 0 to tell",
        )


def not_steady(result: BenchResult) -> Iterator[CodedWarning]:
    """Report a sustained measurement whose times still changed at its end."""
    course = result.sustained
    if course is not None and not course.steady:
        yield (
            "not_steady",
            f"times still changed after {course.seconds / 60:g} minutes of load: the numbers are of the last third; "
            "measure longer, or on a machine with nothing else to do",
        )


def slowed_down(result: BenchResult) -> Iterator[CodedWarning]:
    """Report how much slower the steady state is than the first minute."""
    course = result.sustained
    if course is None or max(course.slowdown.values()) <= 1 + SLOWER:
        return
    parts = [f"{name} {100 * (ratio - 1):.0f} %" for name, ratio in course.slowdown.items()]
    ranking = "; another model is the faster one then" if course.ranking_changed else ""
    yield (
        "slowed_down",
        f"under lasting load it is slower than in the first minute: {', '.join(parts)}{ranking}; "
        f"all numbers are of the time after {course.steady_from_s / 60:.1f} minutes of load",
    )


def not_cool(result: BenchResult) -> Iterator[CodedWarning]:
    """Report rounds that began before the machine had cooled down."""
    settings = result.settings
    if settings.warm_rounds:
        yield (
            "not_cool",
            f"{settings.warm_rounds} rounds began warmer than {settings.cool_to_c:g} C, after ten minutes of waiting",
        )


def machine_loaded(result: BenchResult) -> Iterator[CodedWarning]:
    """Report other work just before the start, by busy cores or else by the load average."""
    machine, threads = result.device.fingerprint, result.settings.threads
    load = machine["load_average"][0] if machine["load_average"] else None
    busy = machine["busy_cores"] if machine["busy_cores"] is not None else load
    if busy is not None and machine["cores_online"] - busy < FREE_SHARE * min(
        threads, machine["cores_online"]
    ):
        shown = "unknown" if load is None else f"{load:.1f}"
        yield (
            "machine_loaded",
            f"other programs kept {busy:.1f} of {machine['cores_online']} cores busy before the start "
            f"(load average {shown}); stop them and measure again",
        )


def too_many_threads(result: BenchResult) -> Iterator[CodedWarning]:
    """Report more threads than physical cores."""
    threads, cores = result.settings.threads, result.device.fingerprint["cores_physical"]
    if threads > cores:
        yield (
            "too_many_threads",
            f"{threads} threads on {cores} physical cores wait for each other; try --threads {cores}",
        )


def governor(result: BenchResult) -> Iterator[CodedWarning]:
    """Report a governor that scales the clock with the load, unless the clocks are fixed (jetson_clocks)."""
    governors = result.device.fingerprint["governors"]
    codes = [warning.code for warning in result.machine.warnings] if result.machine else []
    if governors and governors != ["performance"] and not clocks_held(result) and CLOCKS not in codes:
        yield (
            "governor",
            f"the frequency governor is {', '.join(governors)}, so the clock moves with the load; "
            "for steady numbers: sudo cpupower frequency-set -g performance",
        )


def clocks_held(result: BenchResult) -> bool:
    """Return whether the lowest clock of every processor equals its highest."""
    clocks = result.machine.before["cpu"]["clocks"] if result.machine else []
    held = [locked(cpu, "khz") for cpu in clocks]
    return bool(held) and all(held)


def machine_warnings(result: BenchResult) -> Iterator[CodedWarning]:
    """Forward what the runner's states before and after show: clocks, heat, throttling, counters, swap."""
    for warning in result.machine.warnings if result.machine else ():
        yield warning.code, warning.message


def engine_warnings(result: BenchResult) -> Iterator[CodedWarning]:
    """Forward the runtime's warnings about the engine of each model."""
    for name, model in result.models.items():
        for warning in model.engine_warnings:
            yield warning.code, f"{name}: {warning.message}"


def other_runtime(result: BenchResult) -> Iterator[CodedWarning]:
    """Report a measurement with another runtime than the profile's first."""
    settings = result.settings
    if settings.runtime_wished not in (None, settings.runtime):
        yield (
            "other_runtime",
            f"{settings.runtime_wished} is not on this device, so {settings.runtime} was measured "
            f"({settings.precision}): its numbers say nothing about {settings.runtime_wished}",
        )


def short_energy(result: BenchResult) -> Iterator[CodedWarning]:
    """Report an energy from too short a time, or with a gap in its readings."""
    for name, model in result.models.items():
        energy = model.energy
        if model.energy_mj_per_inference is None:
            continue
        if energy.window_s < SURE_WINDOW_S:
            yield (
                "short_energy",
                f"{name}: the energy is of {energy.window_s:.1f} s only; give --seconds {SURE_WINDOW_S:g} "
                "or more for a reliable one",
            )
        if energy.unit == "watts" and (energy.longest_gap_s or 0.0) > LONG_GAP_S:
            yield (
                "energy_gap",
                f"{name}: the power sensor said nothing for {energy.longest_gap_s:.1f} s; that gap was "
                "interpolated",
            )


def energy_unavailable(result: BenchResult) -> Iterator[CodedWarning]:
    """Report a missing energy with its reason: once, since the models share the sensor."""
    reasons = [model.energy_reason for model in result.models.values() if model.energy_reason]
    if reasons:
        yield "energy_unavailable", f"no energy: {reasons[0]}"


def accuracy_unavailable(result: BenchResult) -> Iterator[CodedWarning]:
    """Report an accuracy that was requested and could not be measured."""
    reasons = {
        name: model.accuracy_reason
        for name, model in result.models.items()
        if model.accuracy is None and not (model.accuracy_reason or "").startswith("not ")
    }
    if (
        len(reasons) == len(result.models) and len(set(reasons.values())) == 1
    ):  # one reason for all, said once
        yield "accuracy_unavailable", f"no accuracy: {reasons.popitem()[1]}"
        return
    for name, reason in reasons.items():
        yield "accuracy_unavailable", f"{name}: no accuracy: {reason}"
