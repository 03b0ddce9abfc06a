"""Sections about files: what was exported, and what was measured of it on devices."""

from collections.abc import Mapping, Sequence
from statistics import quantiles

from edgeprune.backends.record import ExportRecord
from edgeprune.records.bench import (
    BenchResult,
    LayerTime,
    LayerTimes,
    MeasuredModel,
    SustainedReport,
    WarningRecord,
)
from edgeprune.report.blocks import Block, Figure, Folded, Remark, Section, Table
from edgeprune.report.charts import (
    Band,
    Series,
    Spread,
    histogram,
    line_chart,
    pair_bars,
    rounds_chart,
)
from edgeprune.report.estimates import Estimate, estimate_chart, estimate_text, told_moved
from edgeprune.reporting.course import course_table
from edgeprune.reporting.rows import bench_rows, percent, speedup_lines
from edgeprune.tasks import Metric

NOTHING = "nothing: "
# What a warning puts in doubt. A code that is not listed puts the measurement in doubt as it says.
IN_DOUBT = {
    "device_assumed": "everything: it was another device",
    "resumed": "latency and energy, not the speedup",
    "rounds_discarded": "nothing: they were measured again",
    "paused": "throughput and means",
    "file_replaced": "which file the numbers are of",
    "noisy": "latency, and how certain the speedup is",
    "undisturbed": "nothing: it is the more certain of two estimates",
    "not_steady": "latency and the speedup over longer times",
    "slowed_down": "nothing: the numbers are of the steady state",
    "not_cool": "latency of the rounds that began warm",
    "few_samples": "p99",
    "few_images": "scores, by how few the images are",
    "coarse_clock": "p90 and p99",
    "one_thread": "how fast the device is with more threads",
    "disagreeing": "everything: it was another computation",
    "not_faster": "nothing: this is the result",
    "denormal_weights": "how much of the speedup is pruning's",
    "machine_loaded": "latency, and how certain the speedup is",
    "too_many_threads": "latency",
    "governor": "latency",
    "clocks_not_locked": "latency and energy",
    "power_mode": "latency and energy",
    "gpu_below_max": "latency",
    "gpu_throttled": "latency and energy",
    "unstable": "latency",
    "enqueue_bound": "the speedup: the processor, not the GPU, was the limit",
    "hot": "latency over longer times",
    "throttled": "latency and energy",
    "over_current": "latency and energy",
    "current_alarm": "latency and energy",
    "warming_up": "latency over longer times",
    "swap": "latency and memory",
    "no_cuda_graph": "latency",
    "no_delegate": "latency: it is of slow kernels",
    "not_the_weights": "latency, where it depends on numbers",
    "in_half": "latency: it is fp16's, where the processor has that",
    "slow_precision": "latency in this precision",
    "other_runtime": "anything about the runtime that was asked for",
    "energy_unavailable": "nothing else: energy is missing",
    "short_energy": "energy",
    "energy_gap": "energy",
    "accuracy_unavailable": "nothing else: accuracy is missing",
}
SHOWN_LAYERS = 40


def measured_sections(results: Sequence[BenchResult], metric: Metric) -> list[Section]:
    """Return a section for each measurement, after one that compares them.

    Args:
        results: of `edgeprune bench`, one for each device.
        metric: of the task.
    """
    sections = [] if not results else [speedups(results, metric)]
    return sections + [measurement(result) for result in results]


def score(result: BenchResult, name: str, metric: Metric) -> float | None:
    """Return what a model's file scored on the device; None where it was not scored.

    Args:
        result: of `edgeprune bench`.
        name: of the model.
        metric: of the task.
    """
    return result.models[name].score(metric.name)


def speedups(results: Sequence[BenchResult], metric: Metric) -> Section:
    """Return accuracy against measured speedup, one point for each device."""
    estimates, baselines, texts, missing = [], [], [], []
    for result in results:
        before, after = (score(result, name, metric) for name in ("baseline", "pruned"))
        speedup = result.speedup
        if speedup is None:
            continue
        if before is None or after is None:
            missing.append(f"{device_of(result)}: the files were not scored there, so it has no point.")
            continue
        name, height = device_of(result), metric.shown(after)
        estimates.append(Estimate(name, speedup.value, speedup.low, speedup.high, height, "pruned"))
        baselines.append(metric.shown(before))
        scores = f"{metric.title} {metric.text(after)}, baseline {metric.text(before)}"
        texts.append(f"{estimate_text(estimates[-1])}; {scores}")
    blocks: list[Block] = []
    if estimates:
        title = f"{metric.title}{f', {metric.unit}' if metric.unit else ''}"
        chart = estimate_chart(
            estimates,
            title=f"{metric.title} against speedup",
            x_title="measured speedup",
            y_title=title,
            baselines=baselines,
        )
        confidences = [result.speedup.confidence for result in results if result.speedup]
        confidence = f"{100 * confidences[0]:.0f} %"
        caption = (
            f"Of the files, on the test images, against the measured speedup with its {confidence} interval."
        )
        legend = (("baseline", "baseline, at 1"), ("pruned", "pruned"))
        blocks.append(Figure(chart, told_moved(chart, caption), legend, texts))
    return Section("Speedup", [*blocks, *[Remark(text, "note") for text in missing]])


def device_of(result: BenchResult) -> str:
    """Return the device and the runtime of a measurement, for people."""
    return f"{_board_of(result)}, {result.settings.runtime} {result.settings.precision}"


def devices_of(results: Sequence[BenchResult]) -> str:
    """Return the devices of some measurements with what ran there: 'cpu (onnxruntime, fp32 and int8), phone (...)'."""
    devices: dict[str, dict[str, list[str]]] = {}
    for result in results:
        runtimes = devices.setdefault(_board_of(result), {})
        runtimes.setdefault(result.settings.runtime, []).append(result.settings.precision)
    return ", ".join(
        f"{name} ({'; '.join(f'{runtime}, {_listed(sorted({*of}))}' for runtime, of in runtimes.items())})"
        for name, runtimes in devices.items()
    )


def _board_of(result: BenchResult) -> str:
    device = result.device  # several boards of a kind may have been measured
    return f"{device.name} at {device.host}" if device.host else device.name


def _listed(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def measurement(result: BenchResult) -> Section:
    """Return one measurement: numbers, rounds, distribution, layers, energy, warnings."""
    settings, device = result.settings, result.device
    processor = device.fingerprint.get("cpu_model")
    machine = f"{device.title} ({processor})" if processor else device.title
    how = (
        f"{machine}, {settings.runtime} {settings.precision}, batch {settings.batch}, "
        f"{settings.threads} threads, {settings.seconds:g} s for each model in alternating rounds."
    )
    rows = [(row.what, row.baseline, row.pruned, row.change) for row in bench_rows(result)]
    blocks: list[Block] = [Remark(how), *[Remark(line, label="Result") for line in speedup_lines(result)]]
    blocks.append(Table(("", "baseline", "pruned", "change"), rows))
    blocks += _warnings(result.warnings)
    blocks += _course(result.sustained)
    blocks += _latency(result.models)
    blocks += _layers(result.layers)
    blocks += _energy(result.models)
    return Section(f"On {device_of(result)}", blocks)


def _warnings(warnings: Sequence[WarningRecord]) -> list[Block]:
    blocks: list[Block] = []
    for warning in warnings:
        doubt = IN_DOUBT.get(warning.code)
        text = warning.message
        if doubt and doubt.startswith(NOTHING):
            text += f". This puts no number in doubt: {doubt.removeprefix(NOTHING)}."
        elif doubt:
            text += f". In doubt: {doubt}."
        blocks.append(Remark(text, "warning", warning.code))
    return blocks


def _latency(models: Mapping[str, MeasuredModel]) -> list[Block]:
    """Return the rounds and the distribution of single inferences."""
    samples = {name: model.samples_ns for name, model in models.items()}
    if not all(any(rounds) for rounds in samples.values()):
        return []
    legend = [(name, name) for name in models]
    spreads = {name: [_spread(times) for times in rounds if times] for name, rounds in samples.items()}
    flat = {name: [time / 1e6 for times in rounds for time in times] for name, rounds in samples.items()}
    return [
        Figure(
            rounds_chart(spreads, title="Latency in each round", y_title="latency, ms"),
            "Latency in each round: the median, and from the 10th to the 90th percentile. Both models take turns.",
            legend,
        ),
        Figure(
            histogram(flat, title="Distribution of latency", x_title="latency, ms"),
            "All inferences: how often each latency occurred; the slowest percent is left out.",
            legend,
        ),
    ]


def _course(course: SustainedReport | None) -> list[Block]:
    """Return how times and temperature went under lasting load, minute by minute."""
    if course is None:
        return []
    names = list(course.minutes[0].models)
    numbers = [minute.minute + 0.5 for minute in course.minutes]
    until, end = course.steady_from_s / 60, course.minutes[-1].minute + 1
    bands = [Band("before", 0, until)] if until else []
    bands.append(Band("steady" if course.steady else "last third", until, end))
    times = [
        Series(name, [(at, m.models[name].p50) for at, m in zip(numbers, course.minutes, strict=True)], name)
        for name in names
    ]
    figures: list[Block] = [
        Figure(
            line_chart(
                times,
                title="Latency minute by minute",
                x_title="minutes of load",
                y_title="p50, ms",
                bands=bands,
            ),
            "Median latency in each minute of load, both models in turn.",
            [(name, name) for name in names],
        )
    ]
    degrees = [
        (at, m.warmest_c) for at, m in zip(numbers, course.minutes, strict=True) if m.warmest_c is not None
    ]
    if degrees:
        warmest = Series("warmest zone", degrees, "baseline")
        chart = line_chart(
            [warmest], title="Temperature minute by minute", x_title="minutes of load", y_title="degrees C"
        )
        figures.append(Figure(chart, "The warmest zone of the machine in each minute of load."))
    heads, rows = course_table(course)
    return [*figures, Folded("Minute by minute", Table([head for head, _ in heads], rows))]


def _spread(times_ns: Sequence[float]) -> Spread:
    times = [time / 1e6 for time in times_ns]
    if len(times) == 1:
        return Spread(times[0], times[0], times[0])
    tenths = quantiles(times, n=10, method="inclusive")
    return Spread(tenths[0], tenths[4], tenths[8])


def _layers(layers: LayerTimes | None) -> list[Block]:
    """Return the times of single layers, the slowest first, where they were measured."""
    if not layers or not layers.rows:
        return []
    rows = [
        (
            " + ".join(row.onnx) or "(runtime)",
            _ms(row.baseline),
            _ms(row.pruned),
            row.verdict,
        )
        for row in layers.rows
    ]
    slowest = sorted(rows, key=lambda row: -(row[1] or row[2] or 0.0))[:SHOWN_LAYERS]
    chart = pair_bars([row[:3] for row in slowest], title="Time of each layer", unit="ms")
    note = layers.note
    caption = f"Time of each layer, the slowest {len(slowest)} of {len(rows)}. {note[:1].upper()}{note[1:]}."
    table = Table(
        ("layer", "baseline, ms", "pruned, ms", "verdict"),
        [(n, _number(a), _number(b), v) for n, a, b, v in rows],
    )
    legend = (("baseline", "baseline"), ("pruned", "pruned"))
    return [Figure(chart, caption, legend), Folded("All layers, in the order of running", table)]


def _ms(side: LayerTime | None) -> float | None:
    return None if side is None else side.ms


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _energy(models: Mapping[str, MeasuredModel]) -> list[Block]:
    """Return the energy by rail, where a sensor was read."""
    rails = {name: model.energy.rails_mj_per_inference for name, model in models.items()}
    names = list(dict.fromkeys(rail for values in rails.values() for rail in values))
    if not names:
        return []
    both = ("baseline", "pruned")
    before, after = (rails.get(name, {}) for name in both)
    rows = [(rail, before.get(rail), after.get(rail)) for rail in names]
    chart = pair_bars(rows, title="Energy by rail", unit="mJ per inference")
    return [
        Figure(chart, "Energy per inference on each rail of the sensor.", [(name, name) for name in both])
    ]


def exported(record: ExportRecord | None) -> Section:
    """Return what was exported, how far it is from torch, and what was skipped."""
    if record is None:
        return Section("Files")
    rows, skipped = [], []
    for artifact in record.artifacts:
        parity = artifact.parity
        rows.append(
            (
                artifact.file or f"{artifact.backend} of {artifact.model}",
                artifact.precision,
                "-" if artifact.size_bytes is None else f"{artifact.size_bytes / 1e3:,.0f} kB",
                "-" if parity is None else f"{parity.max_rel_diff:.1e}",
                "-" if parity is None else percent(parity.top1_agreement, 1),
            )
        )
        if artifact.skipped_because:
            skipped.append(f"{artifact.backend} of {artifact.model} was skipped: {artifact.skipped_because}")
    table = Table(
        ("file", "precision", "size", "largest difference from torch, of the largest logit", "same class"),
        rows,
    )
    return Section("Files", [table, *[Remark(text, "note") for text in dict.fromkeys(skipped)]])
