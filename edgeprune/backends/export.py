"""Export a run: both models by each backend, each file compared on real images, and a record."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from edgeprune import backends
from edgeprune.backends.base import BATCH, INPUT, Backend, package_version
from edgeprune.backends.earlier import Earlier
from edgeprune.backends.flat import Example, has_free_batch, is_plain, output_on
from edgeprune.backends.image_metadata import image_metadata
from edgeprune.backends.jobs import Batches, Job, no_images
from edgeprune.backends.onnx import Onnx
from edgeprune.backends.record import FILE, ExportRecord
from edgeprune.backends.subjects import Subject, Subjects, run_subjects
from edgeprune.data import DataBundle
from edgeprune.errors import ExportError, RunError
from edgeprune.files.locks import held
from edgeprune.files.paths import explained
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.export import Artifact

if TYPE_CHECKING:
    from torch import nn

PARITY_BATCH = 64
RANDOM_BATCHES = 8  # on which a model without data is compared with its file
PACKAGES = ("edgeprune", "torch", "onnx", "onnxscript", "onnxruntime")


def export_run(
    subjects: str | Path | Subjects,
    *,
    to: Iterable[str | Backend] = ("onnx",),
    images: int = 256,
    progress: ProgressCallback | None = None,
) -> ExportRecord:
    """Export both models of a run, or other subjects, check them, and write ``export/``.

    Files of an earlier export that are of the same models stay, and stay in the record.

    Args:
        subjects: a finished run folder; or models that can be loaded, with a folder to write to.
        to: backends, by name or with options as in ``TensorRt("int8", workspace_mb=64)``; the backends that
            they need are added. The result says why one is skipped.
        images: real images, held out of training, on which the files are compared with the models; without data a few
            batches of random numbers.
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
    if not isinstance(subjects, Subjects):
        subjects = run_subjects(Path(subjects))
    report_progress = progress or no_progress
    steps = len(subjects.models) * len(ordered_backends)
    place = subjects.folder
    if place is None:
        raise ExportError(f"nothing says where the files of {subjects.title} go: name a folder with `out`")
    data = subjects.data() if subjects.data else None
    task = subjects.task()
    with explained(place):
        place.mkdir(parents=True, exist_ok=True)
    with held(place), _folder_aside((place / "export").resolve()) as (aside, publish):
        artifacts: list[Artifact] = []
        for subject in subjects.models:
            job = replace(_job(subject, aside, data, images), task=task)
            for backend in ordered_backends:
                report_progress(len(artifacts), steps, _step(backend, subject.name))
                artifacts.append(_exported(backend, job))
        published = publish(_record(job, data, ordered_backends, artifacts, images))
    report_progress(steps, steps, "exported")
    return published


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
    if job.example is not None and not isinstance(backend, Onnx):
        reason = (
            f"{type(job.model).__name__} maps no batch of images to one tensor: ONNX in fp32 alone takes it"
        )
    return backend.skipped(job, reason) if reason else backend.export(job)


def _job(subject: Subject, folder: Path, data: DataBundle | None, images: int) -> Job:
    assert subject.load is not None
    model = subject.load()
    digest = weights_digest(model)
    if data is not None:
        if subject.example is not None:
            _check_takes_images(model, data)
        held_out: Batches = partial(data.batches, _held_out(data), batch_size=PARITY_BATCH, limit=images)
        training: Batches = partial(data.batches, "train", batch_size=PARITY_BATCH)
        trained = subject.trained() if subject.trained else None
        precisions = subject.precisions() if subject.precisions else None
        return Job(
            model, subject.name, data.shape, folder, held_out, training, digest, trained=trained,
            precisions=precisions, metadata=image_metadata(data),
        )  # fmt: skip
    assert subject.example is not None
    example = subject.example(model)
    shape = tuple(example.tensors[0].shape[1:])
    output = output_on(model, example.arguments)
    random: Batches = partial(random_batches, example, min(images, RANDOM_BATCHES))
    if is_plain(example, output) and example.names == (INPUT,) and has_free_batch(model, example, output):
        alone: Batches = partial(
            _first_arguments, random
        )  # one batch of images to one tensor, as of any classifier
        return Job(model, subject.name, shape, folder, alone, no_images, digest)
    return Job(model, subject.name, shape, folder, random, no_images, digest, example=example)


def _check_takes_images(model: "nn.Module", data: DataBundle) -> None:
    """Raise unless a model that was named maps the data's images to one tensor, by which it is scored."""
    import torch

    output = output_on(model, (torch.zeros(1, *data.shape),))
    if not isinstance(output, torch.Tensor):
        raise ExportError(
            f"{type(model).__name__} returns a {type(output).__name__}, not scores: leave `data` out"
        )


def _first_arguments(batches: Batches) -> Iterator[tuple[Any, None]]:
    for arguments, _ in batches():
        yield arguments[0], None


def random_batches(example: Example, count: int) -> Iterator[tuple[Any, None]]:
    """Yield forward's arguments as in an example with normally distributed numbers; whole numbers and flags stay.

    Args:
        example: what forward is given.
        count: of batches.
    """
    import torch

    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        tensors = [
            torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
            if tensor.is_floating_point()
            else tensor
            for tensor in example.tensors
        ]
        yield example.filled(tensors), None


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
        published = msgspec.structs.replace(record, artifacts=(*record.artifacts, *kept))
        published.write(aside / FILE)
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
    job: Job,
    data: DataBundle | None,
    ordered_backends: Iterable[Backend],
    artifacts: Iterable[Artifact],
    images: int,
) -> ExportRecord:
    opset = next(
        (backend.options()["opset"] for backend in ordered_backends if isinstance(backend, Onnx)), None
    )
    made: dict[str, Any] = {
        "artifacts": tuple(artifacts),
        "versions": {name: package_version(name) for name in PACKAGES},
        "settings": {"opset": opset, "images": images},
    }
    if data is None:
        name = job.example.names[0] if job.example else INPUT
        return ExportRecord(**made, input={"name": name, "dtype": "float32", "shape": [BATCH, *job.shape]})
    import torch

    task = job.task
    output_shape = task.outputs_of(job.model(torch.zeros(1, *data.shape))).shape[1:]
    return ExportRecord(
        **made,
        input={
            "name": INPUT,
            "dtype": "float32",
            "shape": [BATCH, *data.shape],
            "mean": list(data.mean),
            "std": list(data.std),
        },
        output={
            "name": ", ".join(task.output_names), "dtype": "float32", "shape": [BATCH, *output_shape],
        },
        classes=tuple(data.classes),
    )  # fmt: skip
