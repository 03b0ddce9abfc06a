"""Write a model in the format that a device's runtime loads, for a measurement of its time alone."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeprune.backends.base import Backend
from edgeprune.backends.export import with_needs
from edgeprune.backends.jobs import Job
from edgeprune.backends.onnx import Onnx, OnnxFileBackend
from edgeprune.backends.onnx_export import export_model, export_quickly
from edgeprune.backends.runner import silent
from edgeprune.errors import ExportError


def job_of(model: nn.Module, name: str, shape: tuple[int, ...], folder: Path, batch: int) -> Job:
    """Return the job of a model whose file is only timed: int8 is calibrated on one batch of random numbers.

    Which scales it gets changes no time.

    Args:
        model: in eval mode, on the CPU.
        name: of the file.
        shape: (C, H, W) of an image.
        folder: of the file.
        batch: images per inference.
    """
    return Job(model, name, shape, folder, calibration=partial(_noise, shape, batch))


def write_model(backend: Backend, job: Job, batch: int, *, quickly: bool = False) -> Path:
    """Write a model's file, and beside it the files that it is made from; return it.

    An ONNX file that is run as it is is for the batch that is measured, whose size is then no computation in it.

    Args:
        backend: whose file the runtime loads.
        job: the model.
        batch: images per inference.
        quickly: by torch's older exporter, where there is an ONNX file and that can write it.

    Raises:
        ExportError: it cannot be written.
    """
    if any(source.name == Onnx.name for source in with_needs([backend])):
        runs_onnx = isinstance(backend, OnnxFileBackend)
        # edgeprune's quantiser runs the file on batches of its own sizes
        frees_batch = backend.precision == "int8" and batch > 1
        fixed = batch if runs_onnx and not frees_batch else None
        path = job.folder / Onnx().file_name(job.name)
        _write_onnx(job, path, fixed, quickly=quickly and not (runs_onnx and frees_batch))
    return write_others(backend, job)


def write_others(backend: Backend, job: Job) -> Path:
    """Write a model's file where its float32 ONNX file is there already; return it.

    Args:
        backend: whose file the runtime loads.
        job: the model.

    Raises:
        ExportError: it cannot be written.
    """
    for source in with_needs([backend]):
        if source.name != Onnx.name:
            with silent():  # ONNX Runtime warns of what its own quantiser leaves behind
                source.write(job)
    return job.folder / backend.file_name(job.name)


def _write_onnx(job: Job, path: Path, batch: int | None, *, quickly: bool) -> None:
    if quickly:
        try:
            export_quickly(job.model, job.shape, path, batch=batch or 1)
        except ExportError:  # it writes fewer models
            pass
        else:
            return
    export_model(job.model, job.shape, path, batch=batch)


def _noise(shape: tuple[int, ...], batch: int) -> Iterator[tuple[Any, None]]:
    yield torch.randn(batch, *shape, generator=torch.Generator().manual_seed(0)), None
