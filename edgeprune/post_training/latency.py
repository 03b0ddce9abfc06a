"""Targets of a device for a finished network: a table of its layers there, and smaller ones measured beside it."""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from msgspec import structs

from edgeprune.bench.hosts import Host
from edgeprune.budget import Budget, Target, need_load, parse_targets
from edgeprune.budget.targets import SUSTAINED
from edgeprune.graph.classes import Bools, Graph
from edgeprune.latency import BenchTarget, build_table
from edgeprune.latency.boards import budget_of_boards, by_name, check_boards_together
from edgeprune.latency.boards_solver import badness, compared_in_ms, named
from edgeprune.latency.budget import budget_by, check_together, clock_for
from edgeprune.latency.end_to_end import EndToEndTimer
from edgeprune.latency.energy import EnergyOn, energy_on, need_energy, unpruned_power
from edgeprune.latency.estimator import LatencyEstimator
from edgeprune.latency.shapes import Model, read_model
from edgeprune.latency.steady import SteadyTimer
from edgeprune.options.device import naming_target
from edgeprune.post_training.options import PruneOptions
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.pruning import FileTimes
from edgeprune.records.times import BoardTimes
from edgeprune.records.trust import check_host


def reach(options: PruneOptions, described: Mapping[str, Any] | None, where: Path) -> BenchTarget:
    """Connect to a device that a network is pruned for.

    Args:
        options: of the run.
        described: the host; None for this machine.
        where: what holds them, for messages.

    Raises:
        BenchError: it cannot be reached. LatencyError: layers cannot be timed there. RunError: its host is not trusted.
    """
    host = None
    if described is not None:
        check_host(described, where)
        host = Host(**{**described, "ssh_options": tuple(described["ssh_options"])})
    with naming_target():
        return BenchTarget.reach(
            options.target_device, host, runtime=options.target_runtime, precision=options.target_precision,
            batch=options.target_batch or 1, threads=options.target_threads, assume_device=options.assume_device,
        )  # fmt: skip


OnDevice = Callable[[BenchTarget, bool, Path | None, ProgressCallback], "DeviceLatency"]


def latency_on(
    options: PruneOptions, where: Path, on: OnDevice, progress: ProgressCallback
) -> "DeviceLatency | BoardsLatency":
    """Connect to the devices that a network is pruned for, and return what plans widths for them.

    Args:
        options: of the run; they name the devices.
        where: what holds them, for messages.
        on: (device, whether under lasting load, its table, progress) -> what plans widths for it.
        progress: called with (done, total, text).

    Raises:
        TargetError: the targets are not measured together, or not on several boards.
        EdgePruneError: see `reach`.
    """
    targets = () if options.target is None else parse_targets(options.target)
    check_together(targets)
    load = need_load(targets)
    if not options.more_hosts:
        lut = None if options.lut is None else Path(options.lut)
        return on(reach(options, options.host, where), load, lut, progress)
    check_boards_together(targets)
    boards = by_name([reach(options, host, where) for host in (options.host, *options.more_hosts)])
    return BoardsLatency(
        {name: on(board, load, lut, named(progress, name)) for name, (board, lut) in boards.items()},
        targets,
        progress,
    )


class DeviceLatency:
    """Plans widths of a network for a device, and measures smaller ones beside it.

    Args:
        graph: of the network.
        timer: writes and measures networks on the device.
        options: of the run.
        lut: the latency table; None for the usual one of the device.
        progress: called with (done, total, text) while layers are timed, and before each measurement.
        named: gives the layers of the timer's file the names of the graph's.
    """

    def __init__(
        self,
        graph: Graph,
        timer: EndToEndTimer,
        options: PruneOptions,
        lut: Path | None = None,
        progress: ProgressCallback = no_progress,
        named: Callable[[Model], Model] = lambda model: model,
    ) -> None:
        self._graph, self._timer, self._lut, self._named = graph, timer, lut, named
        self._options, self._progress = options, progress
        self._estimator: LatencyEstimator | None = None
        self._energy: EnergyOn | None = None

    def budget(self, target: str | Target, *, measured: bool = True) -> Budget:
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
        clock = clock_for(targets, self._options.plan_seconds, self._progress)
        energy = self._energy_on() if need_energy(targets) else None
        return budget_by(
            self._timer,
            self.estimator,
            targets,
            check=measured,
            energy=energy,
            align=self._options.align,
            floor=self._options.floor,
            blocks=False,  # nothing is trained that could make up for a block
            clock=clock,
        )

    def _energy_on(self) -> EnergyOn:
        """Return the energy of plans on the device; what is missing is measured once."""
        if self._energy is None:
            unpruned = unpruned_power(
                self._timer, self._progress
            )  # first: a device without a sensor is known soon
            self._energy = energy_on(unpruned, self._timer, self.estimator, self._lut, self._progress)
        return self._energy

    @property
    def estimator(self) -> LatencyEstimator:
        """What predicts latencies; layers that the table does not know are timed first."""
        if self._estimator is None:
            file = self._timer.onnx_file
            table = build_table(
                file,
                self._timer.bench_target,
                self._lut,
                measured_file=lambda: self._timer.baseline_file,
                progress=self._timing,
            )
            layers = self._named(read_model(file, self._timer.bench_target.batch))
            self._estimator = LatencyEstimator(self._graph, layers, table)
        return self._estimator

    def _timing(self, done: float, total: float, text: str) -> None:
        self._progress(done, total, f"times of layers: {text}")

    def share(self, graph: Graph, keep: Bools) -> float:
        """Return the share of the original's time that remains, by the table.

        Args:
            graph: of the network.
            keep: (classes,) mask of kept classes.
        """
        model = self.estimator.on(graph)
        return float(model.ms(keep) / model.ms())

    def measure(self, smaller: Any) -> FileTimes:
        """Measure a smaller network beside the original, and return the latencies with their conditions.

        Args:
            smaller: as the timer takes it.
        """
        self._progress(0, 1, "measuring the smaller network beside the original")
        times = self._timer.times(smaller).measured.record()
        conditions = dict(self._timer.bench_target.conditions)
        if self._energy is not None:
            conditions |= self._energy.conditions
        if isinstance(self._timer, SteadyTimer):
            conditions[SUSTAINED] = self._timer.record()
        return FileTimes(**times, conditions=conditions)


class BoardsLatency:
    """Plans widths of a network for several boards, so that a target holds on the one that is the worst off.

    Args:
        boards: what plans widths for each, by the name of its host.
        targets: of the run.
        progress: called with (done, total, text) while plans are chosen and measured.
    """

    def __init__(
        self,
        boards: Mapping[str, DeviceLatency],
        targets: tuple[Target, ...],
        progress: ProgressCallback = no_progress,
    ) -> None:
        self._boards, self._targets, self._progress = boards, targets, progress

    def budget(self, target: str | Target, *, measured: bool = True) -> Budget:
        """Return the budget of a target on all boards; see `DeviceLatency.budget`.

        Args:
            target: such as latency=0.7.
            measured: whether the final plan is measured, and corrected until it meets the target on the worst board.

        Raises:
            TargetError: the network meets the target already on every board.
            LatencyError, BenchError: see `DeviceLatency.budget`.
        """
        makers = {name: partial(board.budget, measured=measured) for name, board in self._boards.items()}
        return budget_of_boards(target, makers, check=measured, progress=self._progress)

    def share(self, graph: Graph, keep: Bools) -> float:
        """Return the largest share of the original's time that remains on a board, by its table.

        Args:
            graph: of the network.
            keep: (classes,) mask of kept classes.
        """
        return max(board.share(graph, keep) for board in self._boards.values())

    def measure(self, smaller: Any) -> FileTimes:
        """Measure a smaller network beside the original on each board; return the times of the worst, and of each.

        Args:
            smaller: as the timers take it.
        """
        times = {name: board.measure(smaller) for name, board in self._boards.items()}
        in_ms = compared_in_ms(self._targets)
        worst = max(times.values(), key=partial(badness, in_ms=in_ms))
        boards = tuple(_board_times(name, own) for name, own in times.items())
        return structs.replace(worst, boards=boards)


def _board_times(name: str, times: FileTimes) -> BoardTimes:
    own = {field: value for field, value in structs.asdict(times).items() if field != "boards"}
    return BoardTimes(host=name, **own)
