"""Targets of a device for a finished network: a table of its layers there, and smaller ones measured beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeprune.bench.hosts import Host
from edgeprune.budget import Budget, parse_targets
from edgeprune.graph.classes import Graph
from edgeprune.latency import BenchTarget, build_table
from edgeprune.latency.budget import budget_on
from edgeprune.latency.end_to_end import EndToEndTimer
from edgeprune.latency.energy import ENERGY_PLAN_SECONDS, EnergyOn, energy_on, need_energy, unpruned_power
from edgeprune.latency.estimator import LatencyEstimator
from edgeprune.latency.planning import PLAN_SECONDS, PlanningClock
from edgeprune.latency.shapes import Model, read_model
from edgeprune.post_training.options import PruneOptions
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.pruning import FileTimes
from edgeprune.records.trust import check_host


def reach(options: PruneOptions, where: Path) -> BenchTarget:
    """Connect to the device that a network is pruned for.

    Args:
        options: name it.
        where: what holds them, for messages.

    Raises:
        BenchError: it cannot be reached. LatencyError: layers cannot be timed there. RunError: its host is not trusted.
    """
    host = None
    if options.host is not None:
        check_host(options.host, where)
        host = Host(**{**options.host, "ssh_options": tuple(options.host["ssh_options"])})
    return BenchTarget.reach(
        options.target_device, host, runtime=options.target_runtime, precision=options.target_precision,
        batch=options.target_batch or 1, threads=options.target_threads, assume_device=options.assume_device,
    )  # fmt: skip


class DeviceLatency:
    """Plans widths of a network for a device, and measures smaller ones beside it.

    Args:
        graph: of the network.
        target: the device.
        timer: writes and measures networks.
        options: of the run.
        progress: called with (done, total, text) while layers are timed, and before each measurement.
        named: gives the layers of the timer's file the names of the graph's.
    """

    def __init__(
        self,
        graph: Graph,
        target: BenchTarget,
        timer: EndToEndTimer,
        options: PruneOptions,
        progress: ProgressCallback = no_progress,
        named: Callable[[Model], Model] = lambda model: model,
    ) -> None:
        self._graph, self._target, self._timer, self._named = graph, target, timer, named
        self._options, self._progress = options, progress
        self._estimator: LatencyEstimator | None = None
        self._energy: EnergyOn | None = None

    def budget(self, target: str, *, measured: bool = True) -> Budget:
        """Return the budget of a target on the device, by the table of the layers, which is built once.

        Args:
            target: such as latency=0.7.
            measured: whether the final plan is measured, and corrected until it meets the target.

        Raises:
            TargetError: the network meets the target already.
            LatencyError: the table is of another device, or no layer can be timed, or no power sensor answers.
            BenchError: the runner failed.
        """
        targets = parse_targets(target)
        energy = self._energy_on() if need_energy(targets) else None
        usual_s = ENERGY_PLAN_SECONDS if need_energy(targets) else PLAN_SECONDS
        return budget_on(
            targets,
            self.estimator,
            energy=energy,
            measure=self._timer.measure if measured else None,
            align=self._options.align,
            floor=self._options.floor,
            blocks=False,  # nothing is trained that could make up for a block
            clock=PlanningClock(self._options.plan_seconds or usual_s, self._progress),
        )

    def _energy_on(self) -> EnergyOn:
        """Return the energy of plans on the device; what is missing is measured once."""
        if self._energy is None:
            unpruned = unpruned_power(
                self._timer, self._progress
            )  # first: a device without a sensor is known soon
            lut = None if self._options.lut is None else Path(self._options.lut)
            self._energy = energy_on(unpruned, self._timer, self.estimator, lut, self._progress)
        return self._energy

    @property
    def estimator(self) -> LatencyEstimator:
        """What predicts latencies; layers that the table does not know are timed first."""
        if self._estimator is None:
            file = self._timer.onnx_file
            lut = None if self._options.lut is None else Path(self._options.lut)
            table = build_table(
                file,
                self._target,
                lut,
                measured_file=lambda: self._timer.baseline_file,
                progress=self._timing,
            )
            layers = self._named(read_model(file, self._target.batch))
            self._estimator = LatencyEstimator(self._graph, layers, table)
        return self._estimator

    def _timing(self, done: float, total: float, text: str) -> None:
        self._progress(done, total, f"times of layers: {text}")

    def measure(self, smaller: Any) -> FileTimes:
        """Measure a smaller network beside the original, and return the latencies with their conditions.

        Args:
            smaller: as the timer takes it.
        """
        self._progress(0, 1, "measuring the smaller network beside the original")
        conditions = dict(self._target.conditions)
        if self._energy is not None:
            conditions |= self._energy.conditions
        return FileTimes(**self._timer.times(smaller).measured.record(), conditions=conditions)
