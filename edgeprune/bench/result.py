"""Turn the runner's rounds into the record that people and the report read."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgeprune_target.machine_warnings import machine_warnings
from msgspec.structs import replace

from edgeprune.backends.base import MODELS
from edgeprune.bench import stats
from edgeprune.bench.compare import why_not_comparable
from edgeprune.bench.copies import stored_bytes
from edgeprune.bench.options import BenchOptions
from edgeprune.files.reading import sha256
from edgeprune.records.bench import (
    BenchResult,
    EnergySource,
    MachineReport,
    MeasuredDevice,
    MeasuredModel,
    Settings,
    SpeedupRange,
    WarningRecord,
)

MIN_WINDOW_S = 1.0  # below it, the energy of a piece of work drowns in that of everything around
MIN_POWER_SAMPLES = 20  # fewer readings of power miss its ups and downs; a counter of joules misses nothing


def empty_result(
    options: BenchOptions, fingerprint: Mapping[str, Any], threads: int, wished: str | None = None
) -> BenchResult:
    """Return the result before the first round; ``complete`` becomes true after the last stage.

    Args:
        options: of the measurement.
        fingerprint: of the machine, as the runner's ``probe`` gives it.
        threads: of the runtime.
        wished: the runtime that its profile prefers; None for the one that measures.
    """
    device = options.device
    return BenchResult(
        complete=False,
        edgeprune_version=version("edgeprune"),
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        device=MeasuredDevice(
            name=device.name,
            title=": ".join(filter(None, (device.title, fingerprint.get("title")))),
            host=options.host,
            assumed=device.assumed,
            fingerprint=fingerprint,
        ),
        settings=Settings(
            runtime=device.runtime,
            runtime_wished=wished or device.runtime,
            precision=device.precision,
            batch=options.batch,
            threads=threads,
            seconds=options.model_seconds,
            cool_to_c=options.cool_to,
            rounds=options.round_count,
            round_seconds=options.round_seconds,
            order=f"AB BA, {fingerprint.get('round_is', 'a fresh process')} per round",
        ),
        models={},
        speedup=None,
        warnings=(),
    )


def model_report(path: Path, rounds: Sequence[dict[str, Any]], batch: int) -> MeasuredModel:
    """Summarise the rounds of one model.

    ``memory_peak_bytes`` is the highest of all rounds, above the process before it loaded the model. Energy
    is per inference, that is per call with ``batch`` images.

    Args:
        path: of the model file.
        rounds: the runner's answers, in order.
        batch: images per inference.
    """
    samples = [reply["samples_ns"] for reply in rounds]
    summaries = [reply["summary"] for reply in rounds if reply.get("summary")]
    return MeasuredModel(
        file=str(path),
        sha256=sha256(path),
        size_bytes=stored_bytes(path),
        versions=rounds[0]["versions"],
        latency_ms=stats.summed_latency_ms(samples, summaries) if summaries else stats.latency_ms(samples),
        throughput_ips=stats.summed_throughput_ips(summaries, batch)
        if summaries
        else stats.throughput_ips(samples, batch),
        round_spread=stats.round_spread(samples),
        load_ms=tuple(reply["load_ns"] / stats.NS_PER_MS for reply in rounds if reply["load_ns"] is not None),
        first_ms=tuple(reply["first_ns"] / stats.NS_PER_MS for reply in rounds if reply.get("first_ns")),
        runs_per_sample=max(reply.get("runs_per_sample", 1) for reply in rounds),
        **memory(rounds),
        **energy(rounds),
        **engine(rounds),
        accuracy_reason="not measured yet",
        samples_ns=tuple(samples),
    )


def memory(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the highest peak among the rounds that measured one, else None and the reason."""
    peaks = [reply["memory_peak_bytes"] for reply in rounds if reply["memory_peak_bytes"] is not None]
    loaded = [bytes_ for reply in rounds if (bytes_ := reply.get("memory_loaded_bytes")) is not None]
    return {
        "memory_peak_bytes": max(peaks) if peaks else None,
        "memory_loaded_bytes": max(loaded) if peaks and loaded else None,
        "memory_reason": None if peaks else rounds[0]["memory_reason"],
    }


def energy(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the energy per inference over all rounds, gross and net of idle, mJ; or None and the reason."""
    parts = [reply["energy"] for reply in rounds]
    reason = why_no_energy(parts)
    runs = sum(map(window_runs, rounds))
    has_net = reason is None and all(part["net_j"] is not None for part in parts)
    span_s = sum(part["window_s"] for part in parts)
    samples = sum(part["samples"] for part in parts)
    return {
        "energy_mj_per_inference": 1000 * sum(part["gross_j"] for part in parts) / runs
        if reason is None
        else None,
        "energy_net_mj_per_inference": 1000 * sum(part["net_j"] for part in parts) / runs
        if has_net
        else None,
        "energy_reason": reason,
        "energy": EnergySource(
            sensor=parts[0]["sensor"],
            total_kind=parts[0]["total_kind"],
            total_rails=tuple(parts[0]["total_rails"]),
            unit=parts[0]["unit"],
            rails_mj_per_inference=rails_mj(parts, runs),
            samples=samples,
            failed_reads=sum(part["failed_reads"] for part in parts),
            longest_gap_s=max((part["longest_gap_s"] or 0.0 for part in parts), default=0.0) or None,
            rate_hz=samples / span_s if span_s > 0 and reason is None else None,
            window_s=span_s,
            idle_w=tuple(part["idle_w"] for part in parts),
        ),
    }


def engine(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what a runtime on a GPU reports beside the samples; None for what it does not report.

    ``gpu_latency_ms`` is the time on the GPU alone, without transfers; ``enqueue_ms`` the time to launch an
    inference. Each is from a pass of its own, or from trtexec's events.
    """
    gpu = [reply["gpu_ns"] for reply in rounds if reply.get("gpu_ns")]
    enqueue = [reply["enqueue_ns"] for reply in rounds if reply.get("enqueue_ns")]
    warnings = {
        warning["code"]: WarningRecord(warning["code"], warning["message"])
        for reply in rounds
        for warning in reply.get("engine_warnings", [])
    }
    return {
        "engine": rounds[-1].get("engine"),
        "gpu_latency_ms": stats.latency_ms(gpu) if gpu else None,
        "enqueue_ms": stats.latency_ms(enqueue) if enqueue else None,
        "device_memory": rounds[-1].get("device_memory"),
        "engine_warnings": tuple(warnings.values()),
    }


def rails_mj(parts: Sequence[dict[str, Any]], runs: int) -> dict[str, float]:
    """Return the gross energy per inference, mJ, of every rail that all rounds have, in the total or not."""
    rails = [rail for rail in parts[0]["rails_j"] if all(rail in part["rails_j"] for part in parts)]
    return {rail: 1000 * sum(part["rails_j"][rail] for part in parts) / runs for rail in rails}


def why_no_energy(parts: Sequence[dict[str, Any]]) -> str | None:
    """Return the reason why the readings give no energy, else None."""
    for part in parts:
        if part["gross_j"] is None:
            return str(part["reason"])
        if part["gross_j"] <= 0:
            return f"the sensor {part['sensor']} gave {part['gross_j']:g} J, which cannot be: measure again"
        mixed = why_not_comparable(_source(parts[0]), _source(part))
        if mixed:
            return f"the rounds were not measured alike: {mixed}"
    span_s, samples = sum(part["window_s"] for part in parts), sum(part["samples"] for part in parts)
    if span_s < MIN_WINDOW_S:
        return f"measured for {span_s:.2f} s, too short for energy: give --seconds {MIN_WINDOW_S:g} or more"
    if parts[0]["unit"] == "watts" and samples < MIN_POWER_SAMPLES:
        return f"only {samples} power readings, {MIN_POWER_SAMPLES} are needed: measure longer with --seconds"
    return None


def _source(part: dict[str, Any]) -> EnergySource:
    return EnergySource(total_kind=part["total_kind"], total_rails=tuple(part["total_rails"]))


def machine_report(rounds: Sequence[dict[str, Any]]) -> MachineReport:
    """Report the machine before the first round and after the last, what was observed, and warnings.

    ``rounds`` are those of all models. A measurement that was resumed has several segments, between which the
    machine may have cooled down or been restarted: the report is of the last segment, the warnings are of
    all.
    """
    segments: dict[int, list[dict[str, Any]]] = {}
    for reply in rounds:
        segments.setdefault(reply.get("stretch", 0), []).append(reply)
    reports = [segment_report(segments[number]) for number in sorted(segments)]
    warnings = {warning.code: warning for report in reports for warning in report.warnings}
    return replace(reports[-1], warnings=tuple(warnings.values()))


def segment_report(rounds: Sequence[dict[str, Any]]) -> MachineReport:
    """Report the machine for rounds that followed each other.

    They are sorted in the order in which they were measured; samples of different rounds are kept apart, and
    readings of the GPU's clock are concatenated.
    """
    ordered = sorted(rounds, key=lambda reply: reply["before"]["monotonic_s"])
    before, after = ordered[0]["before"], ordered[-1]["after"]
    warmest: dict[str, float] = {}
    for reply in ordered:
        for zone, degrees in reply["watched"]["warmest_c"].items():
            warmest[zone] = max(degrees, warmest.get(zone, degrees))
    gpu_hz = [hertz for reply in ordered for hertz in reply["watched"]["gpu_hz"]]
    watched = {"gpu_hz": gpu_hz, "warmest_c": warmest, "period_s": ordered[0]["watched"]["period_s"]}
    samples = [reply.get("gpu_ns") or reply["samples_ns"] for reply in ordered]
    uses_gpu = any(reply["uses_gpu"] for reply in ordered)
    warnings = machine_warnings(before, after, watched, samples, uses_gpu)
    return MachineReport(before, after, watched, tuple(map(WarningRecord.from_dict, warnings)))


def energy_ratio_report(
    models: Mapping[str, MeasuredModel], rounds: Mapping[str, Sequence[dict[str, Any]]]
) -> SpeedupRange | None:
    """Return the paired ratio of energies per inference; None for a model alone, or where one has no energy.

    Args:
        models: with their energies, which are None where they cannot be compared.
        rounds: name -> the runner's answers, in order.
    """
    if len(models) < len(MODELS) or any(models[name].energy_mj_per_inference is None for name in MODELS):
        return None
    return stats.energy_ratio(*([inference_mj(reply) for reply in rounds[name]] for name in MODELS))


def inference_mj(reply: Mapping[str, Any]) -> float:
    """Return the gross energy per inference of a round whose energy is known, mJ."""
    return float(1000 * reply["energy"]["gross_j"] / window_runs(reply))


def window_runs(reply: Mapping[str, Any]) -> int:
    """Return the inferences in the window of a round."""
    return int(reply.get("window_runs") or len(reply["samples_ns"]))


def speedup_report(models: Mapping[str, MeasuredModel]) -> dict[str, SpeedupRange | None]:
    """Return the paired speedup of ``pruned`` over ``baseline``, and the undisturbed one; None for a model alone."""
    if len(models) < len(MODELS):
        return {"speedup": None, "speedup_undisturbed": None}
    samples = [models[name].samples_ns for name in MODELS]
    speedup = stats.speedup(*samples)
    if reason := models[MODELS[0]].latency_ms.reason:  # the rounds are one value each
        return {
            "speedup": replace(speedup, method=f"{speedup.method}; {reason}"),
            "speedup_undisturbed": None,
        }
    return {"speedup": speedup, "speedup_undisturbed": stats.undisturbed_speedup(*samples)}
