"""Evaluation of a model, and recalibration of its BatchNorm statistics."""

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from edgeprune.data import Batch, DataBundle
from edgeprune.errors import TrainError
from edgeprune.tasks import Task
from edgeprune.training.precision import computing_in


def channels_last(x: Any, device: str) -> Any:
    """Return a model's input on a device, images with their channels last; a tuple of inputs one by one."""
    if isinstance(x, tuple):
        return tuple(channels_last(part, device) for part in x)
    return x.to(device, memory_format=torch.channels_last) if x.dim() == 4 else x.to(device)


def evaluate(
    model: nn.Module, batches: Iterable[Batch], task: Task, device: str = "cpu", precision: str = "fp32"
) -> dict[str, float]:
    """Return a task's metrics by name, computed in eval mode; the model's mode is restored.

    Args:
        model: on ``device``.
        batches: of images and their targets.
        task: defines the metrics.
        device: torch's.
        precision: in which the model computes.
    """
    mode, meter = model.training, task.meter()
    model.eval()
    with torch.no_grad(), computing_in(precision, device):
        for x, y in batches:
            meter.add(model(channels_last(x, device)), y)
    model.train(mode)
    return meter.values()


def score_of(
    model: nn.Module, batches: Iterable[Batch], task: Task, device: str = "cpu", precision: str = "fp32"
) -> float:
    """Return the metric that models are compared by.

    Args:
        model: on ``device``.
        batches: of images and their targets.
        task: defines the metrics.
        device: torch's.
        precision: in which the model computes.
    """
    return evaluate(model, batches, task, device, precision)[task.metric.name]


def recalibrate(
    model: nn.Module, data: DataBundle, *, batches: int = 50, batch_size: int = 128, device: str = "cpu"
) -> None:
    """Recompute BatchNorm's statistics: the plain average over some training batches, in fp32.

    Masks change faster than running statistics, so this precedes every evaluation of a pruned model. No
    labels are read, and masks do not change.

    Args:
        model: on ``device``, changed in place.
        data: provides the training images.
        batches: number of batches.
        batch_size: images in each.
        device: torch's.

    Raises:
        TrainError: see `recalibrate_on`.
    """
    train_batches = data.train_batches(
        0, batch_size=batch_size, seed=987_654_321, limit=batches, device=device
    )
    recalibrate_on(model, (x for x, _ in train_batches), device)


def recalibrate_on(
    model: nn.Module, images: Iterable[torch.Tensor], device: str = "cpu", precision: str = "fp32"
) -> None:
    """Recompute BatchNorm's statistics on batches of images.

    Args:
        model: on ``device``, changed in place.
        images: batches, each (N, C, H, W).
        device: torch's.
        precision: in which the model computes.

    Raises:
        TrainError: there are no images, a batch is too small, or activations are not finite; the statistics
            are unchanged then.
    """
    batch_norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    norms = [n for n in batch_norms if n.track_running_stats and not _belongs_to_bank(model, n)]
    if not norms:
        return
    before = [n.momentum for n in norms]
    statistics = [{name: buffer.clone() for name, buffer in n.named_buffers()} for n in norms]
    pruning, mode = getattr(model, "pruning", None), model.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain average of all batches
    model.train()
    if pruning is not None:
        model.pruning = False  # type: ignore[assignment]
    try:
        with torch.no_grad(), computing_in(precision, device):
            _measure(model, images, device)
        _check_measured(model, norms)
    except BaseException:
        for norm, buffers in zip(norms, statistics, strict=True):
            for name, buffer in buffers.items():
                norm.get_buffer(name).copy_(buffer)
        raise
    finally:
        if pruning is not None:
            model.pruning = pruning
        for norm, momentum in zip(norms, before, strict=True):
            norm.momentum = momentum
        model.train(mode)


def _measure(model: nn.Module, images: Iterable[torch.Tensor], device: str) -> None:
    """Run all images through a model in training mode."""
    count = 0
    for index, x in enumerate(images):
        if not len(x):
            continue
        torch.manual_seed(index)
        try:
            model(channels_last(x, device))
        except ValueError as error:  # torch's own check
            if "more than 1 value per channel" not in str(error):
                raise
            raise TrainError(
                f"BatchNorm cannot be measured anew on a batch of {len(x)}: {error}; give larger batches"
            ) from error
        count += len(x)
    if not count:
        raise TrainError("BatchNorm cannot be measured anew: there are no images (an iterator used up?)")


def _check_measured(model: nn.Module, norms: list[Any]) -> None:
    """Raise TrainError unless all statistics are finite numbers."""
    names = {id(module): name for name, module in model.named_modules()}
    for norm in norms:
        if not bool(torch.isfinite(norm.running_mean).all() and torch.isfinite(norm.running_var).all()):
            raise TrainError(
                f"BatchNorm {names[id(norm)]} measured values that are not finite numbers: look for them "
                "in the images and in the weights before it"
            )


def recalibrated_if_better(
    fitted: nn.Module, recalibrate: Callable[[nn.Module], None], score: Callable[[nn.Module], float]
) -> nn.Module:
    """Return a sequentially fitted model with its old BatchNorm statistics or with new ones, whichever is better.

    Sequential fits restore each layer's output to its BatchNorm's statistics; recalibration undoes a part of
    that. If a network has layers that cannot be fitted, new statistics may still be better.

    Args:
        fitted: not changed.
        recalibrate: recomputes a model's statistics in place.
        score: of a model, higher is better.
    """
    recalibrated = copy.deepcopy(fitted)
    recalibrate(recalibrated)
    return max(recalibrated, fitted, key=score)


def _belongs_to_bank(model: nn.Module, norm: nn.Module) -> bool:
    """Return whether ``norm`` belongs to a pruning-model, which is not part of the evaluated network."""
    own = getattr(model, "pruning_modules", None)
    return own is not None and any(norm is m for m in own())
