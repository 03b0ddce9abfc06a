"""Label-free fine-tuning: a cut network learns the outputs of the original on unlabelled inputs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgeprune.data.augment import generator_for
from edgeprune.effects.agreement import outputs_of
from edgeprune.errors import EdgePruneError, TrainError, one_line
from edgeprune.post_training.changes import changed
from edgeprune.post_training.norms import recalibrate
from edgeprune.post_training.source import Source
from edgeprune.post_training.subject import Student
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.records.pruning import LearnedRecord
from edgeprune.runs.training_state import TrainingState
from edgeprune.tasks import Metric, Task
from edgeprune.training import Callback, Stage, TrainOptions, computing_in

STAGE = "distill"
PLAIN_BATCHES = 50  # by which norms take their last statistics
SMALLEST_RMS = 1e-3  # of a tensor, for its steps: a bias may be 0
Arrays = tuple[Tensor, ...]


class Outputs(Task):
    """Learns what another network gives.

    Args:
        scales: of each output of the teacher, the variance of its numbers over inputs.
    """

    name, metrics = "outputs", (Metric("error", higher_is_better=False),)
    distills: ClassVar[bool] = True

    def __init__(self, scales: Sequence[float]) -> None:
        self.scales = scales

    def training_output(self, model: nn.Module, x: Any, target: Any) -> Any:  # noqa: ARG002
        """Run the network on all of its inputs.

        Args:
            model: in training.
            x: a tuple of its inputs.
            target: nothing.
        """
        return model(*x)

    def total_loss(self, output: Any, target: Any, teacher: Any = None, **_: Any) -> Tensor:  # noqa: ARG002
        """Return the squared difference of the outputs as a fraction of their variance.

        Args:
            output: the student's.
            target: nothing.
            teacher: the original's.
        """
        pairs = zip(tensors_of(output), tensors_of(teacher), self.scales, strict=True)
        errors = [(a.float() - b.float()).square().mean() / scale for a, b, scale in pairs if scale > 0]
        return torch.stack(errors).mean()


def tensors_of(output: Any) -> tuple[Tensor, ...]:
    """Return a network's outputs as a tuple."""
    return output if isinstance(output, tuple) else (output,)


def scales_of(reference: Sequence[Tensor]) -> list[float]:
    """Return the variance of each output over the inputs; 0 where it is always the same, or no floating point."""
    return [
        float((a.double() - a.double().mean(0)).square().mean()) if a.is_floating_point() else 0.0
        for a in reference
    ]


class RelativeSteps(Callback):
    """Makes each tensor's step a share of its size: files have weights and outputs of any scale.

    Source: You et al., Large Batch Training of Convolutional Networks, 2017 (LARS).

    Args:
        model: that is trained.
    """

    def __init__(self, model: nn.Module) -> None:
        self._tensors = [(p, max(_rms(p), SMALLEST_RMS)) for p in model.parameters() if p.requires_grad]

    def before_update(self, rate: float) -> None:  # noqa: ARG002
        """Scale the gradients to the sizes that the weights began with."""
        for tensor, size in self._tensors:
            if tensor.grad is not None:
                tensor.grad.mul_(size / max(_rms(tensor.grad), 1e-30))


def _rms(tensor: Tensor) -> float:
    return float(tensor.detach().square().mean().sqrt())


class Teacher(nn.Module):
    """The original network, which takes all inputs of a batch as one tuple.

    Args:
        network: the original.
        precision: that it computes in.
    """

    def __init__(self, network: nn.Module, precision: str) -> None:
        super().__init__()
        self.network, self.precision = network, precision

    def forward(self, inputs: Arrays) -> Any:
        """Return the outputs."""
        with computing_in(self.precision, "cpu"):
            return self.network(*inputs)


@dataclass(frozen=True)
class Unlabelled:
    """Inputs as batches of training, changed at random: what `edgeprune.training` takes for a data set.

    Attributes:
        source: of the inputs.
        positions: of those that are learned from.
        kind: of changes; see `changed`.
    """

    source: Source
    positions: NDArray[np.int64]
    kind: str
    sizes: dict[str, int] = field(default_factory=lambda: {"val": 0})

    def steps(self, batch_size: int) -> int:
        """Return the batches of an epoch; a short last one is dropped."""
        return max(1, len(self.positions) // batch_size)

    def train_batches(
        self,
        epoch: int,
        *,
        batch_size: int,
        seed: int,
        skip: int = 0,
        limit: int | None = None,
        **reading: Any,  # noqa: ARG002
    ) -> Iterator[tuple[Arrays, tuple[()]]]:
        """Yield shuffled, changed batches, a pure function of (seed, epoch, position).

        Args:
            epoch: from 0.
            batch_size: inputs of a batch.
            seed: of the order and the changes.
            skip: batches that are left out at the start.
            limit: number of the batch to end before; the epoch's last by default.
            reading: what a data set of images is told besides; inputs are read as they are.
        """
        order = torch.randperm(len(self.positions), generator=generator_for(seed, epoch)).numpy()
        steps = self.steps(batch_size)
        for step in range(skip, steps if limit is None else min(limit, steps)):
            chosen = self.positions[order[step * batch_size : (step + 1) * batch_size]]
            inputs = self.source.read(np.sort(chosen))
            yield changed(inputs, self.kind, generator_for(seed, epoch, step)), ()

    def plain_batches(self, batch_size: int, *, seed: int) -> Iterator[Arrays]:
        """Yield some batches as inputs come when the network is used.

        Args:
            batch_size: inputs of a batch.
            seed: of their choice.
        """
        order = torch.randperm(len(self.positions), generator=generator_for(seed)).numpy()
        for step in range(min(PLAIN_BATCHES, self.steps(batch_size))):
            yield self.source.read(
                np.sort(self.positions[order[step * batch_size : (step + 1) * batch_size]])
            )


def distill(
    student: Student,
    teacher: nn.Module,
    data: Unlabelled,
    calibration: Sequence[Arrays],
    options: TrainOptions,
    *,
    epochs: int,
    run: TrainingState | None = None,
    progress: ProgressCallback = no_progress,
    stop: Callable[[], bool] = lambda: False,
) -> LearnedRecord:
    """Let a network learn another's outputs; its weights are changed.

    Args:
        student: the cut network.
        teacher: the original.
        data: what is learned from.
        calibration: inputs by which norms and the scales of the outputs begin.
        options: of training.
        epochs: over the data.
        run: a folder for checkpoints and metrics; None to keep none.
        progress: called with (done, total, text).
        stop: whether to stop, with a checkpoint.

    Raises:
        TrainError: the loss is not finite, or an operator does not compute in the precision.
        Interrupted: `stop` returned True.
    """
    task = Outputs(scales_of(outputs_of(teacher, calibration)))
    untrained = without_gradient(student, calibration[0], options.precision)
    network = student.network
    with student.norms(calibration, options.batch_size) as norms:
        stage = Stage(
            STAGE,
            network,
            data,  # type: ignore[arg-type]
            options,
            epochs * data.steps(options.batch_size),
            run=run,
            task=task,
            callback=RelativeSteps(network),
            teacher=Teacher(teacher, options.precision),
            progress=progress,
            stop=stop,
        )
        stage.train()
        if norms:
            recalibrate(network, data.plain_batches(options.batch_size, seed=options.seed))
        network.eval()
    return LearnedRecord(
        epochs=epochs, inputs=len(data.positions), precision=options.precision, norms=norms, untrained=tuple(untrained)
    )  # fmt: skip


def without_gradient(student: Student, inputs: Arrays, precision: str) -> tuple[str, ...]:
    """Return the weights that learn nothing, since no gradient reaches them, as the user knows them.

    Args:
        student: the cut network.
        inputs: an example.
        precision: that it learns in.

    Raises:
        TrainError: an operator does not compute in that precision.
    """
    network = student.network
    try:
        with computing_in(precision, "cpu"):
            outputs = [output for output in tensors_of(network(*inputs)) if output.requires_grad]
    except (EdgePruneError, RuntimeError, TypeError) as error:
        if precision == "fp32":
            raise
        raise TrainError(
            f"the network does not run in {precision} ({one_line(error)}): say `distill_precision=fp32`"
        ) from error
    if outputs:
        torch.stack([output.float().square().mean() for output in outputs]).sum().backward()
    names = [name for name, parameter in network.named_parameters() if parameter.grad is None]
    network.zero_grad(set_to_none=True)
    return tuple(sorted({student.constant(name) for name in names}))
