"""Write a torch model as one self-contained ONNX file with a free batch axis."""

import hashlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune_target.scratch import scratch_folder

from edgeprune.backends.base import BATCH, INPUT, OUTPUT
from edgeprune.backends.flat import Example, flat_forward, has_free_batch, is_plain, named_outputs, output_on
from edgeprune.backends.older_names import name_by_modules
from edgeprune.errors import ExportError, one_line
from edgeprune.files.writing import write_bytes

if TYPE_CHECKING:
    import torch
    from onnx import ModelProto
    from torch import nn

# The lowest that torch's newer exporter writes by itself; ONNX Runtime reads it from 1.14 on.
DEFAULT_OPSET = 18
LOWEST_OPSET = 13
TRACED_BATCH = 2  # torch.export treats a batch of 1 as a constant


@dataclass(frozen=True)
class WrittenOnnx:
    """A written ONNX file.

    Attributes:
        path: of the file.
        exporter: "dynamo", or "torchscript" where that failed.
        opset: of ONNX.
        ir_version: of the format.
        sha256: of the file.
        size_bytes: of the file.
        inputs: their names.
        outputs: their names.
        batch: None where it is free, else the only one that the file takes.
    """

    path: Path
    exporter: str
    opset: int
    ir_version: int
    sha256: str
    size_bytes: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    batch: int | None


def export_model(
    model: "nn.Module",
    shape: tuple[int, ...] | Example,
    path: Path,
    *,
    opset: int | None = None,
    outputs: Sequence[str] = (OUTPUT,),
    batch: int | None = None,
    metadata: Mapping[str, str] | None = None,
) -> WrittenOnnx:
    """Write ``model``, in eval mode, as ONNX: `INPUT` (batch, \\*shape) float32 to `OUTPUT` (batch, classes).

    With an example, its inputs and outputs have names of their own; their batch is free where the model takes twice the
    example's too. BatchNorm is folded into the convolutions and constants are computed beforehand, for any model
    alike. The file holds its weights, and no path or source line of this machine.

    Args:
        model: on the CPU; its mode is restored afterwards.
        shape: (C, H, W) of one image; or what forward is given.
        path: written aside and renamed, so that it is complete or missing.
        opset: of ONNX; None for `DEFAULT_OPSET`.
        outputs: names of what the model returns, where it returns more than one tensor.
        batch: the only one that the file takes, which the newer exporter writes in less than half of the time; None
            for any.
        metadata: texts that the file holds beside; None for none.

    Raises:
        ExportError: the opset is out of range, or neither exporter of torch can write the model.
    """
    from onnx import helper

    opset = DEFAULT_OPSET if opset is None else opset
    _check_opset(opset)
    if isinstance(shape, Example):
        exporter, content = _exported_example(model, shape, opset)
    else:
        exporter, content = _exported(model, _Traced.of_shape(shape, outputs, batch), opset)
    _strip(content)
    helper.set_model_props(content, dict(metadata or {}))
    _check(content, path)
    data = content.SerializeToString(deterministic=True)
    write_bytes(path, data)
    written = content.opset_import[0].version
    weights = {tensor.name for tensor in content.graph.initializer}
    inputs = [value for value in content.graph.input if value.name not in weights]
    first = inputs[0].type.tensor_type.shape.dim if inputs else []
    return WrittenOnnx(
        path,
        exporter,
        written,
        content.ir_version,
        hashlib.sha256(data).hexdigest(),
        len(data),
        tuple(value.name for value in inputs),
        tuple(value.name for value in content.graph.output),
        first[0].dim_value or None if first else None,
    )


def export_quickly(model: "nn.Module", shape: tuple[int, ...], path: Path, *, batch: int = 1) -> None:
    """Write a model for one batch alone by torch's older exporter: for a first impression of its latency.

    It takes a tenth of the newer one's time; the nodes are others.

    Args:
        model: on the CPU; its mode is restored afterwards.
        shape: (C, H, W) of one image.
        path: of the file.
        batch: images that it takes.

    Raises:
        ExportError: that exporter cannot write the model.
    """

    traced = _Traced.of_shape(shape, (OUTPUT,), batch)
    try:
        with _evaluating(model), quiet():
            content = _by_torchscript(model, traced, DEFAULT_OPSET)
    except Exception as error:  # torch raises whatever the model's operators did
        raise ExportError(f"torch's older exporter cannot write this model: {one_line(error)}") from error
    _strip(content)
    write_bytes(path, content.SerializeToString(deterministic=True))


def _check_opset(opset: int) -> None:
    from onnx import defs

    highest = defs.onnx_opset_version()
    if not LOWEST_OPSET <= opset <= highest:
        raise ExportError(f"opset {opset} cannot be written: choose {LOWEST_OPSET} to {highest}")


@dataclass(frozen=True)
class _Traced:
    """Hold what the exporters need: tensors, names, and whether the batch is free."""

    tensors: "tuple[torch.Tensor, ...]"
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    free_batch: bool = True

    @classmethod
    def of_shape(cls, shape: tuple[int, ...], outputs: Sequence[str], batch: int | None = None) -> "_Traced":
        """Return one batch of blank images, of any size or of ``batch`` alone."""
        import torch

        images = torch.zeros(batch or TRACED_BATCH, *shape)
        return cls((images,), (INPUT,), tuple(outputs), free_batch=batch is None)


def _exported_example(model: "nn.Module", example: Example, opset: int) -> tuple[str, "ModelProto"]:
    """Export a model with any inputs and outputs, with a free batch if it has one."""
    output = output_on(model, example.arguments)
    names = tuple(named_outputs(output, example.names))
    rounds = [_Traced(tuple(example.tensors), example.names, names, free_batch=False)]
    doubled = example.doubled()
    if doubled is not None and has_free_batch(model, example, output):
        rounds.insert(0, _Traced(tuple(doubled.tensors), example.names, names))
    failures = []
    for traced in rounds:
        try:
            if is_plain(example, output):
                return _exported(model, traced, opset)
            with flat_forward(model, example):
                return _exported(model, traced, opset)
        except ExportError as error:
            failures.append(error)
    raise failures[-1]


def _exported(model: "nn.Module", traced: _Traced, opset: int) -> tuple[str, "ModelProto"]:
    """Try the newer exporter, whose graphs are cleaner; then the older, which takes more models."""
    attempts = {"dynamo": _by_dynamo, "torchscript": _by_torchscript}
    if opset < DEFAULT_OPSET:
        del attempts["dynamo"]
    failures = []
    for name, attempt in attempts.items():
        try:
            with _evaluating(model), quiet():
                proto = attempt(model, traced, opset)
            if traced.free_batch:
                _check_batch_is_free(proto)
            return name, proto
        except Exception as error:  # torch raises whatever the model's operators did
            failures.append(error)
    reason = (str(failures[0]).strip().splitlines() or [type(failures[0]).__name__])[0]
    raise ExportError(f"this model cannot be written as ONNX opset {opset}: {reason}") from failures[0]


def _check_batch_is_free(proto: "ModelProto") -> None:
    """Raise if an exporter wrote the traced batch into the file, as torch's newer one does without a word."""
    for tensor in proto.graph.input:
        batch = tensor.type.tensor_type.shape.dim[0]
        if not batch.dim_param:
            raise ExportError(
                f"the batch of {tensor.name} became {batch.dim_value}, though any was asked for"
            )


def _by_dynamo(model: "nn.Module", traced: _Traced, opset: int) -> "ModelProto":
    import torch

    batch = torch.export.Dim(BATCH)
    program: Any = torch.onnx.export(
        model,
        traced.tensors,
        dynamo=True,
        verbose=False,
        input_names=traced.inputs,
        output_names=traced.outputs,
        dynamic_shapes=tuple({0: batch} for _ in traced.tensors) if traced.free_batch else None,
        external_data=False,
        opset_version=opset,
    )
    return program.model_proto


def _by_torchscript(model: "nn.Module", traced: _Traced, opset: int) -> "ModelProto":
    import onnx
    import torch

    with scratch_folder() as folder:
        torch.onnx.export(
            model,
            traced.tensors,
            f"{folder}/model.onnx",
            dynamo=False,
            input_names=list(traced.inputs),
            output_names=list(traced.outputs),
            dynamic_axes={
                name: {0: BATCH} for name in (*traced.inputs, *traced.outputs) if traced.free_batch
            },
            opset_version=opset,
        )
        proto = onnx.load(f"{folder}/model.onnx")
    name_by_modules(proto, (name for name, _ in model.named_modules()))
    return proto


@contextmanager
def _evaluating(model: "nn.Module") -> Iterator[None]:
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


@contextmanager
def quiet() -> Iterator[None]:
    """Silence logs and warnings of exporters and quantisers: the checks here judge the result."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def _strip(content: "ModelProto") -> None:
    """Drop stack traces and other metadata, and lower the IR version to what the opset needs.

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
