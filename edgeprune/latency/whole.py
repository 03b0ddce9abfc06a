"""A compacted model, exported and measured whole beside the baseline, on the device."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from edgeprune.bench.options import BenchOptions
from edgeprune.bench.run import bench_models
from edgeprune.compaction import compact
from edgeprune.export.onnx import export_model
from edgeprune.graph.classes import Graph
from edgeprune.latency.meet import Measured
from edgeprune.latency.site import Site
from edgeprune.plan import Plan
from edgeprune.ranks import ranks

SECONDS = 4.0  # of timed inference per model
SURE = 0.06  # doubt of a speedup, see `Whole.doubt`: more, and something disturbed the measurement
TRIES = 3


@dataclass
class Whole:
    """Measures plans of one baseline. Every process of a run gets the same numbers.

    Neighbours on a shared machine slow networks down unequally (one of odd widths by 27 % while its baseline
    lost 8 %, on two cores), for minutes, so that the interval stays narrow. The baseline shows it: it is the
    same network each time.

    Args:
        baseline: the unpruned model.
        shape: (C, H, W) of an image.
        site: where.
        seconds: of timed inference per model and plan.
        sure: a speedup with more doubt than this is measured again.
        tries: at most.
        fastest_ms: of the baseline, in all that was measured so far.
    """

    baseline: nn.Module
    shape: tuple[int, ...]
    site: Site
    seconds: float = SECONDS
    sure: float = SURE
    tries: int = TRIES
    fastest_ms: float = math.inf
    _folder: TemporaryDirectory[str] = field(
        default_factory=lambda: TemporaryDirectory(prefix="edgeprune-"), repr=False
    )

    @property
    def baseline_file(self) -> Path:
        """The unpruned model as ONNX; written when it is first asked for."""
        path = Path(self._folder.name) / "baseline.onnx"
        if not path.exists():
            export_model(self.baseline, self.shape, path)
        return path

    def measure(self, graph: Graph, plan: Plan) -> Measured:
        """Cut, export, and time both in turn.

        Raises:
            ExportError, BenchError: it cannot be exported, or the runner failed.
        """
        found = torch.zeros(5, dtype=torch.float64, device="cuda" if torch.cuda.is_available() else "cpu")
        if ranks().main:
            found.copy_(torch.tensor(self.times(compact(graph, plan).model), dtype=torch.float64))
        base, pruned, speedup, low, high = ranks().from_main(found).tolist()
        return Measured(base, pruned, (speedup, low, high))

    def times(self, pruned: nn.Module) -> list[float]:
        """Both models' ms, the speedup and its interval: the one with the least doubt of a few measurements.

        One is enough where there is little; where neighbours disturbed it, it is not.
        """
        path = Path(self._folder.name) / "pruned.onnx"
        export_model(pruned, self.shape, path)
        found: list[list[float]] = []
        for _ in range(self.tries):
            found.append(self._times(path))
            self.fastest_ms = min(self.fastest_ms, found[-1][0])
            if self.doubt(found[-1]) <= self.sure:
                break
        return min(found, key=self.doubt)

    def doubt(self, times: list[float]) -> float:
        """The width of a speedup's interval over itself, and by how much the baseline was slower than before.

        Neither looks at what the speedup is.
        """
        baseline_ms, _, speedup, low, high = times
        return (high - low) / speedup + baseline_ms / self.fastest_ms - 1

    def _times(self, pruned: Path) -> list[float]:
        site = self.site
        options = BenchOptions(
            site.device, batch=site.batch, threads=site.threads, seconds=self.seconds, host=site.host
        )
        files = {"baseline": self.baseline_file, "pruned": pruned}
        result = bench_models(files, options=options, transport=site.transport)
        p50 = [result["models"][name]["latency_ms"]["p50"] for name in files]
        return [*p50, *(result["speedup"][key] for key in ("value", "low", "high"))]
