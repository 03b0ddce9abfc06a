"""Exporting a run: both models by each backend, each file compared on real images, and a record."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune import backends
from edgeprune.backends.base import BATCH, INPUT, MODELS, OUTPUT, Artifact, Backend, Batches, Job, version_of
from edgeprune.backends.earlier import Earlier
from edgeprune.backends.onnx import Onnx
from edgeprune.backends.record import FILE, ExportRecord
from edgeprune.data import DataBundle
from edgeprune.errors import ExportError, RunError
from edgeprune.files.locks import held
from edgeprune.files.paths import explained
from edgeprune.files.writing import write_json

if TYPE_CHECKING:
    from torch import nn

Progress = Callable[[int, int, str], None]
PARITY_BATCH = 64
PACKAGES = ("edgeprune", "torch", "onnx", "onnxscript", "onnxruntime")


def export_run(
    run_path: str | Path,
    *,
    to: Iterable[str | Backend] = ("onnx",),
    images: int = 256,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Export both models of a run, check them, and write ``export/``.

    Files of an earlier export that are of the same models stay, and stay in the record.

    Args:
        run_path: a finished run folder.
        to: backends, by name or with options as in ``TensorRt("int8", workspace_mb=64)``; what they need is
            exported too. Why one is skipped is in the result.
        images: real images, held out of training, on which the files are compared with the models.
        progress: called with (done, total, text) before each step.

    Returns:
        What is in export/export.json: versions, settings, and an artifact for each model and backend.

    Raises:
        RunError: when it is no finished run, or another process works on it.
        ExportError: when there is no such backend, or a model cannot be exported or disagrees with the
            reference; the export folder is then as it was.
    """
    if images < 1:
        raise ExportError(f"images must be at least 1, not {images}: the export is checked on them")
    wanted = with_needs([backends.get(one)() if isinstance(one, str) else one for one in to])
    from edgeprune.runs.run import Run

    run = Run.open(Path(run_path))
    data = run.data()
    tell = progress or _silent
    steps = len(MODELS) * len(wanted)
    with held(run.path), _folder_aside((run.path / "export").resolve()) as (aside, publish):
        artifacts: list[Artifact] = []
        for model in MODELS:
            job = _job(run.load(model), model, aside, data, images)
            for backend in wanted:
                tell(len(artifacts), steps, _step(backend, model))
                artifacts.append(_exported(backend, job))
        record = _record(data, wanted, artifacts, images)
        published = publish(record)
    tell(steps, steps, "exported")
    return published.to_dict()


def with_needs(wanted: Iterable[Backend]) -> list[Backend]:
    """Return the backends in an order in which each comes after those that it needs.

    Raises:
        ExportError: one is by_name for with several options, or there are none.
    """
    by_name = {(one.name, one.precision): one for one in wanted}
    if not by_name:
        raise ExportError(f"nothing to export to: name backends, of {', '.join(backends.names())}")
    ordered: dict[str, Backend] = {}

    def add(backend: Backend) -> None:
        for name in backend.needs.get(backend.numbers, ()):
            add(next((one for one in by_name.values() if one.name == name), None) or backends.get(name)())
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
    """Return the split of held-out training images: the test images are for the one accuracy at the end."""
    return "val" if data.sizes["val"] else "train"


@contextmanager
def _folder_aside(folder: Path) -> Iterator[tuple[Path, Callable[[ExportRecord], ExportRecord]]]:
    """Yield a folder to write in, and what makes its files replace those of ``folder``; else it is removed.

    The record goes last and its old one first, so that a record always speaks of the files beside it.
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
    """Move the new files into the folder, remove those that are outdated; return the record as it is written."""
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
    except RunError:  # damaged, or of a later edgeprune: nothing of it is relied on
        return ()


def _kinds() -> Iterator[Backend]:
    """Yield every backend that can be imported, in each precision."""
    for name in backends.names():
        try:
            backend = backends.get(name)
        except ExportError:
            continue
        yield from (backend(precision) for precision in backend.precisions)


def _silent(_done: int, _total: int, _text: str) -> None:
    """Progress that nobody watches."""


def _record(
    data: DataBundle, wanted: Iterable[Backend], artifacts: Iterable[Artifact], images: int
) -> ExportRecord:
    opset = next((one.options()["opset"] for one in wanted if isinstance(one, Onnx)), None)
    return ExportRecord(
        artifacts=tuple(artifacts),
        versions={name: version_of(name) for name in PACKAGES},
        settings={"opset": opset, "images": images},
        input={
            "name": INPUT,
            "dtype": "float32",
            "shape": [BATCH, *data.shape],
            "mean": list(data.mean),
            "std": list(data.std),
        },
        output={"name": OUTPUT, "dtype": "float32", "shape": [BATCH, len(data.classes)]},
        classes=tuple(data.classes),
    )
