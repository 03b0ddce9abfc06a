"""The network whose sensitivity is measured, with its images and the folder of the result."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeprune.data import Batch, DataBundle, load_data
from edgeprune.errors import DataError, ModelError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.models import build, load_weights
from edgeprune.runs.run import Run
from edgeprune.runs.sources import SAVED, check_source, load_source, weights_of
from edgeprune.runs.subject_options import SubjectOptions
from edgeprune.tasks import Task, for_targets, get

BATCH = 250


@dataclass(frozen=True)
class SensitivitySubject:
    """A network and the images that judge it.

    Attributes:
        title: as it was named.
        graph: of the network, in evaluation mode.
        data: with the images.
        split: "val" of a run, whose test images are for its end; "test" otherwise.
        task: has the metric.
        folder: of the result.
    """

    title: str
    graph: Graph
    data: DataBundle
    split: str
    task: Task
    folder: Path

    def images(self, limit: int) -> list[Batch]:
        """Return the first images of the split, in its fixed mixed order."""
        return list(self.data.batches(self.split, batch_size=min(BATCH, limit), limit=limit))

    def scoring_batches(self) -> Iterator[Batch]:
        """Return training images for a criterion that looks at data."""
        return self.data.batches("train", batch_size=64, limit=640)

    def conditions(self) -> dict[str, str]:
        """Return what a measured point depends on, apart from the options."""
        return {
            "fingerprint": self.graph.fingerprint,
            "weights": _digest(self.graph.model.state_dict()),
            "data": f"{self.data.name} {self.split} {self.data.sizes[self.split]}",
            "task": self.task.name,
        }


def subject_of(
    source: str, options: SubjectOptions, opaque: list[str] | None = None, ignore: tuple[str, ...] = ()
) -> SensitivitySubject:
    """Return the network that a command line names.

    Args:
        source: a run folder, whose unpruned network counts; a file of `edgeprune.save`; or a name or a factory, with
            weights.
        options: what was typed of it.
        opaque: modules that are not traced and not pruned; None for those of the run.
        ignore: layers whose output channels are all kept.

    Raises:
        RunError: the run is damaged, or has no baseline yet. ModelError: there is no such model, or it has no weights.
        DataError: there are no images. TraceError: the model cannot be traced.
    """
    if Path(source).is_dir():
        return _of_run(Path(source), options, opaque, ignore)
    check_source(source, options)
    if options.data is None:
        raise DataError(f"say which images judge {source}: `data=DIR`, or the name of a data set")
    weights = weights_of(source, options)
    data = load_data(options.data, root=options.data_root, image_size=options.image_size)
    task = for_targets(data.kind)
    model = _built(source, options, weights, data, task)
    name = f"sensitivity-{Path(source).stem if source.endswith(SAVED) else source.replace(':', '-')}"
    folder = Path(options.out) if options.out else Path("runs") / name
    return _subject(source, model, data, "test", task, folder, (tuple(opaque or ()), ignore))


def _of_run(
    path: Path, options: SubjectOptions, opaque: list[str] | None, ignore: tuple[str, ...]
) -> SensitivitySubject:
    run = Run.open(path)
    for name in options.typed:
        if name != "out":
            raise ModelError(f"{path} is a run folder, which defines it: leave `{name}` out")
    folder = Path(options.out) if options.out else path
    kept_out = tuple(run.opaque if opaque is None else opaque), ignore
    return _subject(str(path), run.load("baseline"), run.data(), "val", get(run.task), folder, kept_out)


def _subject(
    title: str,
    model: nn.Module,
    data: DataBundle,
    split: str,
    task: Task,
    folder: Path,
    kept_out: tuple[tuple[str, ...], tuple[str, ...]],
) -> SensitivitySubject:
    """Trace a network; ``kept_out`` are the opaque modules and the layers to ignore."""
    if not data.sizes[split]:
        raise DataError(f"{title} has no held-out images: train it with `val_fraction` above 0")
    opaque, ignore = kept_out
    graph = build_graph(model.eval(), torch.zeros(1, *data.shape), ignore, opaque)
    return SensitivitySubject(title, graph, data, split, task, folder)


def _built(
    source: str, options: SubjectOptions, weights: str | None, data: DataBundle, task: Task
) -> nn.Module:
    """Return a model by name with its weights, for the classes of the data; or a saved one."""
    if source.endswith(SAVED):
        return load_source(source, replace(options, data=None))
    arguments: Mapping[str, Any] = task.model_args(data)
    if options.classes is not None:
        arguments = {**arguments, "num_classes": options.classes}
    model = build(source, **arguments)
    if weights is not None:
        load_weights(model, weights)
    return model


def _digest(state: Mapping[str, torch.Tensor]) -> str:
    """Return a digest of a network's tensors."""
    total = hashlib.sha256()
    for name, tensor in state.items():
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
