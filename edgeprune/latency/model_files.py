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

CALIBRATION_BATCHES = 4  # of random numbers: which scales int8 gets changes no time


def job_of(model: nn.Module, name: str, shape: tuple[int, ...], folder: Path, batch: int) -> Job:
    """Return the job of a model whose file is only timed: int8 is calibrated on random numbers.

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
        fixed = batch if isinstance(backend, OnnxFileBackend) else None
        _write_onnx(job, job.folder / Onnx().file_name(job.name), fixed, quickly=quickly)
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
    generator = torch.Generator().manual_seed(0)
    for _ in range(CALIBRATION_BATCHES):
        yield torch.randn(batch, *shape, generator=generator), None
