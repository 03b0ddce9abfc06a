"""Top-1 of the exported files on the test images, by the runner, in pieces that fit a small disk."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from edgeprune_target.scratch import scratch_folder

from edgeprune.bench.local import Transport
from edgeprune.bench.replies import call
from edgeprune.errors import ConnectionLost, EdgePruneError

PIECE_BYTES = 128 << 20  # of images written at a time; all of ImageNet's would be 30 GB
BATCH = 64

Batches = Iterable[tuple[Any, Any]]
Told = Callable[[str, int], None]


@dataclass(frozen=True)
class Score:
    """Counts of images."""

    correct: int = 0
    count: int = 0
    not_finite: int = 0

    def __add__(self, part: dict[str, int]) -> "Score":
        """With the runner's counts for one piece."""
        return Score(
            self.correct + part["correct"], self.count + part["count"], self.not_finite + part["not_finite"]
        )

    def report(self) -> dict[str, Any]:
        """``accuracy`` as a fraction, or None and the reason."""
        reason = None
        if self.count == 0:
            reason = "the data set has no test images"
        elif self.not_finite:
            reason = f"{self.not_finite} of {self.count} images gave logits that are not finite"
        return {
            "accuracy": self.correct / self.count if reason is None else None,
            "accuracy_reason": reason,
            "accuracy_images": self.count,
        }


@dataclass(frozen=True)
class Scorer:
    """Scores files through one transport, with one runtime.

    Attributes:
        transport: to the runner.
        runtime: of the runner.
        threads: of the runtime.
        told: called with (model name, images done so far).
        batch: images per call; an engine has but one.
        words: more for the runner, of the runtime.
    """

    transport: Transport
    runtime: str
    threads: int
    told: Told
    batch: int = BATCH
    words: tuple[str, ...] = ()

    def score_all(
        self, models: Mapping[str, Path], batches: Callable[[], Batches]
    ) -> dict[str, dict[str, Any]]:
        """``Score.report()`` for each model; where the images cannot be had, None with the reason.

        ``batches`` gives (float32 N x C x H x W, labels N) batches of normalised test images.
        """
        reason = getattr(self.transport, "why_no_accuracy", None)
        if reason is not None:
            return no_accuracy(models, reason)
        scores = {name: Score() for name in models}
        try:
            for images, labels in pieces_on_disk(batches()):
                with self.sent(images, labels) as there:
                    for name, path in models.items():
                        files = (self.transport.send(path), *there)
                        scores[name] += self.score_piece(name, scores[name].count, files)
        except OSError as error:
            return no_accuracy(models, f"the test images could not be written or read: {error}")
        except ConnectionLost:
            raise
        except EdgePruneError as error:
            return no_accuracy(models, str(error))
        return {name: score.report() for name, score in scores.items()}

    @contextmanager
    def sent(self, images: Path, labels: Path) -> Iterator[tuple[str, str]]:
        """Both files where the runner is, while the block lasts."""
        there: list[str] = []
        try:
            there += [self.transport.send(images)]
            there += [self.transport.send(labels)]
            yield there[0], there[1]
        finally:
            for remote in there:
                self.transport.remove(remote)

    def score_piece(self, name: str, before: int, files: tuple[str, str, str]) -> dict[str, int]:
        """The runner's counts for (model, images, labels), paths there; ``before`` images were done."""
        model, images, labels = files
        arguments = [
            *("--model", model, "--images", images, "--labels", labels),
            *("--runtime", self.runtime, "--threads", str(self.threads), "--batch", str(self.batch)),
            *self.words,
        ]

        def tell(event: dict[str, Any]) -> None:
            done = event.get("done")
            self.told(name, before + (done if isinstance(done, int) and 0 <= done < 2**31 else 0))

        part: dict[str, int] = call(self.transport, "accuracy", arguments, tell)
        return part


def no_accuracy(models: Iterable[str], reason: str) -> dict[str, dict[str, Any]]:
    """The report for every model when there is none."""
    return {name: {"accuracy": None, "accuracy_reason": reason, "accuracy_images": 0} for name in models}


def pieces_on_disk(batches: Batches) -> Iterator[tuple[Path, Path]]:
    """Write the images as pairs of .npy files of some ``PIECE_BYTES``; one is gone when the next is there."""
    with scratch_folder() as folder:
        images, labels = Path(folder) / "images.npy", Path(folder) / "labels.npy"
        for pictures, truth in pieces(batches, PIECE_BYTES):
            np.save(images, pictures)
            np.save(labels, truth)
            yield images, labels


def pieces(batches: Batches, limit_bytes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Join batches until they reach ``limit_bytes``: (float32 images, int64 labels)."""
    pictures: list[np.ndarray] = []
    truth: list[np.ndarray] = []
    for one, labels in batches:
        pictures.append(np.asarray(one, dtype=np.float32))
        truth.append(np.asarray(labels, dtype=np.int64))
        if sum(part.nbytes for part in pictures) >= limit_bytes:
            yield np.concatenate(pictures), np.concatenate(truth)
            pictures, truth = [], []
    if pictures:
        yield np.concatenate(pictures), np.concatenate(truth)
