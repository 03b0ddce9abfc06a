"""The fits of layers on calibration inputs: each made once, and applied while a network is looked at or written."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

from torch import Tensor

from edgeprune.errors import DataError
from edgeprune.graph.classes import Bools, Graph
from edgeprune.post_training.changes import augmented
from edgeprune.post_training.inputs import Inputs
from edgeprune.post_training.options import PruneOptions
from edgeprune.processes.progress import ProgressCallback
from edgeprune.reconstruct import MOST_BYTES, Grams, Sequential, grams_bytes

POSITIONS = 10  # of each input's maps that are fitted on, or as many as give this number of samples:
SAMPLES = 8000


class Fits:
    """Fits a network's layers on calibration inputs.

    Attributes:
        notes: what could not be fitted, and why.
    """

    def __init__(
        self,
        graph: Graph,
        inputs: Inputs | None,
        calibration: Sequence[tuple[Tensor, ...]],
        options: PruneOptions,
        progress: ProgressCallback,
    ) -> None:
        """Note what fits are made of; none is made yet.

        Args:
            graph: of the network, whose weights are changed within `fitted` alone.
            inputs: all of them; None where nothing is fitted.
            calibration: batches of those that fits may see.
            options: what is asked for.
            progress: called with (done, total, text).
        """
        self._graph, self._inputs, self._calibration = graph, inputs, calibration
        self._options, self._progress = options, progress
        self.notes: tuple[str, ...] = ()
        self._fits: dict[str, Grams | Sequential] = {}

    def grams(self) -> Grams | None:
        """Return the normal equations of all layers; None where they would not fit into memory."""
        if "kernel" not in self._fits:
            size = grams_bytes(self._graph)
            if size > MOST_BYTES:
                note = f"the fits of all layers at once need {size / 2**30:.1f} GB, more than {MOST_BYTES / 2**30:g} GB"
                self.notes = (f"{note}: widths were chosen without them",)
                return None
            self._progress(0, 1, "collecting the inputs of each layer")
            self._fits["kernel"] = Grams(
                self._graph, self._calibration, positions=self._positions(self._calibration)
            )
        return self._fits["kernel"]  # type: ignore[return-value]

    @contextmanager
    def fitted(self, keep: Bools, fit: str) -> Iterator[None]:
        """Let the network have fitted weights in the block.

        Args:
            keep: (classes,) mask of kept classes.
            fit: 'sequential', 'kernel' or 'none'.
        """
        fits = None if fit == "none" else self._fit_of(fit)
        with nullcontext() if fits is None else fits.fitted(keep):
            yield

    def _fit_of(self, fit: str) -> Grams | Sequential | None:
        if fit == "kernel":
            return self.grams()
        if fit not in self._fits:
            self._progress(0, 1, "collecting the original's outputs of each layer")
            assert self._inputs is not None
            inputs = self._widened()
            self._fits[fit] = Sequential(self._graph, inputs, positions=self._positions(inputs))
        return self._fits[fit]

    def _positions(self, batches: Sequence[Any]) -> int:
        """Return how many positions of each input's maps are fitted on."""
        return max(POSITIONS, -(-SAMPLES // sum(len(batch[0]) for batch in batches)))

    def _widened(self) -> Sequence[Any]:
        """Return the calibration inputs, with changed copies where they are images.

        Raises:
            DataError: copies are asked for, and the inputs are not images.
        """
        assert self._inputs is not None
        kind = self._options.augment or ("shift" if self._inputs.source.images else "none")
        if kind == "none":
            return self._calibration
        first = self._inputs.tensors[0]
        if len(self._inputs.tensors) > 1 or first.dim() != 4 or first.shape[1] not in (1, 3):
            raise DataError(
                f"`augment={kind}` is for one input of images with the colors first: leave it out"
            )
        return [
            batch
            for number, inputs in enumerate(self._calibration)
            for batch in augmented(inputs, kind, self._options.seed + 10 * number)
        ]
