"""Measure plans on a device under lasting load, in the steady state that it reaches, and not while it is cool."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeprune.bench.files import LooseFiles
from edgeprune.bench.measuring import probe_session
from edgeprune.bench.options import LASTING_ROUND_S, BenchOptions
from edgeprune.bench.session import Round, Session, load_s
from edgeprune.bench.stats import NS_PER_MS
from edgeprune.bench.sustained import NEAR, first_steady_pair, last_third
from edgeprune.budget import Budget
from edgeprune.errors import TargetError
from edgeprune.latency.device import TimeSolver
from edgeprune.latency.end_to_end import EndToEndTimer, PairedTimes
from edgeprune.latency.estimator import LatencyOn
from edgeprune.processes.distributed import world
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.resources.latency import LATENCY

LEAST_S, MOST_S = 180.0, 600.0  # of load before anything is measured
COOLING_S = 5.0  # a device that had no load for longer is put under load again
WARMING_C = 1.0  # by which the warmest zone may still become warmer over the last third of the load
STEADY_PLAN_SECONDS = 1800.0  # rounds are long, and the load before them counts
BASELINE = "baseline"


@dataclass
class SteadyTimer(EndToEndTimer):
    """Measures plans as an `EndToEndTimer` does, in rounds as long as those of `bench --sustained`, on a warm device.

    Before the first measurement the unpruned network runs until its times are steady, as `bench --sustained` defines
    that, and the warmest zone gets no warmer, where that is known; for `LEAST_S` at least and `MOST_S` at most. After
    a pause, such as the export of a plan, it runs until its rounds take what they took in the steady state.

    Attributes:
        clock: returns seconds.
        rounds_ms: p50 of the baseline's rounds until the state was reached.
        warmest_c: of the device after each of them, where it is known.
        steady: whether the state was steady in the end; None before there was a load.
        lost: whether it could not be reached again after a pause.
    """

    clock: Callable[[], float] = time.monotonic
    rounds_ms: list[float] = field(default_factory=list)
    warmest_c: list[float] = field(default_factory=list)
    steady: bool | None = None
    lost: bool = False
    _load_s: float = 0.0
    _last_load: float | None = None

    @property
    def steady_ms(self) -> float:
        """What the unpruned network takes in the state that was reached: the median of the last third."""
        return float(np.median(self.rounds_ms[last_third(len(self.rounds_ms)) :]))

    def warm_up(self, report: ProgressCallback = no_progress) -> None:
        """Put the device under load until it is in its steady state, unless it is.

        Args:
            report: called with (done, total, text) in seconds of load.

        Raises:
            BenchError: the runner failed.
        """
        if self._last_load is not None and self.clock() - self._last_load < COOLING_S:
            return
        if self.steady is None:
            self._reach(report)
        else:
            self._return(report)

    def _reach(self, report: ProgressCallback) -> None:
        """Run the baseline until it is steady."""
        for reply in self._rounds(report):
            self.rounds_ms.append(float(np.median(reply["samples_ns"])) / NS_PER_MS)
            degrees = reply["after"]["temperatures_c"]
            self.warmest_c += [max(degrees.values())] if degrees else []
            self._load_s += load_s(reply)
            self.steady = self._load_s >= LEAST_S and self._is_steady()
            if self.steady or self._load_s >= MOST_S:
                break

    def _is_steady(self) -> bool:
        """Return whether the rounds so far end in a steady state."""
        if first_steady_pair({BASELINE: np.array(self.rounds_ms)}) is None:
            return False
        late = self.warmest_c[last_third(len(self.warmest_c)) :] if self.warmest_c else [0.0]
        half = max(1, len(late) // 2)
        return float(np.median(late[-half:]) - np.median(late[:half])) <= WARMING_C

    def _return(self, report: ProgressCallback) -> None:
        """Run the baseline until a round takes what rounds took in the steady state."""
        back, loaded_s = (1 - NEAR) * self.steady_ms, 0.0
        for reply in self._rounds(report):
            loaded_s += load_s(reply)
            if float(np.median(reply["samples_ns"])) / NS_PER_MS >= back:
                return
            if loaded_s >= MOST_S:
                self.lost = True
                return

    def _rounds(self, report: ProgressCallback) -> Iterator[Round]:
        """Yield rounds of the baseline without end."""
        where = self.bench_target
        options = BenchOptions(
            where.device, batch=where.batch, threads=where.threads, seconds=2 * LASTING_ROUND_S, rounds=2, models=1,
            host=where.host,
        )  # fmt: skip
        files = {BASELINE: Path(self.baseline_file)}
        session = Session(
            files, options, where.transport, no_progress, names=(BASELINE,), source=LooseFiles(files)
        )
        session, _, _ = probe_session(session)
        session.build(where.threads)
        done = 0.0
        while True:
            report(min(done, MOST_S), MOST_S, f"under load for {done:.0f} s of at most {MOST_S:.0f}")
            reply = session.measure(BASELINE, where.threads)
            self._last_load = self.clock()
            done += load_s(reply)
            yield reply

    def _times(
        self, pruned: Path, seconds: float, rounds: int, report: ProgressCallback, baseline: Path
    ) -> list[PairedTimes]:
        """Measure both models once, on a warm device and in long rounds, between which it cools down little."""
        self.warm_up(report)
        both = super()._times(pruned, max(seconds, rounds * LASTING_ROUND_S), rounds, report, baseline)
        self._last_load = self.clock()
        return both

    # --- what is known of the state ---------------------------------------------------------------------------

    def remarks(self) -> list[str]:
        """Return what a reader of these latencies should know."""
        if self.steady is None:
            return []
        slower = self.steady_ms / self.rounds_ms[0]
        state = f"after {self._load_s:.0f} s of load, when the unpruned network took {slower:.3f} times its first time"
        if not self.steady:
            state = f"{state} and was not steady yet: these latencies may still change"
        lost = ["after a pause the device did not get back to the steady state in time"] if self.lost else []
        return [f"measured under lasting load, {state}", *lost]

    def record(self) -> dict[str, Any] | None:
        """Return the state that was reached; None before there was a load."""
        if self.steady is None:
            return None
        return {
            "steady": self.steady,
            "load_s": self._load_s,
            "most_s": MOST_S,
            "first_ms": self.rounds_ms[0],
            "steady_ms": self.steady_ms,
            "slowdown": self.steady_ms / self.rounds_ms[0],
            "warmest_c": self.warmest_c[-1] if self.warmest_c else None,
            "warmest_c_reason": None if self.warmest_c else "the device has no thermal zone that can be read",
            "got_back": not self.lost,
        }


def in_steady_ms(budget: Budget, progress: ProgressCallback = no_progress, *, refuse: bool = True) -> Budget:
    """Return a device's budget with its table in proportion to the steady state, where a target in ms asks for that.

    A table is measured on a device that is mostly cool: its unpruned network may meet an amount that the warm one
    misses. A share of the time needs no such factor, so that the device is put under load only when plans are measured.

    Args:
        budget: of one device.
        progress: called with (done, total, text).
        refuse: whether a target that the unpruned model meets is an error.

    Raises:
        TargetError: the model meets the target already.
        BenchError: the runner failed.
    """
    load = getattr(budget.solver, "load", None)
    amounts = [
        item for item in budget.targets if item.kind == LATENCY and item.sustained and item.amount is not None
    ]
    if not isinstance(load, SteadyTimer) or not amounts:
        return budget
    value = torch.zeros(1, dtype=torch.float64, device="cuda" if torch.cuda.is_available() else "cpu")
    if world().is_main:
        load.warm_up(progress)
        value[0] = load.steady_ms
    steady_ms = float(world().broadcast(value)[0])
    (target,) = amounts
    if refuse and target.goal(steady_ms) > steady_ms:
        raise TargetError(
            f"{target}: the unpruned model takes {steady_ms:.3g} ms in the steady state already; nothing to prune"
        )
    solver = budget.solver
    assert isinstance(solver, TimeSolver)
    estimator = replace(solver.estimator, correction=steady_ms / budget.originals[LATENCY], _last=None)
    return replace(
        budget,
        originals={**budget.originals, LATENCY: steady_ms},
        bound={**budget.bound, LATENCY: LatencyOn(estimator)},
        solver=replace(solver, estimator=estimator),
    )
