"""Exporting a run: both models to ONNX, each compared with torch on real images, and a record."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import nn

from edgeprune.data import DataBundle
from edgeprune.errors import ExportError
from edgeprune.export.onnx import BATCH, DEFAULT_OPSET, INPUT, OUTPUT, export_model
from edgeprune.export.parity import check_parity, measure_parity
from edgeprune.export.tensorrt import skip_reason
from edgeprune.files import explain_os_error, write_json

Progress = Callable[[int, int, str], None]
MODELS = ("baseline", "pruned")
PARITY_BATCH = 64
RECORD = "export.json"


def export_run(
    run_path: str | Path,
    *,
    trt: bool = False,
    images: int = 256,
    opset: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Export both models of a run, check them, and write ``export/``.

    Args:
        run_path: a finished run folder.
        trt: whether a TensorRT engine is wanted too; why there is none is in the result.
        images: real images, held out of training, on which ONNX Runtime is compared with torch.
        opset: of ONNX.
        progress: called with (done, total, text) before each step.

    Returns:
        What is in export/export.json: versions, settings, and for each model its file, size, parameter
        count and parity.

    Raises:
        RunError: when it is no finished run.
        ExportError: when a model cannot be exported, or disagrees with torch; the export folder is then
            as it was.
    """
    if images < 1:
        raise ExportError(f"images must be at least 1, not {images}: the export is checked on them")
    from edgeprune.runs import Run

    run = Run.open(Path(run_path))
    data = run.data()
    tell = progress or _silent
    with _prepared(run.path / "export") as folder:
        records = {}
        for index, name in enumerate(MODELS):
            tell(index, len(MODELS), f"exporting {name}")
            records[name] = _export_one(run.load(name), name, folder, data, images=images, opset=opset)
        record = _record(data, records, trt=trt, images=images, opset=opset)
        write_json(folder / RECORD, record)
    tell(len(MODELS), len(MODELS), "exported")
    return record


@contextmanager
def _prepared(folder: Path) -> Iterator[Path]:
    """A folder to write in; on success its files replace those of ``folder``, else it is removed.

    The record goes last and its old one first, so that a record always speaks of the files beside it.
    """
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with _explained(folder):
            aside.mkdir()
        yield aside
        with _explained(folder):
            _publish(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _publish(aside: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    for path in sorted(aside.iterdir(), key=lambda path: path.name == RECORD):
        path.replace(folder / path.name)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, folder) from error


def _silent(_done: int, _total: int, _text: str) -> None:
    """Progress that nobody watches."""


def _export_one(
    model: nn.Module, name: str, folder: Path, data: DataBundle, *, images: int, opset: int | None
) -> dict[str, Any]:
    file = export_model(model, data.shape, folder / f"{name}.onnx", opset=opset)
    # Held-out training images: the test images are for the one accuracy at the end.
    split = "val" if data.sizes["val"] else "train"
    parity = measure_parity(model, file.path, data.batches(split, batch_size=PARITY_BATCH, limit=images))
    check_parity(parity, name)
    return {
        "file": file.path.name,
        "exporter": file.exporter,
        "opset": file.opset,
        "ir_version": file.ir_version,
        "sha256": file.sha256,
        "size_bytes": file.size_bytes,
        "params": sum(weight.numel() for weight in model.parameters()),
        "parity": asdict(parity),
    }


def _record(
    data: DataBundle, models: dict[str, Any], *, trt: bool, images: int, opset: int | None
) -> dict[str, Any]:
    return {
        "schema": 1,
        "versions": {
            name: _version(name) for name in ("edgeprune", "torch", "onnx", "onnxscript", "onnxruntime")
        },
        "settings": {"opset": DEFAULT_OPSET if opset is None else opset, "images": images},
        "input": {
            "name": INPUT,
            "dtype": "float32",
            "shape": [BATCH, *data.shape],
            "mean": list(data.mean),
            "std": list(data.std),
        },
        "output": {"name": OUTPUT, "dtype": "float32", "shape": [BATCH, len(data.classes)]},
        "classes": list(data.classes),
        "models": models,
        "tensorrt": {"built": False, "skipped_because": skip_reason()} if trt else None,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
