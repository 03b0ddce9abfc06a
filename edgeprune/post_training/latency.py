"""Latency targets for a file: a table of its layers on a device, and the smaller file measured beside it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx import NodeProto
from torch import nn

from edgeprune.backends.base import INPUT
from edgeprune.backends.jobs import Job
from edgeprune.backends.onnx import Onnx
from edgeprune.bench.hosts import Host
from edgeprune.budget import Budget, parse_targets
from edgeprune.errors import ExportError
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.latency import BenchTarget, build_table
from edgeprune.latency.calibrate import Measured
from edgeprune.latency.device import LatencyEstimator, budget_on
from edgeprune.latency.end_to_end import EndToEndTimer, Look
from edgeprune.latency.model_files import job_of, write_others
from edgeprune.latency.planning import PLAN_SECONDS, PlanningClock
from edgeprune.latency.shapes import Model, read_model
from edgeprune.onnx_graph.files import OnnxFile
from edgeprune.onnx_graph.network import network_of
from edgeprune.post_training.options import PruneOptions
from edgeprune.post_training.subject import FileSubject
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.pruning import FileTimes
from edgeprune.records.trust import check_host

LAYERS = ("Conv", "ConvTranspose", "Gemm")


def reach(options: PruneOptions, where: Path) -> BenchTarget:
    """Connect to the device that a file is pruned for.

    Args:
        options: name it.
        where: what holds them, for messages.

    Raises:
        BenchError: it cannot be reached. LatencyError: layers cannot be timed there. RunError: its host is not trusted.
    """
    host = None
    if options.host is not None:
        check_host(options.host, where)
        host = Host(**{**options.host, "ssh_options": tuple(options.host["ssh_options"])})
    return BenchTarget.reach(
        options.target_device, host, runtime=options.target_runtime, precision=options.target_precision,
        batch=options.target_batch or 1, threads=options.target_threads, assume_device=options.assume_device,
    )  # fmt: skip


class FileLatency:
    """Plans widths of a file for a device, and measures smaller files beside it.

    Args:
        subject: the file.
        target: the device.
        options: of the run.
        progress: called with (done, total, text) while layers are timed, and before each measurement.
    """

    def __init__(
        self,
        subject: FileSubject,
        target: BenchTarget,
        options: PruneOptions,
        progress: ProgressCallback = no_progress,
    ) -> None:
        self._subject, self._target, self._options, self._progress = subject, target, options, progress
        self._timer = _FileTimer(subject, target)
        self._estimator: LatencyEstimator | None = None

    def budget(self, target: str, *, measured: bool = True) -> Budget:
        """Return the budget of a target on the device, by the table of the file's layers, which is built once.

        Args:
            target: such as latency=0.7.
            measured: whether the final plan is measured, and corrected until it meets the target.

        Raises:
            TargetError: the file meets the target already.
            LatencyError: the table is of another device, or no layer can be timed. BenchError: the runner failed.
        """
        return budget_on(
            parse_targets(target),
            self.estimator,
            measure=self._timer.measure if measured else None,
            align=self._options.align,
            floor=self._options.floor,
            blocks=False,  # a file keeps its nodes
            clock=PlanningClock(self._options.plan_seconds or PLAN_SECONDS, self._progress),
        )

    @property
    def estimator(self) -> LatencyEstimator:
        """What predicts latencies; layers that the table does not know are timed first."""
        if self._estimator is None:
            file = self._timer.onnx_file
            lut = None if self._options.lut is None else Path(self._options.lut)
            table = build_table(
                file,
                self._target,
                lut,
                measured_file=lambda: self._timer.baseline_file,
                progress=self._timing,
            )
            layers = _named(read_model(file, self._target.batch), self._subject)
            self._estimator = LatencyEstimator(self._subject.graph, layers, table)
        return self._estimator

    def _timing(self, done: float, total: float, text: str) -> None:
        self._progress(done, total, f"times of layers: {text}")

    def measure(self, file: OnnxFile) -> FileTimes:
        """Measure a smaller file beside the original, and return the latencies with their conditions."""
        self._progress(0, 1, "measuring the smaller file beside the original")
        times = self._timer.times(file)  # type: ignore[arg-type]
        return FileTimes(
            baseline_ms=times.baseline_ms,
            pruned_ms=times.pruned_ms,
            speedup=(times.value, times.low, times.high),
            percentile=int(times.percentile),
            conditions=dict(self._target.conditions),
        )


class _FileTimer(EndToEndTimer):
    """Measures what is made of ONNX files, where `EndToEndTimer` exports modules."""

    def __init__(self, subject: FileSubject, target: BenchTarget) -> None:
        super().__init__(subject.network, (), target)
        self._subject = subject

    @property
    def baseline_file(self) -> Path:
        """The original, with its layers named so that its table knows them."""
        path = self.path("baseline")
        return path if path.exists() else self.written("baseline", named_layers(self._subject))

    def measure(self, graph: Graph, plan: Plan, look: Look | None = None) -> Measured:  # noqa: ARG002
        """Cut the file by a plan, and time both files in turn.

        Args:
            graph: not used.
            plan: for the file.
            look: how closely; None for as closely as it takes.
        """
        return self.times(self._subject.cut(plan).file, look).measured  # type: ignore[arg-type]

    def written(self, name: str, model: Any) -> Path:
        """Write a file with the sizes on which it is measured, in the format that the runtime loads."""
        where, path = self.bench_target, self.path(name)
        fixed = _fixed(model, self._subject, where.batch)
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
        example, where = self._subject.example, self.bench_target
        if len(example) != 1:
            raise ExportError(
                f"{file.name} takes {len(example)} inputs, and {where.backend.title} files are made of networks with "
                "one: prune it for ONNX Runtime in fp32"
            )
        reads_onnx = Onnx.name in where.backend.needs.get(where.backend.numbers, ())
        network: nn.Module = nn.Identity() if reads_onnx else network_of(file, example[0][:1])
        return job_of(network, name, tuple(example[0].shape[1:]), self.path(name).parent, where.batch)


def _rename_input(file: OnnxFile) -> None:
    """Call a file's first input what backends call it: int8 is calibrated by that name."""
    value = file.inputs[0]
    before, value.name = value.name, INPUT
    for node in file.model.graph.node:
        for place, name in enumerate(node.input):
            if name == before:
                node.input[place] = INPUT


def _fixed(file: OnnxFile, subject: FileSubject, batch: int) -> OnnxFile:
    """Return a copy of a file whose inputs have the sizes of the example, and the batch that is measured."""
    copy = file.copy()
    for value, tensor in zip(copy.inputs, subject.example, strict=True):
        for axis, (dim, size) in enumerate(zip(value.type.tensor_type.shape.dim, tensor.shape, strict=True)):
            if not dim.dim_value:
                dim.dim_value = batch if axis == 0 else int(size)
    del copy.model.graph.value_info[:]
    return OnnxFile(copy.model, copy.name)


def _layer_names(subject: FileSubject) -> dict[str, str]:
    """Return for each layer of the network, by its module's name, a name that has no strokes."""
    names: dict[str, str] = {}
    for number, (node, path) in enumerate(subject.network.steps):
        if path is not None and node.op_type in LAYERS and f"{path}.weight" in subject.network.forms:
            names[path] = f"layer{number}"
    return names


def named_layers(subject: FileSubject) -> OnnxFile:
    """Return a copy of a file whose layers' weights are initializers with names of their own, as tables need them."""
    copy = subject.file.copy()
    nodes: dict[str, NodeProto] = {node.output[0]: node for node in copy.model.graph.node}
    for path, name in _layer_names(subject).items():
        form = subject.network.forms[f"{path}.weight"]
        if form.position is not None:
            weight = copy.add(f"{name}.weight", subject.file.array(form.constant))
            nodes[form.reader].input[form.position] = weight
    for number, node in enumerate(
        copy.model.graph.node
    ):  # a layer is known by its weight, where names say no more
        node.name = f"node{number}"
    return copy


def _named(model: Model, subject: FileSubject) -> Model:
    """Return the layers of a file under the names of the network's modules."""
    path_of = {name: path for path, name in _layer_names(subject).items()}
    layers = tuple(replace(layer, name=path_of.get(layer.name, layer.name)) for layer in model.layers)
    others = tuple(replace(other, base=path_of.get(other.base, other.base)) for other in model.others)
    return Model(layers, others)
