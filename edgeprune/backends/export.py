"""Export a run: both models by each backend, each file compared on real images, and a record."""

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune import backends, tasks
from edgeprune.backends.base import (
    BATCH,
    INPUT,
    MODELS,
    Artifact,
    Backend,
    Batches,
    Job,
    package_version,
)
from edgeprune.backends.earlier import Earlier
from edgeprune.backends.onnx import Onnx
from edgeprune.backends.record import FILE, ExportRecord
from edgeprune.data import DataBundle
from edgeprune.errors import ExportError, RunError
from edgeprune.files.locks import held
from edgeprune.files.paths import explained
from edgeprune.files.writing import write_json
from edgeprune.processes.progress import ProgressCallback, no_progress

if TYPE_CHECKING:
    from torch import nn

PARITY_BATCH = 64
PACKAGES = ("edgeprune", "torch", "onnx", "onnxscript", "onnxruntime")


def export_run(
    run_path: str | Path,
    *,
    to: Iterable[str | Backend] = ("onnx",),
    images: int = 256,
    progress: ProgressCallback | None = None,
) -> dict[str, Any]:
    """Export both models of a run, check them, and write ``export/``.

    Files of an earlier export that are of the same models stay, and stay in the record.

    Args:
        run_path: a finished run folder.
        to: backends, by name or with options as in ``TensorRt("int8", workspace_mb=64)``; the backends that
            they need are added. The result says why one is skipped.
        images: real images, held out of training, on which the files are compared with the models.
        progress: called with (done, total, text) before each step.

    Returns:
        What is in export/export.json: versions, settings, and an artifact for each model and backend.

    Raises:
        RunError: it is not a finished run, or another process works on it.
        ExportError: there is no such backend, or a model cannot be exported or disagrees with the reference;
            the export folder is then unchanged.
    """
    if images < 1:
        raise ExportError(f"images must be at least 1, not {images}: the export is checked on them")
    ordered_backends = with_needs(
        [backends.get(backend)() if isinstance(backend, str) else backend for backend in to]
    )
    import torch

    from edgeprune.runs.run import Run

    run = Run.open(Path(run_path))
    data, task = run.data(), tasks.get(run.task)
    report_progress = progress or no_progress
    steps = len(MODELS) * len(ordered_backends)
    with held(run.path), _folder_aside((run.path / "export").resolve()) as (aside, publish):
        artifacts: list[Artifact] = []
        for model in MODELS:
            job = replace(_job(run.load(model), model, aside, data, images), task=task)
            for backend in ordered_backends:
                report_progress(len(artifacts), steps, _step(backend, model))
                artifacts.append(_exported(backend, job))
        shape = task.outputs_of(job.model(torch.zeros(1, *data.shape))).shape[1:]
        record = _record(data, ordered_backends, artifacts, images, tuple(shape), task.output_names)
        published = publish(record)
    report_progress(steps, steps, "exported")
    return published.to_dict()


def with_needs(requested: Iterable[Backend]) -> list[Backend]:
    """Return the backends in an order in which each comes after those that it needs.

    Raises:
        ExportError: there are no backends, or a needed one does not exist.
    """
    by_name = {(backend.name, backend.precision): backend for backend in requested}
    if not by_name:
        raise ExportError(f"nothing to export to: name backends, of {', '.join(backends.names())}")
    ordered: dict[str, Backend] = {}

    def add(backend: Backend) -> None:
        for name in backend.needs.get(backend.numbers, ()):
            add(
                next((source for source in by_name.values() if source.name == name), None)
                or backends.get(name)()
            )
        ordered.setdefault(f"{backend.name} {backend.precision}", backend)

    for backend in by_name.values():
        add(backend)
    return list(ordered.values())


def _step(backend: Backend, model: str) -> str:
    return f"exporting {model}" if backend.name == "onnx" else f"{backend.title} of {model}"


def _exported(backend: Backend, job: Job) -> Artifact:
    reason = backend.why_skipped()
    return backend.skipped(job, reason) if reason else backend.export(job)


def _job(model: "nn.Module", name: str, folder: Path, data: DataBundle, images: int) -> Job:
    held_out: Batches = partial(data.batches, _held_out(data), batch_size=PARITY_BATCH, limit=images)
    training: Batches = partial(data.batches, "train", batch_size=PARITY_BATCH)
    return Job(model, name, data.shape, folder, held_out, training, weights_digest(model))


def weights_digest(model: "nn.Module") -> str:
    """Return the sha256 of a model's parameters and buffers, with their names."""
    import torch

    digest = sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _held_out(data: DataBundle) -> str:
    """Return the split to compare on: the test images are reserved for the final accuracy."""
    return "val" if data.sizes["val"] else "train"


@contextmanager
def _folder_aside(folder: Path) -> Iterator[tuple[Path, Callable[[ExportRecord], ExportRecord]]]:
    """Yield a folder aside, which is removed afterwards, and a function that publishes it as ``folder``.

    The record is moved last and the old one removed first, so that a record always describes the files beside
    it.
    """
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with explained(folder):
            aside.mkdir()
        yield aside, partial(_publish, aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _publish(aside: Path, folder: Path, record: ExportRecord) -> ExportRecord:
    """Move the new files into the folder, remove the outdated ones; return the record as written."""
    earlier = Earlier(_earlier_artifacts(folder), record.artifacts, folder, tuple(_kinds()))
    with explained(folder):
        kept, outdated = earlier.kept(), list(earlier.outdated())
        published = record.with_artifacts((*record.artifacts, *kept))
        write_json(aside / FILE, published.to_dict())
        folder.mkdir(exist_ok=True)
        (folder / FILE).unlink(missing_ok=True)
        for path in outdated:
            path.unlink(missing_ok=True)
        for path in sorted(aside.iterdir(), key=lambda path: path.name == FILE):
            path.replace(folder / path.name)
    return published


def _earlier_artifacts(folder: Path) -> tuple[Artifact, ...]:
    if not (folder / FILE).is_file():
        return ()
    try:
        return ExportRecord.read(folder).artifacts
    except RunError:  # damaged, or of a later edgeprune: it is ignored
        return ()


def _kinds() -> Iterator[Backend]:
    """Yield every backend that can be imported, in each precision."""
    for name in backends.names():
        try:
            backend = backends.get(name)
        except ExportError:
            continue
        yield from (backend(precision) for precision in backend.precisions)


def _record(
    data: DataBundle,
    ordered_backends: Iterable[Backend],
    artifacts: Iterable[Artifact],
    images: int,
    output_shape: tuple[int, ...],
    names: Sequence[str],
) -> ExportRecord:
    opset = next(
        (backend.options()["opset"] for backend in ordered_backends if isinstance(backend, Onnx)), None
    )
    return ExportRecord(
        artifacts=tuple(artifacts),
        versions={name: package_version(name) for name in PACKAGES},
        settings={"opset": opset, "images": images},
        input={
            "name": INPUT,
            "dtype": "float32",
            "shape": [BATCH, *data.shape],
            "mean": list(data.mean),
            "std": list(data.std),
        },
        output={"name": ", ".join(names), "dtype": "float32", "shape": [BATCH, *output_shape]},
        classes=tuple(data.classes),
    )
