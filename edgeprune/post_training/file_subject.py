"""An ONNX file that is pruned: read, run once, its channels known."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import Tensor

from edgeprune.errors import DataError, EdgePruneError, ModelError, TraceError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.latency import BenchTarget
from edgeprune.onnx_graph.cutting import cut_file
from edgeprune.onnx_graph.files import OnnxFile, read
from edgeprune.onnx_graph.network import OnnxNetwork, network_of
from edgeprune.post_training.file_form import FileForm
from edgeprune.post_training.file_latency import FileTimer, SteadyFileTimer, under_module_names
from edgeprune.post_training.inputs import Inputs, load_inputs
from edgeprune.post_training.latency import BoardsLatency, DeviceLatency, latency_on
from edgeprune.post_training.norms import trainable_norms
from edgeprune.post_training.options import PruneOptions
from edgeprune.post_training.source import InputSpec
from edgeprune.post_training.subject import joins_inputs
from edgeprune.processes.progress import ProgressCallback
from edgeprune.runs.sources import ONNX


@dataclass(frozen=True)
class FileSubject:
    """A file with its network and the inputs that it is pruned by.

    Attributes:
        file: as it was read.
        specs: its inputs.
        network: its network.
        graph: the network's coupled channels.
        example: inputs on which it ran.
        inputs: unlabelled ones; None to prune by weights alone.
        batch: number of inputs that the file takes at once; None for any.
        joins: whether the network takes any number of inputs at once, whatever its file does.
    """

    file: OnnxFile
    specs: list[InputSpec]
    network: OnnxNetwork
    graph: Graph
    example: tuple[Tensor, ...]
    inputs: Inputs | None
    batch: int | None
    joins: bool

    suffix = ONNX

    @property
    def original(self) -> FileForm:
        """The file as it was read."""
        return FileForm(self.file, self.network)

    def cut(self, plan: Plan) -> tuple[FileForm, Plan]:
        """Return the file without the channels that a plan drops, with the network's weights as they are now.

        Args:
            plan: what is kept.

        Raises:
            PlanError: it is of another network, or what it gives cannot be proved.
            ExportError: ONNX Runtime computes something else.
        """
        cut = cut_file(self.network, self.graph, plan, _second(self.network, self.specs, self.example))
        return FileForm(cut.file, cut.network), cut.plan

    def kept(self, path: Path) -> FileForm:
        """Return the cut file that a run has."""
        return self._form(read(path))

    def student(self, form: FileForm) -> "FileStudent":
        """Return a copy of a file's network that can be trained."""
        return FileStudent(network_of(form.file, *self.example))

    def learned(self, student: "FileStudent") -> FileForm:
        """Return the file with the weights that a network has learned."""
        graph = build_graph(student.network, self.example)
        return self._form(cut_file(student.network, graph, Plan.everything(graph)).file)

    def _form(self, file: OnnxFile) -> FileForm:
        return FileForm(file, network_of(file, *self.example))

    def latency(
        self, options: PruneOptions, where: Path, progress: ProgressCallback
    ) -> DeviceLatency | BoardsLatency:
        """Return what plans widths for the devices that the options name.

        Args:
            options: name them.
            where: what holds them, for messages.
            progress: called with (done, total, text).

        Raises:
            EdgePruneError: see `latency_on`.
        """
        layers_of = partial(under_module_names, self.network)

        def on(target: BenchTarget, load: bool, lut: Path | None, report: ProgressCallback) -> DeviceLatency:
            timer_class = SteadyFileTimer if load else FileTimer
            timer = timer_class(self.original, self.example, lambda plan: self.cut(plan)[0].file, target)
            return DeviceLatency(self.graph, timer, options, lut, report, layers_of)

        return latency_on(options, where, on, progress)


@dataclass(frozen=True)
class FileStudent:
    """The network of a file, which learns with norms beside its convolutions."""

    network: OnnxNetwork

    def norms(self, calibration: Sequence[tuple[Tensor, ...]], size: int) -> AbstractContextManager[int]:
        """Let norms learn in the block; see `trainable_norms`."""
        return trainable_norms(self.network, calibration, size)

    def constant(self, parameter: str) -> str:
        """Return the constant of the file that a parameter is."""
        return self.network.forms[parameter].constant


def open_subject(file: OnnxFile, images: str | None, options: PruneOptions) -> FileSubject:
    """Read a file's inputs, and run its network once.

    Args:
        file: as it was read.
        images: a folder of images, an .npy or .npz file, or package.module:factory; None for none.
        options: how images are laid.

    Raises:
        ModelError: its network cannot be run.
        DataError: the inputs are missing, too few, or do not fit.
    """
    specs = [spec_of(value) for value in file.inputs]
    inputs = None if images is None else load_inputs(images, specs, options)
    network, example = _made(file, specs, inputs, options)
    batch = _batch_size(specs)
    joins = batch is None or joins_inputs(network, example)
    return FileSubject(file, specs, network, build_graph(network, example), example, inputs, batch, joins)


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
    free = [count, *[side or 64] * (len(spec.shape) - 1)] if spec.shape else []
    shape = [default if size is None else size for size, default in zip(spec.shape, free, strict=True)]
    if not spec.dtype.is_floating_point:
        return torch.ones(shape, dtype=spec.dtype)
    return torch.randn(shape, generator=generator)


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
