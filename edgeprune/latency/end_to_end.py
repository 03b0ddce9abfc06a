"""Export a compacted model and measure it end to end beside the baseline, on the device."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import torch
from edgeprune_target.scratch import ScratchFolder
from torch import nn

from edgeprune.backends.base import MODELS
from edgeprune.backends.onnx import Onnx
from edgeprune.backends.onnx_export import export_model, export_quickly
from edgeprune.backends.onnx_int8 import OnnxInt8
from edgeprune.bench.compare import why_not_comparable
from edgeprune.bench.measuring import bench_models
from edgeprune.bench.options import BenchOptions, rounds_for
from edgeprune.errors import BenchError, ExportError
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.calibrate import Measured, MeasuredEnergy
from edgeprune.latency.model_files import job_of, write_model
from edgeprune.processes.distributed import world
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.bench import BenchResult, EnergySource, SpeedupRange
from edgeprune.rewrite.compaction import compact

SECONDS = 3.0  # of timed inference per model
ROUNDS = 8  # at least: many short rounds catch more of a co-tenant's pauses than a few long ones
GLANCE_SECONDS, GLANCE_ROUNDS = 0.6, 3  # of a plan that may be far from the target
ENERGY_ROUND_S = 2.0  # of a round at least where energy counts: sensors are read 10 to 50 times a second
SLOW_EXPORT_S = (
    5.0  # from here on a glance is at files that torch's older exporter writes in a tenth of the time
)
SURE = (
    0.06  # uncertainty of a speedup, see `EndToEndTimer.doubt`: above it, something disturbed the measurement
)
TRIES = 2  # of a plan; one that is measured again is measured once


@dataclass(frozen=True)
class Look:
    """How closely a plan is looked at, which an attempt far from the target is not worth.

    Attributes:
        is_far: whether a measurement shows that the plan is far from the target: more samples change nothing.
        is_missed: whether a measurement shows that the plan misses the target, however uncertain it is.
        left_s: returns the seconds that are left for planning; further tries must fit.
        report: called with (done, total, text) in rounds.
        glance: whether a few rounds come first.
    """

    is_far: Callable[["PairedTimes"], bool] = lambda times: False  # noqa: ARG005
    is_missed: Callable[["PairedTimes"], bool] = lambda times: False  # noqa: ARG005
    left_s: Callable[[], float] = lambda: math.inf
    report: ProgressCallback = no_progress
    glance: bool = True


class PairedTimes(NamedTuple):
    """One measurement: ms of both models, the speedup with its interval, their percentile, and whether at a glance.

    Likewise the mJ of both models and their ratio, which are not numbers where energy is not measured.
    """

    baseline_ms: float
    pruned_ms: float
    value: float
    low: float
    high: float
    percentile: float
    glance: float = False
    baseline_mj: float = math.nan
    pruned_mj: float = math.nan
    energy_value: float = math.nan
    energy_low: float = math.nan
    energy_high: float = math.nan

    @property
    def width(self) -> float:
        """The width of the interval, over the speedup; the larger of both where there are energies."""
        widths = [(self.high - self.low) / self.value]
        if not math.isnan(self.energy_value):
            widths.append((self.energy_high - self.energy_low) / self.energy_value)
        return max(widths)

    @property
    def measured(self) -> Measured:
        """The measurement as the calibration takes it."""
        speedup = self.value, self.low, self.high
        energy = None
        if not math.isnan(self.energy_value):
            ratio = self.energy_value, self.energy_low, self.energy_high
            energy = MeasuredEnergy(self.baseline_mj, self.pruned_mj, ratio)
        return Measured(
            self.baseline_ms, self.pruned_ms, speedup, int(self.percentile), bool(self.glance), energy
        )


@dataclass
class EndToEndTimer:
    """Measures plans of one baseline. Every process of a run gets the same numbers.

    Noisy co-tenants on a shared machine disturb medians; the 10th percentiles are more certain there, and the
    less uncertain of the two count. Co-tenants also slow networks down unequally (one of odd widths by 40 %
    while its baseline lost 11 %, on two cores), for minutes, so that the interval stays narrow. The baseline
    reveals it: it is the same network each time.

    Args:
        baseline: the unpruned model.
        shape: (C, H, W) of an image.
        bench_target: where to measure.
        seconds: of timed inference per model and plan.
        sure: a speedup that is more uncertain than this is measured again.
        tries: at most.
        fastest_ms: of the baseline by any percentile, over all measurements so far.
        export_s: what the export of the baseline took.
        energy_source: what energies count, the same in every measurement; None measures times alone.
    """

    baseline: nn.Module
    shape: tuple[int, ...]
    bench_target: BenchTarget
    seconds: float = SECONDS
    sure: float = SURE
    tries: int = TRIES
    fastest_ms: float = math.inf
    export_s: float = 0.0
    energy_source: EnergySource | None = None
    _folder: ScratchFolder = field(default_factory=ScratchFolder, repr=False)

    @property
    def baseline_file(self) -> Path:
        """The unpruned model's file; written on first access."""
        path = self.path("baseline")
        if not path.exists():
            began = time.monotonic()
            self.written("baseline", self.baseline)
            self.export_s = time.monotonic() - began
        return path

    @property
    def onnx_file(self) -> Path:
        """The unpruned model in float32 ONNX, from which its layers are read; written on first access."""
        path = self.baseline_file.with_name(Onnx().file_name("baseline"))
        if not path.exists():
            export_model(self.baseline, self.shape, path, batch=self.bench_target.batch)
        return path

    @property
    def _is_onnx(self) -> bool:
        return self.bench_target.backend.name == Onnx.name

    def path(self, name: str) -> Path:
        """Return the place of a model's file."""
        return Path(self._folder.name) / self.bench_target.backend.file_name(name)

    def written(self, name: str, model: nn.Module, precisions: Mapping[str, str] | None = None) -> Path:
        """Export a model to what the device's runtime loads; return the file.

        Args:
            name: of the file.
            model: that is exported.
            precisions: layer -> precision, of a file of ONNX Runtime that has several; None for the target's own.
        """
        where = self.bench_target
        job = job_of(model, name, self.shape, Path(self._folder.name), where.batch)
        if precisions is None:
            return write_model(where.backend, job, where.batch)
        return write_model(OnnxInt8(), replace(job, precisions=precisions), where.batch)

    def measure(self, graph: Graph, plan: Plan, look: Look | None = None) -> Measured:
        """Prune and export, and time both models in turn.

        Args:
            graph: of the baseline.
            plan: for it.
            look: how closely; None for as closely as it takes.

        Raises:
            ExportError, BenchError: it cannot be exported, or the runner failed.
        """
        device = "cuda" if torch.cuda.is_available() else "cpu"
        values = torch.zeros(len(PairedTimes._fields), dtype=torch.float64, device=device)
        if world().is_main:
            model = compact(graph, plan).model
            values.copy_(torch.tensor(self.times(model, look, plan.precisions), dtype=torch.float64))
        return PairedTimes(*world().broadcast(values).tolist()).measured

    def times(
        self, pruned: nn.Module, look: Look | None = None, precisions: Mapping[str, str] | None = None
    ) -> PairedTimes:
        """Return the least uncertain of a few measurements of an exported model and the baseline.

        One is enough where it is certain, or misses the target for certain; where co-tenants disturbed it, the
        measurement is repeated, while there is time. What a glance shows to be far from the target is not measured
        further.

        Args:
            pruned: the compacted model.
            look: how closely; None for as closely as it takes.
            precisions: layer -> precision of the compacted model; None for the target's own.
        """
        if look is not None and look.glance:
            glance = self._glance(pruned, look, precisions)
            if look.is_far(glance) or look.left_s() <= 0:
                return glance
        look, path = look or Look(), self.written("pruned", pruned, precisions)
        candidates: list[PairedTimes] = []
        for _ in range(self.tries if look.glance else 1):
            candidates += self._tried(path, self.seconds, max(ROUNDS, rounds_for(self.seconds)), look)
            best = min(candidates, key=self.doubt)
            if self.doubt(best) <= self.sure or look.is_missed(best) or look.left_s() <= 0:
                break
        return best

    def _glance(
        self, pruned: nn.Module, look: Look, precisions: Mapping[str, str] | None = None
    ) -> PairedTimes:
        """Return what a few rounds show; of both models exported in haste, where the export takes long."""
        try:
            if self._is_onnx and precisions is None and self.export_s > SLOW_EXPORT_S:
                files = self._hasty("baseline", self.baseline), self._hasty("pruned", pruned)
            else:
                files = self.baseline_file, self.written("pruned", pruned, precisions)
        except ExportError:  # not every model can be written in haste
            files = self.baseline_file, self.written("pruned", pruned, precisions)
        both = self._times(files[1], GLANCE_SECONDS, GLANCE_ROUNDS, look.report, files[0])
        return min(both, key=lambda times: times.width)._replace(glance=True)

    def _hasty(self, name: str, model: nn.Module) -> Path:
        """Write a model by torch's older exporter, the baseline once."""
        path = Path(self._folder.name) / f"{name}-in-haste.onnx"
        if name == "pruned" or not path.exists():
            export_quickly(model, self.shape, path, batch=self.bench_target.batch)
        return path

    def _tried(self, path: Path, seconds: float, rounds: int, look: Look) -> list[PairedTimes]:
        """Measure both models once, and remember how fast the baseline was."""
        both = self._times(path, seconds, rounds, look.report, self.baseline_file)
        for times in both:
            self.seen(times)
        return both

    def seen(self, times: PairedTimes) -> None:
        """Remember how fast the baseline can be."""
        self.fastest_ms = min(self.fastest_ms, times.baseline_ms)

    def doubt(self, times: PairedTimes) -> float:
        """Return the relative width of a speedup's interval plus the relative slowdown of the baseline.

        Neither depends on the speedup itself.
        """
        return times.width + times.baseline_ms / min(self.fastest_ms, times.baseline_ms) - 1

    def _times(
        self, pruned: Path, seconds: float, rounds: int, report: ProgressCallback, baseline: Path
    ) -> list[PairedTimes]:
        """Measure both models once; return the times by medians and, where there are any, by 10th percentiles."""
        where = self.bench_target
        if self.energy_source is not None:
            seconds = max(seconds, rounds * ENERGY_ROUND_S)
        options = BenchOptions(
            where.device, batch=where.batch, threads=where.threads, seconds=seconds, host=where.host, rounds=rounds
        )  # fmt: skip
        files = {"baseline": baseline, "pruned": pruned}
        result = bench_models(files, options=options, transport=where.transport, progress=report)
        both = [times_of(result, 50, result.speedup)]
        if result.speedup_undisturbed is not None:  # a phone's program may give no single times
            both.append(times_of(result, 10, result.speedup_undisturbed))
        if self.energy_source is None:
            return both
        return [with_energy(times, result, self.energy_source) for times in both]


def times_of(result: BenchResult, percentile: int, interval: SpeedupRange | None) -> PairedTimes:
    """Return the times of a measurement at one percentile.

    Args:
        result: of `bench_models`.
        percentile: 50 or 10.
        interval: the matching speedup of ``result``.
    """
    baseline, pruned = (getattr(result.models[name].latency_ms, f"p{percentile}") for name in MODELS)
    assert interval is not None
    return PairedTimes(baseline, pruned, interval.value, interval.low, interval.high, percentile)


def with_energy(times: PairedTimes, result: BenchResult, source: EnergySource) -> PairedTimes:
    """Return the times of a measurement with its energies.

    Args:
        times: of the measurement.
        result: of `bench_models`.
        source: what its energies must count.

    Raises:
        BenchError: the sensor gave none, or counts something else than before.
    """
    baseline, pruned = (result.models[name] for name in MODELS)
    for model in (baseline, pruned):
        reason = model.energy_reason
        if model.energy_mj_per_inference is not None:
            reason = why_not_comparable(source, model.energy)
        if reason is not None:
            raise BenchError(
                f"the energy target cannot be measured any more: {reason}; go on from here with --resume"
            )
    ratio = result.energy_ratio
    assert ratio is not None and baseline.energy_mj_per_inference and pruned.energy_mj_per_inference
    return times._replace(
        baseline_mj=baseline.energy_mj_per_inference, pruned_mj=pruned.energy_mj_per_inference,
        energy_value=ratio.value, energy_low=ratio.low, energy_high=ratio.high,
    )  # fmt: skip
