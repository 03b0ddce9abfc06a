"""Prune an ONNX file by unlabelled inputs: the function behind `edgeprune prune`."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from torch import Tensor

from edgeprune.errors import DataError, EdgePruneError, ExportError, ModelError, TraceError, one_line
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.onnx_graph.cutting import CutFile, cut_file
from edgeprune.onnx_graph.files import OnnxFile, read, write
from edgeprune.onnx_graph.network import OnnxNetwork, network_of
from edgeprune.post_training.inputs import Inputs, InputSpec, load_inputs
from edgeprune.post_training.options import PruneOptions
from edgeprune.post_training.pruning import PostTraining, Step
from edgeprune.processes.progress import ProgressCallback, no_progress

DATA_FREE = (
    "without inputs channels are chosen by weights alone and nothing is fitted: this costs far more accuracy than "
    "200 unlabelled inputs would; give them with --images"
)
CLOSE = 1e-3  # of the largest output: ONNX Runtime and torch round differently
CLOSE_HALF = 5e-2


@dataclass(frozen=True)
class Result:
    """What was done to a file; counts are (before, after).

    FLOPs are of one input where the file takes any number of them, else of the batch that it was exported for.
    """

    model: str
    out: str
    target: str
    inputs: str | None
    flops: tuple[int, int]
    params: tuple[int, int]
    size_bytes: tuple[int, int]
    steps: tuple[Step, ...]
    fit: str
    seconds: float
    protected: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "schema": 1,
            "model": self.model,
            "out": self.out,
            "target": self.target,
            "inputs": self.inputs,
            "flops": list(self.flops),
            "params": list(self.params),
            "size_bytes": list(self.size_bytes),
            "held_out": [{"step": step.name, **step.agreement.to_dict()} for step in self.steps],
            "fit": self.fit,
            "seconds": round(self.seconds, 3),
            "protected_channels": self.protected,
            "notes": list(self.notes),
            "warnings": list(self.warnings),
        }

    def lines(self) -> list[str]:
        """Return the result as rows of text."""
        (f0, f1), (p0, p1), (b0, b1) = self.flops, self.params, self.size_bytes
        lines = [] if self.inputs is None else [f"inputs: {self.inputs}"]
        lines += [
            f"{step.name}: {step.agreement} on {step.agreement.inputs} held-out inputs" for step in self.steps
        ]
        lines += [
            f"FLOPs {f0:,} -> {f1:,} ({f1 / max(f0, 1):.3f})",
            f"parameters {p0:,} -> {p1:,} ({p1 / max(p0, 1):.3f})",
            f"bytes {b0:,} -> {b1:,} ({b1 / max(b0, 1):.3f})",
        ]
        lines += [f"kept: {count} channels ({reason})" for reason, count in self.protected.items()]
        return [*lines, *self.notes]


def prune_file(
    path: str | Path,
    out: str | Path,
    options: PruneOptions,
    images: str | None = None,
    progress: ProgressCallback = no_progress,
) -> Result:
    """Prune an ONNX file and write the smaller one.

    Args:
        path: of the file.
        out: where the smaller file is written; it has the same inputs and outputs.
        options: what is asked for.
        images: a folder of images, an .npy or .npz file, or package.module:factory; None to prune by weights alone.
        progress: called with (done, total, text).

    Raises:
        ModelError: the file cannot be read, or its network cannot be run.
        DataError: the inputs are missing, too few, or do not fit.
        TargetError: the target cannot be reached.
        StorageError: the smaller file cannot be written.
    """
    began, out = time.monotonic(), Path(out)
    if out.suffix != ".onnx":
        raise ExportError(f"{out} does not end in .onnx: an ONNX file is pruned to an ONNX file")
    file = read(path)
    specs = [spec_of(value) for value in file.inputs]
    inputs = None if images is None else load_inputs(images, specs, options)
    network, example = _made(file, specs, inputs, options)
    graph = build_graph(network, example)
    size = _batch_size(specs)
    counted = len(example[0]) if size is None else 1
    run = PostTraining(
        graph,
        inputs,
        options,
        batch=size,
        joins=size is None or _joins(network, example),
        progress=progress,
    )
    plan = run.smallest_plan() if options.target is None else run.plan(options.target)
    steps, fit = run.steps(plan.keep)
    with run.fitted(plan.keep, fit):
        cut = cut_file(network, graph, plan, _second(network, specs, example))
        _check_runs(cut, example)
        write(cut.file, out)
    return Result(
        model=str(path),
        out=str(out),
        target=options.target or f"max-change={options.max_change:g}",
        inputs=None if inputs is None else inputs.note,
        flops=(graph.flops() // counted, graph.flops(cut.plan.keep) // counted),
        params=(_numbers(file), _numbers(cut.file)),
        size_bytes=(file.model.ByteSize(), cut.file.model.ByteSize()),
        steps=tuple(steps),
        fit=fit,
        seconds=time.monotonic() - began,
        protected=_protected(graph),
        notes=(*cut.plan.notes, *graph.notes),
        warnings=(DATA_FREE,) if inputs is None else (),
    )


def spec_of(value: onnx.ValueInfoProto) -> InputSpec:
    """Return the sizes of an input; raises ModelError where they are not written in the file."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        raise ModelError(
            f"the input {value.name} is not a tensor with known axes: such a network cannot be pruned"
        )
    shape = tuple(dim.dim_value if dim.dim_value > 0 else None for dim in kind.shape.dim)
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)
    floating = np.issubdtype(dtype, np.floating) or dtype.name == "bfloat16"
    return InputSpec(value.name, shape, torch.float32 if floating else getattr(torch, dtype.name))


def _batch_size(specs: Sequence[InputSpec]) -> int | None:
    """Return the number of inputs that a file takes at once; None for any."""
    return next((spec.shape[0] for spec in specs if spec.shape and spec.shape[0] is not None), None)


def _made(
    file: OnnxFile, specs: Sequence[InputSpec], inputs: Inputs | None, options: PruneOptions
) -> tuple[OnnxNetwork, tuple[Tensor, ...]]:
    """Return the network and an example of its inputs."""
    count = _batch_size(specs) or 2
    if inputs is not None:
        if len(inputs) < count:
            raise DataError(f"{file.name} takes {count} inputs at once, and only {len(inputs)} are there")
        example = tuple(tensor[:count] for tensor in inputs.tensors)
    else:
        generator = torch.Generator().manual_seed(options.seed)
        example = tuple(_random(spec, count, options.size, generator) for spec in specs)
    try:
        return network_of(file, *example), example
    except TraceError as error:
        if inputs is None and any(None in spec.shape[1:] for spec in specs):
            raise TraceError(f"{error}: say the size of its images with `size`") from error
        raise


def _random(spec: InputSpec, count: int, side: int | None, generator: torch.Generator) -> Tensor:
    shape = [count, *((side or 64) if size is None else size for size in spec.shape[1:])][: len(spec.shape)]
    if not spec.dtype.is_floating_point:
        return torch.ones(shape, dtype=spec.dtype)
    return torch.randn(shape, generator=generator)


def _joins(network: OnnxNetwork, example: tuple[Tensor, ...]) -> bool:
    """Return whether a network that was exported for one batch size gives the same for two batches at once."""
    doubled = tuple(torch.cat([tensor, tensor.flip(0)]) for tensor in example)
    try:
        with torch.no_grad():
            results = [network(*doubled), network(*example), network(*(tensor.flip(0) for tensor in example))]
    except Exception:  # sizes that are written in the file do not fit
        return False
    columns = zip(*(r if isinstance(r, tuple) else (r,) for r in results), strict=True)
    return all(
        len(both) == len(a) + len(b) and torch.allclose(both, torch.cat([a, b]), rtol=1e-3, atol=1e-4)
        for both, a, b in columns
    )


def _second(
    network: OnnxNetwork, specs: Sequence[InputSpec], example: tuple[Tensor, ...]
) -> tuple[Tensor, ...] | None:
    """Return inputs of other sizes along all dynamic axes on which the network runs; None where there are none."""
    if all(None not in spec.shape for spec in specs):
        return None
    for more in (32, 0):
        inputs = example
        for axis in range(max(len(spec.shape) for spec in specs)):
            inputs = tuple(
                torch.cat([tensor, tensor.narrow(axis, 0, min(tensor.shape[axis], more or 1))], axis)
                if axis < len(spec.shape) and spec.shape[axis] is None and (axis == 0 or more)
                else tensor
                for tensor, spec in zip(inputs, specs, strict=True)
            )
        try:
            network.trace(*inputs)
            return inputs
        except (EdgePruneError, RuntimeError, ValueError, IndexError):
            continue
    return None


def _check_runs(cut: CutFile, example: tuple[Tensor, ...]) -> None:
    """Check the cut file with onnx, and by ONNX Runtime on the example; raises ExportError."""
    import onnxruntime as ort

    model = cut.file.model
    try:
        if model.ByteSize() < 2**31 - 1:
            onnx.checker.check_model(model)
        options = ort.SessionOptions()
        options.log_severity_level = 4
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        types = {"tensor(float16)": np.float16, "tensor(double)": np.float64}
        feed = {
            value.name: tensor.numpy().astype(types.get(value.type, tensor.numpy().dtype))
            for value, tensor in zip(session.get_inputs(), example, strict=True)
        }
        results = session.run(None, feed)
    except Exception as error:
        raise ExportError(
            f"the pruned file is not one that ONNX Runtime runs ({one_line(error)[:120]}): please report the network"
        ) from error
    with torch.no_grad():
        expected = cut.network(*example)
    for ours, theirs in zip(results, expected if isinstance(expected, tuple) else (expected,), strict=True):
        limit = CLOSE_HALF if ours.dtype == np.float16 else CLOSE
        a, b = np.asarray(ours, np.float64), theirs.double().numpy()
        if a.shape != b.shape or (a.size and np.abs(a - b).max() > limit * max(np.abs(b).max(), 1e-6)):
            raise ExportError(
                "the pruned file gives something else in ONNX Runtime than in torch: please report the network"
            )


def _numbers(file: OnnxFile) -> int:
    """Return how many floating-point numbers a file's constants have."""
    arrays = [file.array(name) for name in file.constants]
    return sum(array.size for array in arrays if np.issubdtype(array.dtype, np.floating))


def _protected(graph: Graph) -> dict[str, int]:
    """Return how many channels are kept for each reason."""
    counts: dict[str, int] = {}
    for protected in graph.protected:
        counts[protected.reason] = counts.get(protected.reason, 0) + protected.channels
    return counts
