"""A compacted model, exported and measured whole beside the baseline, on the device."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from edgeprune_target.scratch import ScratchFolder
from torch import nn

from edgeprune.backends.base import Job
from edgeprune.bench.options import BenchOptions, rounds_for
from edgeprune.bench.run import bench_models
from edgeprune.bench.session import NAMES
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.latency.bench_target import BenchTarget
from edgeprune.latency.calibrate import Measured
from edgeprune.processes.ranks import ranks
from edgeprune.rewrite.compaction import compact

SECONDS = 4.0  # of timed inference per model
ROUNDS = 12  # at least: many short ones meet more of a neighbour's pauses than a few long ones
SURE = 0.06  # doubt of a speedup, see `EndToEndTimer.doubt`: more, and something disturbed the measurement
TRIES = 3


class PairedTimes(NamedTuple):
    """One measurement: ms of both models, the speedup with its interval, and the percentile they are of."""

    baseline_ms: float
    pruned_ms: float
    value: float
    low: float
    high: float
    percentile: float

    @property
    def width(self) -> float:
        """Of the interval, over the speedup."""
        return (self.high - self.low) / self.value


@dataclass
class EndToEndTimer:
    """Measures plans of one baseline. Every process of a run gets the same numbers.

    Neighbours on a shared machine disturb medians; the 10th percentiles are surer there, and those of the two
    count that have less doubt. Neighbours also slow networks down unequally (one of odd widths by 40 % while
    its baseline lost 11 %, on two cores), for minutes, so that the interval stays narrow. The baseline shows
    it: it is the same network each time.

    Args:
        baseline: the unpruned model.
        shape: (C, H, W) of an image.
        site: where.
        seconds: of timed inference per model and plan.
        sure: a speedup with more doubt than this is measured again.
        tries: at most.
        fastest_ms: of the baseline by any percentile, in all that was measured so far.
    """

    baseline: nn.Module
    shape: tuple[int, ...]
    site: BenchTarget
    seconds: float = SECONDS
    sure: float = SURE
    tries: int = TRIES
    fastest_ms: float = math.inf
    _folder: ScratchFolder = field(default_factory=ScratchFolder, repr=False)

    @property
    def baseline_file(self) -> Path:
        """The unpruned model's file; written when it is first asked for."""
        path = self.path("baseline")
        return path if path.exists() else self.written("baseline", self.baseline)

    def path(self, name: str) -> Path:
        """Return the place of a model's file."""
        return Path(self._folder.name) / self.site.backend.file_name(name)

    def written(self, name: str, model: nn.Module) -> Path:
        """Export a model to what the device's runtime loads; return the file."""
        path = self.path(name)
        self.site.backend.convert(Job(model, name, self.shape, path.parent), path)
        return path

    def measure(self, graph: Graph, plan: Plan) -> Measured:
        """Cut, export, and time both in turn.

        Raises:
            ExportError, BenchError: it cannot be exported, or the runner failed.
        """
        device = "cuda" if torch.cuda.is_available() else "cpu"
        found = torch.zeros(len(PairedTimes._fields), dtype=torch.float64, device=device)
        if ranks().main:
            found.copy_(torch.tensor(self.times(compact(graph, plan).model), dtype=torch.float64))
        times = PairedTimes(*ranks().from_main(found).tolist())
        speedup = times.value, times.low, times.high
        return Measured(times.baseline_ms, times.pruned_ms, speedup, int(times.percentile))

    def times(self, pruned: nn.Module) -> PairedTimes:
        """The one with the least doubt of a few measurements.

        One is enough where there is little; where neighbours disturbed it, it is not.
        """
        path = self.written("pruned", pruned)
        found: list[PairedTimes] = []
        for _ in range(self.tries):
            both = self._times(path)
            for one in both:
                self.seen(one)
            found += both
            if min(map(self.doubt, found)) <= self.sure:
                break
        return min(found, key=self.doubt)

    def seen(self, times: PairedTimes) -> None:
        """Remember how fast the baseline can be."""
        self.fastest_ms = min(self.fastest_ms, times.baseline_ms)

    def doubt(self, times: PairedTimes) -> float:
        """The width of a speedup's interval over itself, and by how much the baseline was slowed down.

        Neither looks at what the speedup is.
        """
        return times.width + times.baseline_ms / min(self.fastest_ms, times.baseline_ms) - 1

    def _times(self, pruned: Path) -> list[PairedTimes]:
        """One run of both, by medians and by 10th percentiles."""
        site = self.site
        options = BenchOptions(
            site.device, batch=site.batch, threads=site.threads, seconds=self.seconds, host=site.host,
            rounds=max(ROUNDS, rounds_for(self.seconds)),
        )  # fmt: skip
        files = {"baseline": self.baseline_file, "pruned": pruned}
        result = bench_models(files, options=options, transport=site.transport)
        return [times_of(result, 50, "speedup"), times_of(result, 10, "speedup_undisturbed")]


def times_of(result: dict[str, Any], percentile: int, kind: str) -> PairedTimes:
    """What a measurement says by one percentile."""
    baseline, pruned = (result["models"][name]["latency_ms"][f"p{percentile}"] for name in NAMES)
    found = result[kind]
    return PairedTimes(baseline, pruned, found["value"], found["low"], found["high"], percentile)
