"""Exporting a run: both models to ONNX, each compared with torch on real images, and a record."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from torch import nn

from edgeprune.data import DataBundle
from edgeprune.errors import ExportError
from edgeprune.export.onnx import BATCH, DEFAULT_OPSET, INPUT, OUTPUT, export_model
from edgeprune.export.parity import check_parity, measure_parity
from edgeprune.export.tensorrt import TrtOptions, build_engine, skip_reason, typed_model
from edgeprune.files import explained, write_json
from edgeprune.locks import held

Progress = Callable[[int, int, str], None]
MODELS = ("baseline", "pruned")
PARITY_BATCH = 64
RECORD = "export.json"


def export_run(
    run_path: str | Path,
    *,
    trt: TrtOptions | bool = False,
    images: int = 256,
    opset: int | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Export both models of a run, check them, and write ``export/``.

    Args:
        run_path: a finished run folder.
        trt: whether TensorRT engines are wanted too, and which; why there are none is in the result.
        images: real images, held out of training, on which ONNX Runtime is compared with torch.
        opset: of ONNX.
        progress: called with (done, total, text) before each step.

    Returns:
        What is in export/export.json: versions, settings, and for each model its file, size, parameter
        count and parity.

    Raises:
        RunError: when it is no finished run, or another process works on it.
        ExportError: when a model cannot be exported or disagrees with torch, or its engine cannot be built
            or disagrees with ONNX Runtime; the export folder is then as it was.
    """
    if images < 1:
        raise ExportError(f"images must be at least 1, not {images}: the export is checked on them")
    from edgeprune.runs import Run

    run = Run.open(Path(run_path))
    data = run.data()
    tell = progress or _silent
    wished = TrtOptions() if trt is True else trt or None
    steps = len(MODELS) * (2 if wished else 1)
    with held(run.path), _prepared((run.path / "export").resolve()) as folder:
        records = {}
        for index, name in enumerate(MODELS):
            tell(index, steps, f"exporting {name}")
            records[name] = _export_one(run.load(name), name, folder, data, images=images, opset=opset)
        record = _record(data, records, images=images, opset=opset)
        if wished:
            told = partial(tell, len(MODELS), steps)
            record["tensorrt"] = _engines(folder, data, wished, images, told)
        write_json(folder / RECORD, record)
    tell(steps, steps, "exported")
    return record


def _engines(
    folder: Path, data: DataBundle, wished: TrtOptions, images: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Engines of both models, or why there are none; and the ONNX files that have the precision."""
    held_out = partial(data.batches, _held_out(data), batch_size=PARITY_BATCH, limit=images)
    training = partial(data.batches, "train", batch_size=PARITY_BATCH)
    reason = skip_reason()
    typed, engines = {}, {}
    for name in MODELS:
        tell(f"{wished.precision} of {name}")
        typed[name] = typed_model(folder, name, wished.precision, held_out, training)
        if reason is None:
            tell(f"TensorRT engine of {name}")
            engines[name] = build_engine(folder, name, wished, held_out, training)
    return {
        "precision": wished.precision,
        "built": reason is None,
        "skipped_because": reason,
        "typed_onnx": typed,
        "models": engines or None,
    }


def _held_out(data: DataBundle) -> str:
    """Held-out training images: the test images are for the one accuracy at the end."""
    return "val" if data.sizes["val"] else "train"


@contextmanager
def _prepared(folder: Path) -> Iterator[Path]:
    """A folder to write in; on success its files replace those of ``folder``, else it is removed.

    The record goes last and its old one first, so that a record always speaks of the files beside it.
    """
    aside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        with explained(folder):
            aside.mkdir()
        yield aside
        with explained(folder):
            _publish(aside, folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _publish(aside: Path, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    for path in _outdated(aside, folder):
        path.unlink()
    for path in sorted(aside.iterdir(), key=lambda path: path.name == RECORD):
        path.replace(folder / path.name)


def _outdated(aside: Path, folder: Path) -> list[Path]:
    """Engines and typed ONNX files of models that are about to be replaced by others."""
    changed = [
        name
        for name in MODELS
        if not (folder / f"{name}.onnx").is_file()
        or (folder / f"{name}.onnx").read_bytes() != (aside / f"{name}.onnx").read_bytes()
    ]
    derived = ("fp16.onnx", "int8.onnx", "*.engine", "*.engine.json")
    return [path for name in changed for kind in derived for path in folder.glob(f"{name}.{kind}")]


def _silent(_done: int, _total: int, _text: str) -> None:
    """Progress that nobody watches."""


def _export_one(
    model: nn.Module, name: str, folder: Path, data: DataBundle, *, images: int, opset: int | None
) -> dict[str, Any]:
    file = export_model(model, data.shape, folder / f"{name}.onnx", opset=opset)
    batches = data.batches(_held_out(data), batch_size=PARITY_BATCH, limit=images)
    parity = measure_parity(model, file.path, batches)
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


def _record(data: DataBundle, models: dict[str, Any], *, images: int, opset: int | None) -> dict[str, Any]:
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
        "tensorrt": None,
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
