"""A torch network that is pruned itself: it keeps its class, and is written as a file of `edgeprune.save`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from edgeprune_target.scratch import scratch_folder
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeprune.backends.flat import Example, output_on
from edgeprune.backends.onnx import export_model
from edgeprune.errors import ModelError, WeightsError, one_line
from edgeprune.files.tensors import read_tensors, save_tensors
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.latency import BenchTarget
from edgeprune.latency.end_to_end import EndToEndTimer
from edgeprune.latency.steady import SteadyTimer
from edgeprune.onnx_graph.files import OnnxFile, read
from edgeprune.post_training.exported import OPSET
from edgeprune.post_training.inputs import Inputs, load_inputs
from edgeprune.post_training.latency import BoardsLatency, DeviceLatency, latency_on
from edgeprune.post_training.norms import SMALLEST_BATCH
from edgeprune.post_training.options import PruneOptions
from edgeprune.post_training.source import InputSpec
from edgeprune.post_training.subject import joins_inputs
from edgeprune.processes.progress import ProgressCallback
from edgeprune.rewrite.compaction import compact
from edgeprune.rewrite.duplicate import duplicate
from edgeprune.runs.sources import SAVED, check_source, example_for, load_source, weights_of
from edgeprune.runs.subject_options import SubjectOptions
from edgeprune.saving import networks as saving

KEEP, WEIGHTS = "keep", "network."


@dataclass(frozen=True)
class ModelForm:
    """A torch network and what is written of it.

    Attributes:
        network: in evaluation mode.
        example: what its forward is given.
        plan: by which it was cut; None for the original.
    """

    network: nn.Module
    example: Example
    plan: Plan | None = None

    @cached_property
    def onnx(self) -> OnnxFile:
        """The network as ONNX; raises ExportError where torch cannot write it."""
        with scratch_folder() as folder:
            path = export_model(self.network, self.example, Path(folder) / "model.onnx", opset=OPSET).path
            return OnnxFile(read(path).model, type(self.network).__name__)

    @property
    def timed(self) -> nn.Module:
        """The network, which a timer exports."""
        return self.network

    @property
    def params(self) -> int:
        """The network's parameters."""
        return sum(parameter.numel() for parameter in self.network.parameters())

    def write(self, path: str | Path, external: frozenset[str] = frozenset()) -> None:  # noqa: ARG002
        """Write a file of `edgeprune.save`.

        Args:
            path: of the file.
            external: not used.
        """
        saving.save(self.network, path)

    def keep(self, path: Path) -> None:
        """Write the plan and the weights for `ModelSubject.kept`."""
        assert self.plan is not None
        state = {
            WEIGHTS + name: tensor
            for name, tensor in self.network.state_dict().items()
            if isinstance(tensor, Tensor)
        }
        save_tensors(path, {KEEP: torch.from_numpy(self.plan.keep), **state})


class NormsAlone(nn.Module):
    """A network in evaluation mode whose BatchNorms alone can be trained: dropout and outputs for training stay off.

    Args:
        network: that learns.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.live = network, False

    def forward(self, *inputs: Any) -> Any:
        """Return what the network gives."""
        return self.network(*inputs)

    @property
    def norms(self) -> list[_BatchNorm]:
        """The network's BatchNorms that have statistics."""
        parts = self.network.modules()
        return [part for part in parts if isinstance(part, _BatchNorm) and part.track_running_stats]

    def train(self, mode: bool = True) -> "NormsAlone":
        """Let norms take the statistics of batches, where they are to learn.

        Args:
            mode: whether to train.
        """
        self.training = mode
        self.network.eval()
        for norm in self.norms:
            norm.train(mode and self.live)
        return self


@dataclass(frozen=True)
class ModelStudent:
    """A torch network that learns as it is.

    Attributes:
        network: around the cut one.
        form: of the cut network.
    """

    network: NormsAlone
    form: ModelForm

    @contextmanager
    def norms(self, calibration: Sequence[tuple[Tensor, ...]], size: int) -> Iterator[int]:  # noqa: ARG002
        """Let the network's norms take the statistics of batches in the block, unless those are too small.

        Args:
            calibration: not used: norms have their statistics.
            size: inputs of a batch of training.
        """
        self.network.live = size >= SMALLEST_BATCH
        try:
            yield len(self.network.norms) if self.network.live else 0
        finally:
            self.network.live = False

    def constant(self, parameter: str) -> str:
        """Return the parameter's name in the user's network."""
        return parameter.removeprefix("network.")


@dataclass(frozen=True)
class ModelSubject:
    """A torch network with the inputs that it is pruned by.

    Attributes:
        original: as it was given.
        graph: its coupled channels.
        specs: its inputs.
        inputs: unlabelled ones; None to prune by weights alone.
        batch: number of inputs that it takes at once; None for any.
    """

    original: ModelForm
    graph: Graph
    specs: list[InputSpec]
    inputs: Inputs | None
    batch: int | None
    suffix = SAVED[0]

    @property
    def network(self) -> nn.Module:
        """The network in evaluation mode."""
        return self.original.network

    @property
    def example(self) -> tuple[Tensor, ...]:
        """Inputs on which it ran."""
        return self.original.example.arguments

    @property
    def joins(self) -> bool:
        """Whether it computes any number of inputs at once."""
        return self.batch is None

    def cut(self, plan: Plan) -> tuple[ModelForm, Plan]:
        """Return the network without the channels that a plan drops, with its weights as they are now.

        Args:
            plan: what is kept.

        Raises:
            PlanError: it is of another network, or what it gives cannot be proved.
        """
        done = compact(self.graph, plan)
        return ModelForm(done.model.eval(), self.original.example, done.plan), done.plan

    def kept(self, path: Path) -> ModelForm:
        """Return the cut network that a run has; raises WeightsError for a file of another one."""
        tensors = read_tensors(path)
        keep = tensors.pop(KEEP, None)
        if keep is None or keep.dtype != torch.bool or len(keep) != self.graph.classes:
            raise WeightsError(f"{path} is of another network: begin the run anew with --force")
        form, _ = self.cut(Plan.of(self.graph, keep.numpy()))
        try:
            form.network.load_state_dict(
                {name.removeprefix(WEIGHTS): tensor for name, tensor in tensors.items()}
            )
        except RuntimeError as error:
            raise WeightsError(f"{path} is of another network ({one_line(error)[:120]})") from error
        return form

    def student(self, form: ModelForm) -> ModelStudent:
        """Return a copy of a cut network that can be trained."""
        return ModelStudent(NormsAlone(duplicate(form.network)), form)

    def learned(self, student: ModelStudent) -> ModelForm:
        """Return the network with what it has learned."""
        return replace(student.form, network=student.network.network.eval())

    def latency(
        self, options: PruneOptions, where: Path, progress: ProgressCallback
    ) -> DeviceLatency | BoardsLatency:
        """Return what plans widths for the devices that the options name.

        Args:
            options: name them.
            where: what holds them, for messages.
            progress: called with (done, total, text).

        Raises:
            ModelError: the network has several inputs, or one that is no image. See `latency_on` for the others.
        """
        shapes = [tuple(tensor.shape[1:]) for tensor in self.example]
        if len(shapes) > 1 or len(shapes[0]) != 3:
            raise ModelError(
                "a device's budget for a torch network needs one input of images: prune it as ONNX, with -o NAME.onnx"
            )

        def on(target: BenchTarget, load: bool, lut: Path | None, report: ProgressCallback) -> DeviceLatency:
            timer = (SteadyTimer if load else EndToEndTimer)(self.network, shapes[0], target)
            return DeviceLatency(self.graph, timer, options, lut, report)

        return latency_on(options, where, on, progress)


def open_model(
    source: str, subject: SubjectOptions, images: str | None, options: PruneOptions
) -> ModelSubject:
    """Build a model and read its inputs.

    Args:
        source: a model's name, ``package.module:factory``, or a file of `edgeprune.save`.
        subject: what was typed of the model.
        images: a folder of images, an .npy or .npz file, or package.module:factory; None for none.
        options: how images are laid.

    Raises:
        ModelError: there is no such model, it would have random weights, does not run, or takes or returns something
            other than tensors. DataError: the inputs are missing, too few, or do not fit.
    """
    check_source(source, subject)
    network = load_source(source, subject, weights_of(source, subject))
    example = example_for(network, source, subject)
    _check_tensors(source, "takes", example.arguments)
    _check_tensors(source, "returns", output_on(network, example.arguments))
    specs = [
        InputSpec(name, (None, *tensor.shape[1:]), tensor.dtype)
        for name, tensor in zip(example.names, example.arguments, strict=True)
    ]
    joins = joins_inputs(network, example.arguments)
    inputs = None if images is None else load_inputs(images, specs, options)
    if inputs is not None:
        count = 2 if joins else len(example.arguments[0])
        example = replace(example, arguments=tuple(tensor[:count] for tensor in inputs.tensors))
    graph = build_graph(network, example.arguments)
    return ModelSubject(
        ModelForm(network, example), graph, specs, inputs, None if joins else len(example.arguments[0])
    )


def _check_tensors(source: str, verb: str, values: Any) -> None:
    """Raise ModelError unless a network takes or returns a tensor, or a tuple of tensors."""
    parts = values if isinstance(values, tuple) else (values,)
    if not all(isinstance(part, Tensor) for part in parts):
        kind = next(type(part).__name__ for part in parts if not isinstance(part, Tensor))
        raise ModelError(f"{source} {verb} a {kind}, not tensors alone: prune it as ONNX, with -o NAME.onnx")
