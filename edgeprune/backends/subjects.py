"""Subjects: the pair of models, or the one, that is exported and measured, with where they come from."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune import tasks
from edgeprune.backends.base import ALONE, MODELS
from edgeprune.backends.inputs import ModelInput
from edgeprune.errors import BenchError
from edgeprune.tasks import Classification, Task

if TYPE_CHECKING:
    from torch import nn

    from edgeprune.backends.flat import Example
    from edgeprune.data import DataBundle
    from edgeprune.quantization.trained import Trained
    from edgeprune.runs.run import Run

QUANTIZED = "quantized.safetensors"  # of a run that was trained for int8
NO_DATA = "no test images are known: name a data set with --data"


@dataclass(frozen=True)
class Subject:
    """One model.

    Attributes:
        name: "baseline" or "pruned" of a pair, "model" of one alone.
        origin: where it comes from, for people.
        load: builds it, in eval mode on the CPU; None where only a file of it is known.
        file: an ONNX file of it; None where it is yet to be exported.
        trained: loads constants and ranges of its int8; None where it was not trained with int8's rounding.
        precisions: returns the precision that a run chose for each layer, None where it chose none.
        example: makes what its forward is given; None where that is a batch of the data's images.
    """

    name: str
    origin: str
    load: "Callable[[], nn.Module] | None" = None
    file: Path | None = None
    trained: "Callable[[], Trained] | None" = None
    precisions: "Callable[[], Mapping[str, str] | None] | None" = None
    example: "Callable[[nn.Module], Example] | None" = None


@dataclass(frozen=True)
class Subjects:
    """A pair of models or one.

    Attributes:
        title: for people.
        models: one, or baseline and pruned.
        folder: with their ``export/`` and ``bench/``; None where nothing is kept.
        inputs: typed by the user; none where files or data say it all.
        data: loads the data set whose images the models take; None where none is known.
        why_no_score: why there are no such batches.
        task: returns the one that they are scored by.
        is_run: whether ``folder`` is a run folder.
        inputs_words: options by which `edgeprune prune` got its inputs, where it pruned them.
    """

    title: str
    models: tuple[Subject, ...]
    folder: Path | None = None
    inputs: tuple[ModelInput, ...] = ()
    data: "Callable[[], DataBundle] | None" = None
    why_no_score: str = NO_DATA
    task: Callable[[], Task] = Classification
    is_run: bool = False
    inputs_words: str = ""

    def test_batches(self) -> Iterable[tuple[Any, Any]]:
        """Return the normalised test images with their targets, in their fixed order."""
        assert self.data is not None
        return self.data().batches("test")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models."""
        return tuple(model.name for model in self.models)

    @property
    def origins(self) -> dict[str, str]:
        """Where each model comes from, by name."""
        return {model.name: model.origin for model in self.models}

    @property
    def files(self) -> dict[str, Path] | None:
        """The files by name, where they are all known; None where models are to be exported."""
        files = {model.name: model.file for model in self.models if model.file is not None}
        return files if len(files) == len(self.models) else None


def run_subjects(folder: Path) -> Subjects:
    """Return the models of a run as subjects, with its data."""

    def load(name: str) -> "nn.Module":
        return _run(folder).load(name)

    def trained() -> "Trained":
        from edgeprune.files.tensors import read_tensors
        from edgeprune.quantization.trained import Trained

        tensors = read_tensors(folder / QUANTIZED)
        return Trained.from_arrays({name: tensor.numpy() for name, tensor in tensors.items()})

    def precisions() -> "Mapping[str, str] | None":
        return _run(folder).precisions()

    baseline, pruned = (Subject(name, str(folder), partial(load, name)) for name in MODELS)
    pruned = replace(
        pruned, trained=trained if (folder / QUANTIZED).is_file() else None, precisions=precisions
    )
    models = (baseline, pruned)

    def task() -> Task:
        return tasks.get(_run(folder).task)

    return Subjects(str(folder), models, folder, data=lambda: _run(folder).data(), task=task, is_run=True)


def _run(folder: Path) -> "Run":
    from edgeprune.runs.run import Run

    return Run.open(folder)


def names_for(count: int) -> Sequence[str]:
    """Return the names of one model, or of two.

    Raises:
        BenchError: there are more.
    """
    if count > len(MODELS):
        raise BenchError(
            f"{count} models were named: name one, or the unpruned and the pruned one to compare them"
        )
    return MODELS if count == len(MODELS) else ALONE
