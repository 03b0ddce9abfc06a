"""The training loop.

A step depends only on (seed, stage, step) and the tensors in the checkpoint. On a CPU, a run that was killed
at any time and resumed is therefore bit-identical to an uninterrupted one. Under torchrun or accelerate
launch, every process takes its slice of each batch.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.data import Batch, DataBundle
from edgeprune.data.targets import moved
from edgeprune.errors import RunError, TrainError
from edgeprune.processes.distributed import world
from edgeprune.processes.progress import ProgressCallback, no_progress
from edgeprune.runs.training_state import TrainingState
from edgeprune.tasks import Classification, Task
from edgeprune.training.average import Average
from edgeprune.training.callbacks import Callback
from edgeprune.training.evaluation import channels_last, evaluate, recalibrate
from edgeprune.training.norms import shared_statistics
from edgeprune.training.options import TrainOptions
from edgeprune.training.precision import computing_in

REPORT_EVERY = 50  # iterations, as the source of the learned criterion reports them


class Interrupted(Exception):
    """Training was interrupted, and has left a checkpoint if it has a run folder."""


def checkpoint_seconds() -> float:
    """Return the seconds between checkpoints: EDGEPRUNE_CHECKPOINT_SECONDS, or 60 (0: every step)."""
    text = os.environ.get("EDGEPRUNE_CHECKPOINT_SECONDS", "60")
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < math.inf:
        raise TrainError(
            f"the environment's EDGEPRUNE_CHECKPOINT_SECONDS is {text!r}: write seconds, such as 60, or "
            "unset it"
        )
    return seconds


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
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=options.lr,
            momentum=options.momentum,
            nesterov=options.nesterov and options.momentum > 0,
            weight_decay=options.weight_decay,
        )
        if self.teacher is not None:
            _laid_last(self.teacher, options.device).eval()
        for name, parameter in self.model.named_parameters():
            if name in self.momentum:
                self._give_momentum(parameter, self.momentum[name])
        # fp16's range is small: the loss is scaled up before the backward pass, and gradients down after it.
        kind, fp16 = options.device.split(":")[0], options.precision == "fp16"
        self.scaler = torch.amp.GradScaler(kind, init_scale=2.0**10, enabled=fp16)
        self.average = Average(self.model, options.ema) if options.ema else None
        self.step = 0
        self.per_epoch = self.data.steps(options.batch_size)
        self._saved_at = time.monotonic()
        self._score: float | None = None  # the task's metric on held-out images

    def train(self) -> None:
        """Train for the remaining steps.

        Raises:
            TrainError: the loss is not finite. Interrupted: `stop` returned True; a checkpoint is left.
        """
        self._resume()
        batches: Iterator[Batch] | None = None
        with shared_statistics(self.model):
            while self.step < self.steps and not self.callback.finished():
                epoch, position = divmod(self.step, self.per_epoch)
                if batches is None or position == 0:
                    batches = self.data.train_batches(
                        epoch, batch_size=self.options.batch_size, seed=self._seed(), skip=position
                    )
                loss, stopping = self._train_step(*next(batches))
                self.step += 1
                self._report(loss, self.callback.after_step(self.step, loss))
                if self.step % self.per_epoch == 0 or self.step == self.steps:
                    self._end_epoch()
                self._maybe_checkpoint(stopping)
        if self.average is not None:
            self.average.swap()

    def _seed(self) -> int:
        return self.options.seed * 1000 + sum(map(ord, self.name)) % 1000

    def learning_rate(self, step: int) -> float:
        """Return the learning rate at a step of this stage."""
        before, total = self.span or (0, self.steps)
        return self.options.rate_at(before + step, total)

    def _train_step(self, x: Tensor, y: Any) -> tuple[float, bool]:
        """Take one optimizer step; return its loss, and whether any process is to stop."""
        options, rate = self.options, self.learning_rate(self.step)
        torch.manual_seed(self._seed() * 1_000_003 + self.step)  # so that dropout repeats after a resume
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        x, y = world().shard(x), moved(world().shard(y), options.device)
        x = channels_last(x, options.device)
        with computing_in(options.precision, options.device):
            run = self.task.training_output if self.teacher is None else self.task.student_output
            output = run(self.model, x, y)
            teacher_output = self._teacher_output(x)
        loss = self.task.total_loss(output, y, teacher_output, label_smoothing=options.label_smoothing)
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        value, stopping = self._agree(float(loss.detach()))
        if not math.isfinite(value):
            raise TrainError(self._diverged(value))
        self.scaler.unscale_(self.optimizer)
        for leaf in self.callback.leaves():
            if leaf.grad is not None:
                leaf.grad /= self.scaler.get_scale()
        self.callback.before_update(rate)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        if self.average is not None:
            self.average.update()
        return value, stopping

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

    def _teacher_output(self, x: Tensor) -> Any:
        """Return the teacher's output; None without one."""
        if self.teacher is None:
            return None
        with torch.no_grad():
            return self.teacher(x)

    def _agree(self, loss: float) -> tuple[float, bool]:
        """Average gradients and loss over the processes; return the loss, and whether any process is to stop."""
        if world().size == 1:
            return loss, False
        leaves = [*self.model.parameters(), *self.callback.leaves()]
        loss_and_stop = torch.tensor([loss, float(self.stop())], device=self.options.device)
        world().average([loss_and_stop, *[leaf.grad for leaf in leaves if leaf.grad is not None]])
        return float(loss_and_stop[0]), bool(loss_and_stop[1] > 0)

    # --- reporting -----------------------------------------------------------------------------------

    def _report(self, loss: float, values: dict[str, Any]) -> None:
        epochs = math.ceil(self.steps / self.per_epoch)
        epoch = (self.step - 1) // self.per_epoch + 1
        shown = "" if self._score is None else f", val {self.task.metric.text(self._score)}"
        if "flops_fraction" in values:
            shown += f", FLOPs {100 * values['flops_fraction']:.1f} %"
        self.progress(self.step, self.steps, f"{self.name} epoch {epoch}/{epochs}, loss {loss:.3f}{shown}")
        if self.step % REPORT_EVERY == 0 or self.step == self.steps:
            self._log({"kind": "step", "loss": loss, "lr": self.learning_rate(self.step - 1), **values})

    def _end_epoch(self) -> None:
        if self.recalibrate_for_evaluation:
            size, device = self.options.batch_size, self.options.device
            recalibrate(self.model, self.data, batches=20, batch_size=size, device=device)
        if not self.data.sizes["val"]:
            return
        with contextlib.nullcontext() if self.average is None else self.average.in_model():
            batches, options = self.data.batches("val"), self.options
            values = evaluate(self.model, batches, self.task, options.device, options.precision)
        self._score = values[self.task.metric.name]
        self._log({"kind": "epoch", **{f"val_{name}": value for name, value in values.items()}})

    @property
    def _score_key(self) -> str:
        """Key of the score in a checkpoint."""
        return f"val_{self.task.metric.name}"

    def _log(self, record: dict[str, Any]) -> None:
        if self.run is not None:
            self.run.log({"stage": self.name, "step": self.step, **record})
        for key, value in record.items():
            if isinstance(value, (int, float)):
                self.scalars(f"{self.name}/{key}", float(value), self.step)

    # --- checkpoints ---------------------------------------------------------------------------------

    def _maybe_checkpoint(self, stopping: bool) -> None:
        stopping = stopping or (world().size == 1 and self.stop())
        due = stopping or time.monotonic() - self._saved_at >= self.checkpoint_seconds
        if due and self.run is not None:
            self.save()
            self._saved_at = time.monotonic()
        if stopping:
            raise Interrupted

    def save(self) -> None:
        """Write the checkpoint: model, momentum, step, and the callback's state."""
        assert self.run is not None
        tensors = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        for index, parameter in enumerate(self.model.parameters()):
            momentum = self.optimizer.state.get(parameter, {}).get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum/{index}"] = momentum
        if self.average is not None:
            tensors.update({f"ema/{k}": v for k, v in self.average.tensors.items()})
        taken = 0 if self.average is None else self.average.taken
        state = {"stage": self.name, "step": self.step, self._score_key: self._score, "ema": taken}
        state["scaler"] = self.scaler.state_dict()
        callback_state = self.callback.state()
        callback_tensors = {
            name: value for name, value in callback_state.items() if isinstance(value, Tensor)
        }
        tensors.update({f"extra/{name}": value for name, value in callback_tensors.items()})
        state["extra"] = {
            name: value for name, value in callback_state.items() if name not in callback_tensors
        }
        self.run.save_checkpoint(tensors, state)

    def _resume(self) -> None:
        checkpoint = self.run.load_checkpoint(self.name) if self.run is not None else None
        if checkpoint is None:
            return
        try:
            self._restore(*checkpoint)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = (str(error).splitlines() or [""])[-1].strip()
            raise RunError(
                f"{self.run.path if self.run else ''}/checkpoint.safetensors is damaged, or of another model "
                f"({type(error).__name__}: {reason}): delete it, and --resume starts this stage again"
            ) from error

    def _restore(self, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
        """Continue from a checkpoint's tensors and state."""
        model = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
        self.model.load_state_dict(model)
        for index, parameter in enumerate(self.model.parameters()):
            momentum = tensors.get(f"momentum/{index}")
            if momentum is not None:
                self._give_momentum(parameter, momentum)
        if self.average is not None:
            for name, held in self.average.tensors.items():
                held.copy_(tensors[f"ema/{name}"])
            self.average.taken = state["ema"]
        self.scaler.load_state_dict(state["scaler"])
        self.step, self._score = state["step"], state[self._score_key]
        callback_tensors = {k.removeprefix("extra/"): v for k, v in tensors.items() if k.startswith("extra/")}
        self.callback.restore({**state["extra"], **callback_tensors})

    def _give_momentum(self, parameter: nn.Parameter, momentum: Tensor) -> None:
        buffer = torch.empty_like(parameter).copy_(momentum)
        self.optimizer.state[parameter]["momentum_buffer"] = buffer

    def momenta(self) -> dict[str, Tensor]:
        """Return the optimizer's momentum by parameter name, for parameters that have one."""
        state, named = self.optimizer.state, self.model.named_parameters()
        buffers = {name: state.get(p, {}).get("momentum_buffer") for name, p in named}
        return {name: value for name, value in buffers.items() if value is not None}


def _laid_last(model: nn.Module, device: str) -> nn.Module:
    """Move a model to a device, its images' weights with the channels last; volumes stay as they are."""
    model.to(device)
    if all(tensor.dim() < 5 for tensor in model.state_dict().values()):
        model.to(memory_format=torch.channels_last)
    return model
