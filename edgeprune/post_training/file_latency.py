"""Latency targets for an ONNX file: its own nodes are what is measured."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx import NodeProto
from torch import Tensor, nn

from edgeprune.backends.base import INPUT
from edgeprune.backends.jobs import Job
from edgeprune.backends.onnx import Onnx
from edgeprune.errors import ExportError
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.latency import BenchTarget
from edgeprune.latency.calibrate import Measured
from edgeprune.latency.end_to_end import EndToEndTimer, Look
from edgeprune.latency.model_files import job_of, write_others
from edgeprune.latency.shapes import Model
from edgeprune.latency.steady import SteadyTimer
from edgeprune.onnx_graph.files import OnnxFile
from edgeprune.onnx_graph.network import OnnxNetwork, network_of
from edgeprune.post_training.file_form import FileForm

LAYERS = ("Conv", "ConvTranspose", "Gemm")


class FileTimer(EndToEndTimer):
    """Measures what is made of ONNX files, where `EndToEndTimer` exports modules.

    Args:
        original: the file.
        example: inputs of it.
        cut: gives the smaller file of a plan.
        target: where to measure.
    """

    def __init__(
        self,
        original: FileForm,
        example: tuple[Tensor, ...],
        cut: Callable[[Plan], OnnxFile],
        target: BenchTarget,
    ) -> None:
        super().__init__(original.network, (), target)
        self._original, self._example, self._cut = original, example, cut

    @property
    def baseline_file(self) -> Path:
        """The original, with its layers named so that its table knows them."""
        path = self.path("baseline")
        return path if path.exists() else self.written("baseline", named_layers(self._original))

    def measure(self, graph: Graph, plan: Plan, look: Look | None = None) -> Measured:  # noqa: ARG002
        """Cut the file by a plan, and time both files in turn.

        Args:
            graph: not used.
            plan: for the file.
            look: how closely; None for as closely as it takes.
        """
        return self.times(self._cut(plan), look).measured  # type: ignore[arg-type]

    def written(self, name: str, model: Any, precisions: Mapping[str, str] | None = None) -> Path:  # noqa: ARG002
        """Write a file with the sizes on which it is measured, in the format that the runtime loads.

        Args:
            name: of the file.
            model: that is written.
            precisions: not used: a file's layers have the target's own.
        """
        where, path = self.bench_target, self.path(name)
        fixed = _fixed(model, self._example, where.batch)
        is_onnx = where.backend.name == Onnx.name
        if not is_onnx:
            _rename_input(fixed)
        path.with_name(Onnx().file_name(name)).write_bytes(fixed.model.SerializeToString())
        return path if is_onnx else write_others(where.backend, self._job(name, fixed))

    def _job(self, name: str, file: OnnxFile) -> Job:
        """Return a file as backends take a model: as a network where they do not read the ONNX file.

        Raises:
            ExportError: it takes several inputs.
        """
        example, where = self._example, self.bench_target
        if len(example) != 1:
            raise ExportError(
                f"{file.name} takes {len(example)} inputs, and {where.backend.title} files are made of networks with "
                "one: prune it for ONNX Runtime in fp32"
            )
        reads_onnx = Onnx.name in where.backend.needs.get(where.backend.numbers, ())
        network: nn.Module = nn.Identity() if reads_onnx else network_of(file, example[0][:1])
        return job_of(network, name, tuple(example[0].shape[1:]), self.path(name).parent, where.batch)


class SteadyFileTimer(FileTimer, SteadyTimer):
    """Measures what is made of ONNX files as a `FileTimer` does, on a device under lasting load."""


def _rename_input(file: OnnxFile) -> None:
    """Call a file's first input what backends call it: int8 is calibrated by that name."""
    value = file.inputs[0]
    before, value.name = value.name, INPUT
    for node in file.model.graph.node:
        for place, name in enumerate(node.input):
            if name == before:
                node.input[place] = INPUT


def _fixed(file: OnnxFile, example: tuple[Tensor, ...], batch: int) -> OnnxFile:
    """Return a copy of a file whose inputs have the sizes of the example, and the batch that is measured."""
    copy = file.copy()
    for value, tensor in zip(copy.inputs, example, strict=True):
        for axis, (dim, size) in enumerate(zip(value.type.tensor_type.shape.dim, tensor.shape, strict=True)):
            if not dim.dim_value:
                dim.dim_value = batch if axis == 0 else int(size)
    del copy.model.graph.value_info[:]
    return OnnxFile(copy.model, copy.name)


def _layer_names(network: OnnxNetwork) -> dict[str, str]:
    """Return for each layer of the network, by its module's name, a name that has no strokes."""
    names: dict[str, str] = {}
    for number, (node, path) in enumerate(network.steps):
        if path is not None and node.op_type in LAYERS and f"{path}.weight" in network.forms:
            names[path] = f"layer{number}"
    return names


def named_layers(original: FileForm) -> OnnxFile:
    """Return a copy of a file whose layers' weights are initializers with names of their own, as tables need them."""
    copy = original.file.copy()
    nodes: dict[str, NodeProto] = {node.output[0]: node for node in copy.model.graph.node}
    for path, name in _layer_names(original.network).items():
        form = original.network.forms[f"{path}.weight"]
        if form.position is not None:
            weight = copy.add(f"{name}.weight", original.file.array(form.constant))
            nodes[form.reader].input[form.position] = weight
    for number, node in enumerate(
        copy.model.graph.node
    ):  # a layer is known by its weight, where names say no more
        node.name = f"node{number}"
    return copy


def under_module_names(network: OnnxNetwork, model: Model) -> Model:
    """Return the layers of a timer's file under the names of the network's modules.

    Args:
        network: of the file.
        model: the layers as they are read from the timer's file.
    """
    path_of = {name: path for path, name in _layer_names(network).items()}
    layers = tuple(replace(layer, name=path_of.get(layer.name, layer.name)) for layer in model.layers)
    others = tuple(replace(other, base=path_of.get(other.base, other.base)) for other in model.others)
    return Model(layers, others)
