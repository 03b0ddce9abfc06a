"""The reward of a policy: accuracy after reconstruction and BatchNorm recalibration, without training."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from edgeprune import training
from edgeprune.data import Batch, DataBundle
from edgeprune.errors import SearchError
from edgeprune.graph.classes import Ints
from edgeprune.graph.plan import Plan
from edgeprune.reconstruct import SEQUENTIAL_IMAGES, Grams, Sequential
from edgeprune.rewrite.compaction import compact
from edgeprune.rewrite.duplicate import duplicate
from edgeprune.search.variables import Variables
from edgeprune.tasks import Classification, Task

POSITIONS = 10  # positions that reconstruction samples from each image; the source's number
BATCH = 250
SEED = 987_654_321  # of the augmentation of images for BatchNorm's statistics


@dataclass
class Evaluator:
    """Evaluates plans of one network. Activations are collected once, images are read once.

    Args:
        variables: with the graph of the unpruned model, on the CPU; its weights stay as they are.
        data: source of the images: "val" for evaluation, "train" for everything else.
        images: upper limit of images for evaluation.
        calibration: images for reconstruction, not augmented; half as many, augmented as in training, give
            BatchNorm its statistics. More would change the accuracy by less than 0.2 %.
        final: images for both in the final evaluation on test images.
        reconstruct: one of `edgeprune.search.options.FITS`.
        device, precision: of every forward pass.
        task: has the metric.
    """

    variables: Variables
    data: DataBundle
    images: int = 2000
    calibration: int = 1000
    final: int = SEQUENTIAL_IMAGES
    reconstruct: str = "kernel"
    device: str = "cpu"
    precision: str = "fp32"
    task: Task = field(default_factory=Classification)
    _held_out: list[Batch] = field(init=False, repr=False)
    _recalibration: list[Tensor] = field(init=False, repr=False)
    _fits: Grams | Sequential = field(init=False, repr=False)
    _finals: dict[tuple[int, ...], torch.nn.Module] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        data = self.data
        if not data.sizes["val"]:
            raise SearchError("there are no images to evaluate policies on: raise `val_fraction` above 0")
        self._held_out = [
            (_channels_last(x), y) for x, y in data.batches("val", batch_size=BATCH, limit=self.images)
        ]
        self._recalibration = list(self._augmented(self.calibration))
        fits = Grams if self.reconstruct == "kernel" else Sequential
        self._fits = fits(self.variables.graph, self._plain(self.calibration), positions=POSITIONS)

    def _plain(self, images: int) -> Iterable[Batch]:
        return self.data.batches("train", batch_size=min(BATCH, images), limit=images)

    def _augmented(self, calibration: int) -> Iterator[Tensor]:
        images = max(1, calibration // 2)
        size = min(BATCH, images)
        batches = self.data.train_batches(0, batch_size=size, seed=SEED, limit=images // size)
        return (_channels_last(x) for x, _ in batches)

    @property
    def held_out_images(self) -> int:
        """Number of held-out images."""
        return sum(len(y) for _, y in self._held_out)

    def reward(self, plan: Plan) -> tuple[float, float]:
        """Return the accuracy of a plan on the held-out images, and the seconds that the evaluation took."""
        began = time.perf_counter()
        return self.worth(self.pruned(plan)), time.perf_counter() - began

    def pruned(self, plan: Plan) -> torch.nn.Module:
        """Return the dense model of a plan, reconstructed and recalibrated (after sequential fits only if better)."""
        return self._reconstructed(plan, self._fits, self._recalibration)

    def finally_pruned(self, widths: Ints) -> torch.nn.Module:
        """Return the dense model of a policy, fitted in sequence: for the final evaluation, never for a trial."""
        key = tuple(widths.tolist())
        if key not in self._finals:
            plan = self.variables.plan(widths)
            self._finals[key] = self._reconstructed(plan, self._final_fits, self._augmented(self.final))
        return self._finals[key]

    def _reconstructed(
        self, plan: Plan, fits: Grams | Sequential, images: Iterable[Tensor]
    ) -> torch.nn.Module:
        with fits.fitted(plan.keep):
            model = self._placed(compact(self.variables.graph, plan).model)

        def recalibrate(module: torch.nn.Module) -> None:
            training.recalibrate_on(module, images, self.device, self.precision)

        if isinstance(fits, Sequential):
            return training.recalibrated_if_better(model, recalibrate, self.worth)
        recalibrate(model)
        return model

    @property
    def unpruned(self) -> torch.nn.Module:
        """The original model with its own BatchNorm statistics."""
        return self._placed(duplicate(self.variables.graph.model))

    def worth(self, model: torch.nn.Module) -> float:
        """Return the worth of a model by the task's metric on the held-out images; higher is better."""
        score = training.score_of(model, self._held_out, self.task, self.device, self.precision)
        return self.task.metric.worth(score)

    def tested(self, model: torch.nn.Module) -> float:
        """Return the task's metric on the test images: for the final evaluation, never for a trial."""
        return training.score_of(model, self.data.batches("test"), self.task, self.device, self.precision)

    def _placed(self, model: torch.nn.Module) -> torch.nn.Module:
        return model.to(self.device).to(memory_format=torch.channels_last)

    @cached_property
    def _final_fits(self) -> Sequential:
        """Slower and better fits, for the few policies of the final evaluation."""
        return Sequential(self.variables.graph, self._plain(self.final), positions=POSITIONS)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
