"""The training loop.

A step depends only on (seed, stage, step) and the tensors in the checkpoint. On a CPU, a run that was killed
at any time and resumed is therefore bit-identical to an uninterrupted one. Under torchrun or accelerate
launch, every process reads its slice of each batch.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.data import Batch, DataBundle
from edgeprune.data.targets import moved
from edgeprune.errors import TrainError
from edgeprune.processes.distributed import world
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.runs.training_state import TrainingState
from edgeprune.tasks import Classification, Task
from edgeprune.training.callbacks import Callback
from edgeprune.training.checkpoints import StageCheckpoints, checkpoint_seconds
from edgeprune.training.compiled import compiling
from edgeprune.training.evaluation import channels_last, evaluate, recalibrate
from edgeprune.training.interruption import Interrupted
from edgeprune.training.narrow_maps import narrow_maps_in_fp32
from edgeprune.training.norms import shared_statistics
from edgeprune.training.options import TrainOptions
from edgeprune.training.precision import computing_in
from edgeprune.training.stage_log import StageLog
from edgeprune.training.updater import ModelUpdater


@dataclass
class Stage:
    """One stage of training: ``steps`` optimizer steps of ``model``, logged and resumable.

    ``span`` places the stage in a longer schedule: (steps before it, total steps). ``teacher`` is a trained
    network to distil from, ``momentum`` the initial momentum of the optimizer by parameter name.
    """

    name: str
    model: nn.Module
    data: DataBundle
    options: TrainOptions
    steps: int
    run: TrainingState | None = None
    span: tuple[int, int] | None = None
    callback: Callback = field(default_factory=Callback)
    task: Task = field(default_factory=Classification)
    teacher: nn.Module | None = None
    momentum: dict[str, Tensor] = field(default_factory=dict)
    progress: ProgressCallback = no_progress
    stop: Callable[[], bool] = lambda: False
    scalars: Callable[[str, float, int], None] = lambda tag, value, step: None  # noqa: ARG005
    recalibrate_for_evaluation: bool = False
    checkpoint_seconds: float = field(default_factory=checkpoint_seconds)

    def __post_init__(self) -> None:
        options = self.options
        _laid_last(self.model, options.device)
        if self.teacher is not None:
            _laid_last(self.teacher, options.device).eval()
        self.updater = ModelUpdater(self.model, options, self.momentum)
        self._networks: tuple[nn.Module, nn.Module | None] = self.model, self.teacher
        self.step = 0
        self.per_epoch = self.data.steps(options.batch_size)
        self.log = StageLog(
            self.name, self.steps, self.per_epoch, self.task.metric, self.run, self.progress, self.scalars
        )
        self.checkpoints = StageCheckpoints(self.name, self.run, self.checkpoint_seconds)

    def train(self) -> None:
        """Train for the remaining steps.

        Raises:
            TrainError: the loss is not finite. Interrupted: `stop` returned True; a checkpoint is left.
        """
        self.checkpoints.load(self._restore)
        if self.step == 0:
            self.callback.before_training()
        batches: Iterator[Batch] | None = None
        if self.options.compile and self.step < self.steps:
            self.progress(0, 1, f"compiling {self.name}: a minute or two")
        networks = compiling(self.model, self.teacher, enabled=self.options.compile)
        with shared_statistics(self.model), narrow_maps_in_fp32(), networks as self._networks:
            while self.step < self.steps and not self.callback.finished():
                epoch, position = divmod(self.step, self.per_epoch)
                if batches is None or position == 0:
                    batches = self._batches(epoch, position)
                loss, stopping = self._train_step(*next(batches))
                self.step += 1
                values = self.callback.after_step(self.step, loss)
                self.log.after_step(self.step, loss, self.learning_rate(self.step - 1), values)
                if self.step % self.per_epoch == 0 or self.step == self.steps:
                    self._end_epoch()
                self._maybe_checkpoint(stopping)
        if self.updater.average is not None:
            self.updater.average.swap()

    def _batches(self, epoch: int, skip: int) -> Iterator[Batch]:
        """Return this process's slices of an epoch's batches, up to the stage's last."""
        options, left = self.options, self.steps - epoch * self.per_epoch
        return self.data.train_batches(
            epoch, batch_size=options.batch_size, seed=self._seed(), skip=skip, limit=min(left, self.per_epoch),
            world=world(), device=options.device,
        )  # fmt: skip

    def _seed(self) -> int:
        return self.options.seed * 1000 + sum(map(ord, self.name)) % 1000

    def learning_rate(self, step: int) -> float:
        """Return the learning rate at a step of this stage."""
        before, total = self.span or (0, self.steps)
        return self.options.rate_at(before + step, total)

    def _train_step(self, x: Tensor, y: Any) -> tuple[float, bool]:
        """Take one optimizer step; return its loss, and whether any process is to stop."""
        rate = self.learning_rate(self.step)
        torch.manual_seed(self._seed() * 1_000_003 + self.step)  # so that dropout repeats after a resume
        self.updater.set_rate(rate)
        self.model.train()
        loss = self._add_gradients(x, y)
        value, stopping = self._agree(loss)
        if not math.isfinite(value):
            raise TrainError(self._diverged(value))
        self.updater.update(self.callback, rate)
        return value, stopping

    def _add_gradients(self, x: Any, y: Any) -> float:
        """Compute the gradients of a batch, part by part, and return its loss: the mean over all images of both."""
        self.updater.clear()
        if self.options.accumulate == 1:
            return self._add_gradients_of(x, y, 1.0)
        bounds = torch.linspace(0, len(x), min(self.options.accumulate, len(x)) + 1).round().int().tolist()
        return sum(
            self._add_gradients_of(x[start:stop], y[start:stop], (stop - start) / len(x))
            for start, stop in pairwise(bounds)
        )

    def _add_gradients_of(self, x: Any, y: Any, weight: float) -> float:
        """Add the gradients of images times a weight; return their weighted loss."""
        options = self.options
        x, y = channels_last(x, options.device), moved(y, options.device)
        with computing_in(options.precision, options.device):
            run = self.task.training_output if self.teacher is None else self.task.student_output
            model, teacher = self._networks
            output = run(model, x, y)
            teacher_output = None if teacher is None else _output_without_gradients(teacher, x)
        loss = (
            self.task.total_loss(output, y, teacher_output, label_smoothing=options.label_smoothing) * weight
        )
        self.updater.backward(loss)
        return float(loss.detach())

    def _diverged(self, loss: float) -> str:
        """Return the message on a loss that is not finite."""
        if self.step == 0 and not self.momentum:  # before any update, a lower rate cannot help
            return (
                f"the loss became {loss} in stage {self.name}, step 0 of {self.steps}: before any update "
                "that a lower `lr` could mend, the model does not give finite numbers for these images"
            )
        message = (
            f"the loss became {loss} in stage {self.name}, step {self.step} of {self.steps}: lower `lr` "
            f"(it is {self.options.lr:g}) and start again"
        )
        if self.run is None:
            return message
        saved = "; the last checkpoint is in " + str(self.run.path) if self.run.has_checkpoint() else ""
        return f"{message} with --force{saved}"

    def _check_weights(self) -> None:
        """Raise TrainError for a weight that is not finite: where no image shows it, the loss does not either."""
        for name, parameter in self.model.named_parameters():
            if not bool(parameter.isfinite().all()):
                raise TrainError(
                    f"{name} holds numbers that are not finite after step {self.step} of stage {self.name}: lower "
                    f"`lr` (it is {self.options.lr:g}), or say `precision=fp32`"
                )

    def _agree(self, loss: float) -> tuple[float, bool]:
        """Average gradients and loss over the processes; return the loss, and whether any process is to stop."""
        if world().size == 1:
            return loss, False
        leaves = [*self.model.parameters(), *self.callback.leaves()]
        loss_and_stop = torch.tensor([loss, float(self.stop())], device=self.options.device)
        world().average([loss_and_stop, *[leaf.grad for leaf in leaves if leaf.grad is not None]])
        return float(loss_and_stop[0]), bool(loss_and_stop[1] > 0)

    def _end_epoch(self) -> None:
        self._check_weights()
        if self.recalibrate_for_evaluation:
            size, device = self.options.batch_size, self.options.device
            recalibrate(self.model, self.data, batches=20, batch_size=size, device=device)
        if not self.data.sizes["val"]:
            return
        average = self.updater.average
        options = self.options
        with contextlib.nullcontext() if average is None else average.in_model():
            batches = self.data.batches("val", device=options.device)
            values = evaluate(self.model, batches, self.task, options.device, options.precision)
        self.log.after_epoch(self.step, values)

    # --- checkpoints ---------------------------------------------------------------------------------

    def _maybe_checkpoint(self, stopping: bool) -> None:
        stopping = stopping or (world().size == 1 and self.stop())
        if (stopping or self.checkpoints.is_due) and self.run is not None:
            self.save()
            self.checkpoints.restart_clock()
        if stopping:
            raise Interrupted

    def save(self) -> None:
        """Write the checkpoint: model, momentum, step, and the callback's state."""
        callback_state = self.callback.state()
        callback_tensors = {
            name: value for name, value in callback_state.items() if isinstance(value, Tensor)
        }
        extra = {name: value for name, value in callback_state.items() if name not in callback_tensors}
        tensors = self.updater.tensors()
        tensors.update({f"extra/{name}": value for name, value in callback_tensors.items()})
        own = {"step": self.step, self.log.score_key: self.log.score}
        self.checkpoints.save(tensors, {**own, **self.updater.state(), "extra": extra})

    def _restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Continue from a checkpoint's tensors and state."""
        self.updater.restore(tensors, state)
        self.step, self.log.score = state["step"], state[self.log.score_key]
        callback_tensors = {k.removeprefix("extra/"): v for k, v in tensors.items() if k.startswith("extra/")}
        self.callback.restore({**state["extra"], **callback_tensors})

    def momenta(self) -> dict[str, Tensor]:
        """Return the optimizer's momentum by parameter name, for parameters that have one."""
        return self.updater.momenta()


def _output_without_gradients(model: nn.Module, x: Tensor) -> Any:
    with torch.no_grad():
        return model(x)


def _laid_last(model: nn.Module, device: str) -> nn.Module:
    """Move a model to a device, its images' weights with the channels last; volumes stay as they are."""
    model.to(device)
    if all(tensor.dim() < 5 for tensor in model.state_dict().values()):
        model.to(memory_format=torch.channels_last)
    return model
