"""Score the exported files on the test images by the task's metrics, in pieces that fit a small disk."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from edgeprune_target.scratch import scratch_folder

from edgeprune.bench.local import Transport
from edgeprune.bench.replies import call
from edgeprune.errors import ConnectionLost, EdgePruneError
from edgeprune.tasks import Classification, Task
from edgeprune.tasks.classification import ACCURACY

PIECE_BYTES = 128 << 20  # of images written at a time; all of ImageNet's would be 30 GB
BATCH = 64

Batches = Iterable[tuple[Any, Any]]
ScoreProgress = Callable[[str, int], None]  # (model name, images scored so far)


@dataclass(frozen=True)
class Score:
    """What the runner's scorer counted, over all pieces.

    Attributes:
        task: makes its metrics from the counts.
        count: of images.
        not_finite: of images whose outputs are not all numbers.
        totals: what else was counted, by name.
        targets: of the images, where the task needs them here.
    """

    task: Task = field(default_factory=Classification)
    count: int = 0
    not_finite: int = 0
    totals: Mapping[str, Any] = field(default_factory=dict)
    targets: tuple[Any, ...] = ()

    def __add__(self, part: Mapping[str, Any]) -> "Score":
        """Add the runner's counts for one piece; ``targets``, of its images, are added here."""
        own = ("count", "not_finite", "targets")
        counted = {name: value for name, value in part.items() if name not in own and value is not None}
        return Score(
            self.task,
            self.count + part["count"],
            self.not_finite + part["not_finite"],
            self.task.joined(self.totals, counted),
            (*self.targets, *part.get("targets", ())),
        )

    def report(self) -> dict[str, Any]:
        """Return ``scores`` by metric and ``accuracy`` as a fraction, or None with the reason."""
        reason = None
        if self.count == 0:
            reason = "the data set has no test images"
        elif self.not_finite:
            reason = f"{self.not_finite} of {self.count} images gave logits that are not finite"
        totals = {**self.totals, "count": self.count, "targets": self.targets}
        scores = self.task.scored(totals) if reason is None else None
        accuracy = (scores or {}).get(ACCURACY.name)
        if scores is not None and accuracy is None:
            reason = f"not what the task {self.task.name} is scored by: see `scores`"
        return {
            "accuracy": accuracy,
            "accuracy_reason": reason,
            "accuracy_images": self.count,
            "scores": scores,
        }


@dataclass(frozen=True)
class Scorer:
    """Scores files through one transport, with one runtime.

    Attributes:
        transport: reaches the runner.
        runtime: name of the runner's runtime.
        threads: threads of the runtime.
        progress: called with (model name, images scored so far).
        batch: images per call; an engine may have been built for a single batch size.
        words: further arguments of the runner, specific to the runtime.
        task: says what is counted, and makes its metrics from that.
    """

    transport: Transport
    runtime: str
    threads: int
    progress: ScoreProgress
    batch: int = BATCH
    words: tuple[str, ...] = ()
    task: Task = field(default_factory=Classification)

    def score_all(
        self, models: Mapping[str, Path], batches: Callable[[], Batches]
    ) -> dict[str, dict[str, Any]]:
        """Return ``Score.report()`` for each model; without test images, None with the reason.

        Args:
            models: name -> model file.
            batches: gives (float32 (N, C, H, W), targets) batches of normalised test images.

        Raises:
            ConnectionLost: the device is gone; every other failure becomes a reason.
        """
        reason = getattr(self.transport, "why_no_accuracy", None)
        if reason is None and self.task.target_scorer is None:
            reason = f"the task {self.task.name} is not scored on devices"
        if reason is not None:
            return no_accuracy(models, reason)
        scores = {name: Score(self.task) for name in models}
        try:
            for images, labels, targets in pieces_on_disk(batches(), self.task):
                with self.sent(images, labels) as remote_paths:
                    for name, path in models.items():
                        files = (self.transport.send(path), *remote_paths)
                        part = self.score_piece(name, scores[name].count, files)
                        scores[name] += {**part, "targets": targets}
        except OSError as error:
            return no_accuracy(models, f"the test images could not be written or read: {error}")
        except ConnectionLost:
            raise
        except EdgePruneError as error:
            return no_accuracy(models, str(error))
        return {name: score.report() for name, score in scores.items()}

    @contextmanager
    def sent(self, images: Path, labels: Path) -> Iterator[tuple[str, str]]:
        """Send both files to the runner's machine and remove them when the block ends."""
        remote_paths: list[str] = []
        try:
            remote_paths += [self.transport.send(images)]
            remote_paths += [self.transport.send(labels)]
            yield remote_paths[0], remote_paths[1]
        finally:
            for remote in remote_paths:
                self.transport.remove(remote)

    def score_piece(self, name: str, before: int, files: tuple[str, str, str]) -> dict[str, Any]:
        """Return the runner's counts for one piece of the test images.

        Args:
            name: of the model, for the progress.
            before: images that were scored in earlier pieces.
            files: (model, images, labels): paths on the runner's machine.

        Raises:
            BenchError: the runner failed.
        """
        model, images, labels = files
        arguments = [
            *("--model", model, "--images", images, "--labels", labels),
            *("--scorer", str(self.task.target_scorer)),
            *("--runtime", self.runtime, "--threads", str(self.threads), "--batch", str(self.batch)),
            *self.words,
        ]

        def on_event(event: dict[str, Any]) -> None:
            done = event.get("done")
            self.progress(name, before + (done if isinstance(done, int) and 0 <= done < 2**31 else 0))

        part: dict[str, Any] = call(self.transport, "accuracy", arguments, on_event)
        return part


def limited(batches: Callable[[], Batches], most: int | None) -> Callable[[], Batches]:
    """Return what gives the first images of some batches.

    Args:
        batches: gives all.
        most: number of images; None for all.
    """
    if most is None:
        return batches

    def first() -> Batches:
        left = most
        for images, targets in batches():
            yield images[:left], targets[:left]
            left -= len(images)
            if left <= 0:
                return

    return first


def no_accuracy(models: Iterable[str], reason: str) -> dict[str, dict[str, Any]]:
    """Return the report of every model when accuracy could not be measured."""
    nothing = {"accuracy": None, "accuracy_reason": reason, "accuracy_images": 0, "scores": None}
    return {name: dict(nothing) for name in models}


def pieces_on_disk(batches: Batches, task: Task) -> Iterator[tuple[Path, Path, Sequence[Any]]]:
    """Write the images as pairs of .npy files of about ``PIECE_BYTES``; each pair replaces the last."""
    with scratch_folder() as folder:
        images, labels = Path(folder) / "images.npy", Path(folder) / "labels.npy"
        for image_array, label_array, targets in pieces(batches, PIECE_BYTES, task):
            np.save(images, image_array)
            np.save(labels, label_array)
            yield images, labels, targets


def pieces(
    batches: Batches, limit_bytes: int, task: Task
) -> Iterator[tuple[np.ndarray, np.ndarray, Sequence[Any]]]:
    """Join batches until they reach a number of bytes.

    Args:
        batches: of images and targets.
        limit_bytes: of images.
        task: says where they are scored.

    Yields:
        float32 images; targets for the runner, int64, which are zeros where the host has the targets that it needs;
        and these.
    """
    images: list[np.ndarray] = []
    sent: list[np.ndarray] = []
    kept: list[Any] = []
    for batch, targets in batches:
        images.append(np.asarray(batch, dtype=np.float32))
        sent.append(np.zeros(len(batch), np.int64) if task.scored_on_host else np.asarray(targets, np.int64))
        kept += targets if task.scored_on_host else []
        if sum(part.nbytes for part in images) >= limit_bytes:
            yield np.concatenate(images), np.concatenate(sent), kept
            images, sent, kept = [], [], []
    if images:
        yield np.concatenate(images), np.concatenate(sent), kept
