"""What a policy is worth: accuracy after reconstruction and recalibration, without training."""

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice

import torch
from torch import Tensor

from edgeprune import training
from edgeprune.compaction import compact
from edgeprune.data import Batch, DataBundle
from edgeprune.errors import SearchError
from edgeprune.graph.classes import Ints
from edgeprune.plan import Plan
from edgeprune.reconstruct import Grams, Sequential
from edgeprune.search.variables import Variables

FITS = ("kernel", "sequential")
POSITIONS = 10  # of each image that reconstruction looks at; the source's number
BATCH = 250
SEED = 987_654_321  # of the images that are augmented for BatchNorm's statistics


@dataclass
class Evaluator:
    """Judges plans of one network. Activations are collected once, images are read once.

    Args:
        variables: with the graph of the unpruned model, on the CPU; its weights stay as they are.
        data: where images come from: "val" to judge on, "train" for all else.
        images: to judge on, at most.
        calibration: images for reconstruction (plain ones), and as many for BatchNorm (as training has them).
        reconstruct: one of `FITS`.
        device, precision: of all that runs.
    """

    variables: Variables
    data: DataBundle
    images: int = 2000
    calibration: int = 1000
    reconstruct: str = "kernel"
    device: str = "cpu"
    precision: str = "fp32"
    _judged: list[Batch] = field(init=False, repr=False)
    _seen: list[Tensor] = field(init=False, repr=False)
    _plain: list[Batch] = field(init=False, repr=False)
    _fits: Grams | Sequential = field(init=False, repr=False)

    def __post_init__(self) -> None:
        data = self.data
        if not data.sizes["val"]:
            raise SearchError("there are no images to judge policies on: raise --val-fraction above 0")
        self._judged = [(_laid(x), y) for x, y in data.batches("val", batch_size=BATCH, limit=self.images)]
        size = min(BATCH, self.calibration)
        given = data.train_batches(0, batch_size=size, seed=SEED)
        self._seen = [_laid(x) for x, _ in islice(given, max(1, self.calibration // size))]
        self._plain = list(data.batches("train", batch_size=size, limit=self.calibration))
        fits = Grams if self.reconstruct == "kernel" else Sequential
        self._fits = fits(self.variables.graph, self._plain, positions=POSITIONS)

    @property
    def judged_on(self) -> int:
        """Held-out images."""
        return sum(len(y) for _, y in self._judged)

    def reward(self, plan: Plan) -> tuple[float, float]:
        """Accuracy on the held-out images, and the seconds that took."""
        began = time.perf_counter()
        return self.accuracy(self.pruned(plan), self._judged), time.perf_counter() - began

    def pruned(self, plan: Plan, fits: Grams | Sequential | None = None) -> torch.nn.Module:
        """The dense model of a plan, reconstructed and recalibrated."""
        with (fits or self._fits).fitted(plan.keep):
            model = compact(self.variables.graph, plan).model
        model.to(self.device).to(memory_format=torch.channels_last)
        training.recalibrate_on(model, self._seen, self.device, self.precision)
        return model

    def accuracy(self, model: torch.nn.Module, batches: Iterable[Batch]) -> float:
        """Share of images that a model is right about."""
        return training.accuracy(model, batches, self.device, self.precision)

    @cached_property
    def _finally(self) -> Sequential:
        """The slower and better fits: for the few policies that are looked at in the end."""
        if isinstance(self._fits, Sequential):
            return self._fits
        return Sequential(self.variables.graph, self._plain, positions=POSITIONS)

    def tested(self, widths: Ints) -> float:
        """Accuracy of a policy on the test images, fitted in sequence: for the end, never on the way."""
        model = self.pruned(self.variables.plan(widths), self._finally)
        return self.accuracy(model, self.data.batches("test"))


def _laid(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
