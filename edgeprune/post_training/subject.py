"""What is pruned: a network with its coupled channels and its inputs, and the forms in which it is written."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.plan import Plan
from edgeprune.onnx_graph.files import OnnxFile
from edgeprune.post_training.inputs import Inputs
from edgeprune.post_training.latency import BoardsLatency, DeviceLatency
from edgeprune.post_training.options import PruneOptions
from edgeprune.post_training.source import InputSpec
from edgeprune.processes.progress import ProgressCallback


class Form(Protocol):
    """A network and what is written of it: the original, or the smaller one after a step."""

    @property
    def network(self) -> nn.Module:
        """The network in evaluation mode."""

    @property
    def onnx(self) -> OnnxFile:
        """The network as ONNX."""

    @property
    def params(self) -> int:
        """Floating-point numbers that it has."""

    @property
    def timed(self) -> Any:
        """What a device's timer writes and measures."""

    def write(self, path: str | Path, external: frozenset[str] = frozenset()) -> None:
        """Write the file that the user gets.

        Args:
            path: of the file.
            external: constants that an ONNX file keeps beside it.
        """

    def keep(self, path: Path) -> None:
        """Write what `Subject.kept` reads."""


class Student(Protocol):
    """A smaller network that learns from the original."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""

    def norms(self, calibration: Sequence[tuple[Tensor, ...]], size: int) -> AbstractContextManager[int]:
        """Let norms learn in the block, and give their number.

        Args:
            calibration: inputs.
            size: inputs of a batch of training.
        """

    def constant(self, parameter: str) -> str:
        """Return what the user knows a parameter of `network` by."""


FormT = TypeVar("FormT", bound=Form)
StudentT = TypeVar("StudentT", bound=Student)


class Subject(Protocol[FormT, StudentT]):
    """A network that is pruned.

    Attributes:
        network: in evaluation mode.
        graph: its coupled channels.
        example: inputs on which it ran.
        specs: its inputs.
        inputs: unlabelled ones; None to prune by weights alone.
        batch: number of inputs that it takes at once; None for any.
        joins: whether it computes any number of inputs at once, whatever its file takes.
        original: as it was given.
        suffix: of the smaller one's file.
    """

    @property
    def network(self) -> nn.Module: ...

    @property
    def graph(self) -> Graph: ...

    @property
    def example(self) -> tuple[Tensor, ...]: ...

    @property
    def specs(self) -> list[InputSpec]: ...

    @property
    def inputs(self) -> Inputs | None: ...

    @property
    def batch(self) -> int | None: ...

    @property
    def joins(self) -> bool: ...

    @property
    def suffix(self) -> str: ...

    @property
    def original(self) -> FormT: ...

    def cut(self, plan: Plan) -> tuple[FormT, Plan]:
        """Return the network without the channels that a plan drops, and the plan as it was carried out."""

    def kept(self, path: Path) -> FormT:
        """Return the cut network that `Form.keep` wrote."""

    def student(self, form: FormT) -> StudentT:
        """Return a copy of a cut network that can be trained."""

    def learned(self, student: StudentT) -> FormT:
        """Return the form of a network that has learned."""

    def latency(
        self, options: PruneOptions, where: Path, progress: ProgressCallback
    ) -> DeviceLatency | BoardsLatency:
        """Return what plans widths for the devices that the options name; they are reached now.

        Args:
            options: name it.
            where: what holds them, for messages.
            progress: called with (done, total, text).
        """


def flops_of(subject: Subject[Any, Any], network: nn.Module | None = None) -> int:
    """Return the FLOPs of one input where a network takes any number of them, else of its batch.

    Args:
        subject: the original.
        network: another that runs on the same example; None for the original.
    """
    graph = subject.graph if network is None else build_graph(network, subject.example)
    return int(graph.flops()) // (len(subject.example[0]) if subject.batch is None else 1)


def joins_inputs(network: nn.Module, example: tuple[Tensor, ...]) -> bool:
    """Return whether a network that may be made for one batch size gives the same for two batches at once.

    Args:
        network: in evaluation mode.
        example: inputs of it.
    """
    doubled = tuple(torch.cat([tensor, tensor.flip(0)]) for tensor in example)
    try:
        with torch.no_grad():
            results = [network(*doubled), network(*example), network(*(tensor.flip(0) for tensor in example))]
    except Exception:  # sizes that are written in the network do not fit
        return False
    columns = zip(*(r if isinstance(r, tuple) else (r,) for r in results), strict=True)
    return all(
        len(both) == len(a) + len(b) and torch.allclose(both, torch.cat([a, b]), rtol=1e-3, atol=1e-4)
        for both, a, b in columns
    )
