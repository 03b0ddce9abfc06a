"""One training loop for baseline, pruning and fine-tuning alike.

Everything a step does follows from (seed, stage, step) and the tensors in the checkpoint, so that a
run killed at any moment and resumed ends bit-identical on a CPU with one that was not.
"""

import contextlib
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.data import Batch, DataBundle
from edgeprune.errors import TrainError, known
from edgeprune.runs import Run

REPORT_EVERY = 50  # iterations, as the source of the learned criterion reports them
Progress = Callable[[float, float, str], None]


class Interrupted(Exception):
    """Training was asked to stop, and has left a checkpoint where it has a run folder."""


def checkpoint_seconds() -> float:
    """Seconds between checkpoints: a minute, or what EDGEPRUNE_CHECKPOINT_SECONDS says (0: each step)."""
    return float(os.environ.get("EDGEPRUNE_CHECKPOINT_SECONDS", "60"))


# --- schedules: pure functions -----------------------------------------------------------------------


def thesis_schedule(done: float) -> float:
    """The learned criterion's source, stretched to any length: 100 epochs stand for the whole.

    Constant up to epoch 25; then, changed at each epoch divisible by 10, 0.941^(epoch - 25).
    """
    epoch = 100 * done
    if epoch < 25:
        return 1.0
    stage = 25 if epoch < 30 else 10 * math.floor(epoch / 10)
    return float(0.941 ** (stage - 25))


def cosine_schedule(done: float) -> float:
    """From 1 to 0 along half a cosine, after a warm-up over the first twentieth."""
    warm = 0.05
    if done < warm:
        return 0.1 + 0.9 * done / warm
    return 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))


def onecycle_schedule(done: float) -> float:
    """Up from a tenth over the first tenth of training, then down to zero along a straight line."""
    return 0.1 + 9 * done if done < 0.1 else (1 - done) / 0.9


def constant_schedule(done: float) -> float:
    """No change."""
    return 1.0 if done >= 0 else 0.0


SCHEDULES: dict[str, Callable[[float], float]] = {
    "thesis": thesis_schedule,
    "cosine": cosine_schedule,
    "onecycle": onecycle_schedule,
    "constant": constant_schedule,
}


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train. ``schedule`` names a factor on ``lr`` over the share of training done."""

    batch_size: int = 128
    lr: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    schedule: str = "thesis"
    label_smoothing: float = 0.0
    precision: str = "fp32"
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise TrainError(known("schedule", self.schedule, list(SCHEDULES)))
        if self.precision not in PRECISIONS:
            raise TrainError(known("precision", self.precision, list(PRECISIONS)))


PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def best_precision(device: str) -> str:
    """bf16 where the hardware multiplies in it, else fp32."""
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if fast or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)() else "fp32"


@contextlib.contextmanager
def computing_in(precision: str, device: str) -> Iterator[None]:
    """Autocast to ``precision`` on ``device``; nothing for fp32."""
    dtype = PRECISIONS[precision]
    with torch.autocast(device.split(":")[0], dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        yield


class Extra(Protocol):
    """What a stage adds to the loop: the pruning phase's controller, for one."""

    def after_step(self, step: int) -> dict[str, Any]:
        """Called after each optimizer step; what it returns is logged every REPORT_EVERY steps."""

    def state(self) -> dict[str, Any]:
        """JSON-able state for the checkpoint."""

    def restore(self, state: dict[str, Any]) -> None:
        """Take that state back."""


class NoExtra:
    """A stage that only trains."""

    def after_step(self, step: int) -> dict[str, Any]:  # noqa: ARG002
        """Nothing to log."""
        return {}

    def state(self) -> dict[str, Any]:
        """Nothing to keep."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Nothing to take back."""


@dataclass
class Stage:
    """One stretch of training: ``steps`` optimizer steps of ``model``, logged and resumable.

    ``span`` places the stage in a longer schedule: (steps before it, steps of the whole).
    """

    name: str
    model: nn.Module
    data: DataBundle
    options: TrainOptions
    steps: int
    run: Run | None = None
    span: tuple[int, int] | None = None
    extra: Extra = field(default_factory=NoExtra)
    progress: Progress = lambda done, total, text: None  # noqa: ARG005
    stop: Callable[[], bool] = lambda: False
    scalars: Callable[[str, float, int], None] = lambda tag, value, step: None  # noqa: ARG005
    recalibrate_for_evaluation: bool = False
    checkpoint_seconds: float = field(default_factory=checkpoint_seconds)

    def __post_init__(self) -> None:
        options = self.options
        self.model.to(options.device).to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=options.lr,
            momentum=options.momentum,
            nesterov=options.nesterov and options.momentum > 0,
            weight_decay=options.weight_decay,
        )
        self.step = 0
        self.per_epoch = self.data.steps(options.batch_size)
        self._saved_at = time.monotonic()
        self._accuracy: float | None = None

    def train(self) -> None:
        """Take the steps that are left.

        Raises:
            TrainError: the loss is no longer a number. Interrupted: `stop` said so; a checkpoint is left.
        """
        self._resume()
        batches: Iterator[Batch] | None = None
        while self.step < self.steps:
            epoch, position = divmod(self.step, self.per_epoch)
            if batches is None or position == 0:
                batches = self.data.train_batches(
                    epoch, batch_size=self.options.batch_size, seed=self._seed(), skip=position
                )
            loss = self._one(*next(batches))
            self.step += 1
            self._report(loss, self.extra.after_step(self.step))
            if self.step % self.per_epoch == 0 or self.step == self.steps:
                self._end_epoch()
            self._maybe_checkpoint()

    def _seed(self) -> int:
        return self.options.seed * 1000 + sum(map(ord, self.name)) % 1000

    def learning_rate(self, step: int) -> float:
        """At a step of this stage."""
        before, whole = self.span or (0, self.steps)
        return self.options.lr * SCHEDULES[self.options.schedule]((before + step) / max(1, whole))

    def _one(self, x: Tensor, y: Tensor) -> float:
        options = self.options
        torch.manual_seed(self._seed() * 1_000_003 + self.step)  # dropout and its like repeat after a resume
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate(self.step)
        self.model.train()
        x = x.to(options.device, memory_format=torch.channels_last)
        with computing_in(options.precision, options.device):
            logits = self.model(x)
        loss = F.cross_entropy(logits.float(), y.to(options.device), label_smoothing=options.label_smoothing)
        value = float(loss.detach())
        if not math.isfinite(value):
            raise TrainError(
                f"the loss became {value} in stage {self.name}, step {self.step} of {self.steps}: lower --lr "
                f"(it is {options.lr:g}) and start again"
                + ("" if self.run is None else f" with --force; the last checkpoint is in {self.run.path}")
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return value

    # --- reporting -----------------------------------------------------------------------------------

    def _report(self, loss: float, more: dict[str, Any]) -> None:
        epochs = math.ceil(self.steps / self.per_epoch)
        epoch = (self.step - 1) // self.per_epoch + 1
        shown = "" if self._accuracy is None else f", val {100 * self._accuracy:.2f} %"
        if "flops_fraction" in more:
            shown += f", FLOPs {100 * more['flops_fraction']:.1f} %"
        self.progress(self.step, self.steps, f"{self.name} epoch {epoch}/{epochs}, loss {loss:.3f}{shown}")
        if self.step % REPORT_EVERY == 0 or self.step == self.steps:
            self._log({"kind": "step", "loss": loss, "lr": self.learning_rate(self.step - 1), **more})

    def _end_epoch(self) -> None:
        if self.recalibrate_for_evaluation:
            size, device = self.options.batch_size, self.options.device
            recalibrate(self.model, self.data, batches=20, batch_size=size, device=device)
        if self.data.sizes["val"]:
            self._accuracy = accuracy(
                self.model, self.data.batches("val"), self.options.device, self.options.precision
            )
            self._log({"kind": "epoch", "val_accuracy": self._accuracy})

    def _log(self, record: dict[str, Any]) -> None:
        if self.run is not None:
            self.run.log({"stage": self.name, "step": self.step, **record})
        for key, value in record.items():
            if isinstance(value, (int, float)):
                self.scalars(f"{self.name}/{key}", float(value), self.step)

    # --- checkpoints ---------------------------------------------------------------------------------

    def _maybe_checkpoint(self) -> None:
        stopping = self.stop()
        due = stopping or time.monotonic() - self._saved_at >= self.checkpoint_seconds
        if due and self.run is not None:
            self.save()
            self._saved_at = time.monotonic()
        if stopping:
            raise Interrupted

    def save(self) -> None:
        """Write the checkpoint: model, momentum, step, and the extra's own state."""
        assert self.run is not None
        tensors = {f"model/{k}": v for k, v in self.model.state_dict().items()}
        for index, parameter in enumerate(self.model.parameters()):
            momentum = self.optimizer.state.get(parameter, {}).get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum/{index}"] = momentum
        state = {"stage": self.name, "step": self.step, "val_accuracy": self._accuracy}
        self.run.save_checkpoint(tensors, {**state, "extra": self.extra.state()})

    def _resume(self) -> None:
        found = self.run.load_checkpoint(self.name) if self.run is not None else None
        if found is None:
            return
        tensors, state = found
        model = {k.removeprefix("model/"): v for k, v in tensors.items() if k.startswith("model/")}
        self.model.load_state_dict(model)
        for index, parameter in enumerate(self.model.parameters()):
            momentum = tensors.get(f"momentum/{index}")
            if momentum is not None:
                buffer = torch.empty_like(parameter).copy_(momentum)
                self.optimizer.state[parameter]["momentum_buffer"] = buffer
        self.step, self._accuracy = state["step"], state["val_accuracy"]
        self.extra.restore(state["extra"])


# --- evaluation --------------------------------------------------------------------------------------


def accuracy(
    model: nn.Module, batches: Iterable[Batch], device: str = "cpu", precision: str = "fp32"
) -> float:
    """Share of images whose largest logit is their label's, in eval mode; the mode is put back."""
    mode = model.training
    model.eval()
    right = total = 0
    with torch.no_grad(), computing_in(precision, device):
        for x, y in batches:
            logits = model(x.to(device, memory_format=torch.channels_last))
            right += int((logits.argmax(1).cpu() == y).sum())
            total += len(y)
    model.train(mode)
    return right / max(1, total)


def recalibrate(
    model: nn.Module, data: DataBundle, *, batches: int = 50, batch_size: int = 128, device: str = "cpu"
) -> None:
    """Measure BatchNorm's statistics anew: the plain average over ``batches`` training batches, in fp32.

    Masks move faster than running statistics follow, so this comes before every evaluation of a pruned
    model. No label is read, and masks stay as they are.
    """
    found = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    norms = [n for n in found if n.track_running_stats and not _belongs_to_bank(model, n)]
    if not norms:
        return
    before = [n.momentum for n in norms]
    pruning, mode = getattr(model, "pruning", None), model.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average of all batches
    model.train()
    if pruning is not None:
        model.pruning = False  # type: ignore[assignment]
    with torch.no_grad():
        for index, (x, _) in enumerate(data.train_batches(0, batch_size=batch_size, seed=987_654_321)):
            if index == batches:
                break
            torch.manual_seed(index)
            model(x.to(device, memory_format=torch.channels_last))
    if pruning is not None:
        model.pruning = pruning
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
    model.train(mode)


def _belongs_to_bank(model: nn.Module, norm: nn.Module) -> bool:
    """Whether ``norm`` is a pruning-model's own, which is no part of the network that is evaluated."""
    own = getattr(model, "pruning_modules", None)
    return own is not None and any(norm is m for m in own())
