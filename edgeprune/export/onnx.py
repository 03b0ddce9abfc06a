"""A torch model to one self-contained ONNX file with a free batch axis."""

import hashlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from edgeprune_target.scratch import scratch_folder
from torch import nn

from edgeprune.errors import ExportError
from edgeprune.files import write_bytes

if TYPE_CHECKING:
    from onnx import ModelProto

INPUT, OUTPUT, BATCH = "input", "logits", "batch"
# The lowest that torch's newer exporter writes by itself; ONNX Runtime reads it from 1.14 on.
DEFAULT_OPSET = 18
LOWEST_OPSET = 13
TRACED_BATCH = 2  # torch.export takes a batch of 1 for a constant


@dataclass(frozen=True)
class OnnxFile:
    """What was written. ``exporter`` is "dynamo", or "torchscript" where that could not do it."""

    path: Path
    exporter: str
    opset: int
    ir_version: int
    sha256: str
    size_bytes: int


def export_model(
    model: nn.Module, shape: tuple[int, ...], path: Path, *, opset: int | None = None
) -> OnnxFile:
    """Write ``model``, in eval mode, as ONNX: `INPUT` (batch, \\*shape) float32 to `OUTPUT` (batch, classes).

    BatchNorm is folded into the convolutions and constants are computed beforehand, for any model
    alike. The file holds its weights, and no path or source line of this machine.

    Args:
        model: on the CPU; its mode is as before afterwards.
        shape: (C, H, W) of one image.
        path: written aside and renamed, so that it is whole or not there.
        opset: of ONNX; `DEFAULT_OPSET` by default.

    Raises:
        ExportError: for an opset out of range, or a model that neither exporter of torch can write.
    """
    opset = DEFAULT_OPSET if opset is None else opset
    _check_opset(opset)
    exporter, content = _exported(model, shape, opset)
    _strip(content)
    _check(content, path)
    data = content.SerializeToString(deterministic=True)
    write_bytes(path, data)
    written = content.opset_import[0].version
    return OnnxFile(path, exporter, written, content.ir_version, hashlib.sha256(data).hexdigest(), len(data))


def _check_opset(opset: int) -> None:
    from onnx import defs

    highest = defs.onnx_opset_version()
    if not LOWEST_OPSET <= opset <= highest:
        raise ExportError(f"opset {opset} cannot be written: choose {LOWEST_OPSET} to {highest}")


def _exported(model: nn.Module, shape: tuple[int, ...], opset: int) -> tuple[str, "ModelProto"]:
    """Try the newer exporter, whose graphs are cleaner; then the older, which takes more models."""
    example = torch.zeros(TRACED_BATCH, *shape)
    attempts = {"dynamo": _by_dynamo, "torchscript": _by_torchscript}
    if opset < DEFAULT_OPSET:
        del attempts["dynamo"]
    failures = []
    for name, attempt in attempts.items():
        try:
            with _evaluating(model), _quiet():
                return name, attempt(model, example, opset)
        except Exception as error:  # torch raises whatever the model's operators did
            failures.append(error)
    reason = (str(failures[0]).strip().splitlines() or [type(failures[0]).__name__])[0]
    raise ExportError(f"this model cannot be written as ONNX opset {opset}: {reason}") from failures[0]


def _by_dynamo(model: nn.Module, example: torch.Tensor, opset: int) -> "ModelProto":
    program: Any = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        verbose=False,
        input_names=[INPUT],
        output_names=[OUTPUT],
        dynamic_shapes=({0: torch.export.Dim(BATCH)},),
        external_data=False,
        opset_version=opset,
    )
    return program.model_proto


def _by_torchscript(model: nn.Module, example: torch.Tensor, opset: int) -> "ModelProto":
    import onnx

    with scratch_folder() as folder:
        torch.onnx.export(
            model,
            (example,),
            f"{folder}/model.onnx",
            dynamo=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_axes={INPUT: {0: BATCH}, OUTPUT: {0: BATCH}},
            opset_version=opset,
        )
        return onnx.load(f"{folder}/model.onnx")


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporters log and warn of their own inner affairs; the checks here judge the result."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _strip(content: "ModelProto") -> None:
    """Drop stack traces and other remarks, and lower the IR version to what the opset needs.

    torch writes IR 10, which ONNX Runtime reads only from 1.18 on; a board may have an older one.
    """
    from onnx import helper

    graph = content.graph
    for part in [
        content,
        graph,
        *graph.node,
        *graph.value_info,
        *graph.input,
        *graph.output,
        *graph.initializer,
    ]:
        part.ClearField("metadata_props") if hasattr(part, "metadata_props") else None
        part.ClearField("doc_string")
    del graph.value_info[:]
    content.ir_version = helper.find_min_ir_version_for(list(content.opset_import))


def _check(content: "ModelProto", path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(content, full_check=True)
    except Exception as error:  # checker and shape inference each raise their own
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"{path.name} does not pass the ONNX checker: {reason}") from error
