"""How good a model is, and BatchNorm statistics that fit it."""

import copy
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import torch
from torch import nn

from edgeprune.data import Batch, DataBundle
from edgeprune.errors import TrainError
from edgeprune.tasks import Task
from edgeprune.training.precision import computing_in


def evaluate(
    model: nn.Module, batches: Iterable[Batch], task: Task, device: str = "cpu", precision: str = "fp32"
) -> dict[str, float]:
    """Return a task's metrics by name, in eval mode; the mode is put back.

    Args:
        model: on ``device``.
        batches: of images and what the model should give for them.
        task: says how good an output is.
        device: torch's.
        precision: in which the model computes.
    """
    mode, meter = model.training, task.meter()
    model.eval()
    with torch.no_grad(), computing_in(precision, device):
        for x, y in batches:
            meter.add(model(x.to(device, memory_format=torch.channels_last)), y)
    model.train(mode)
    return meter.values()


def score_of(
    model: nn.Module, batches: Iterable[Batch], task: Task, device: str = "cpu", precision: str = "fp32"
) -> float:
    """Return the metric by which models are compared; the arguments are those of `evaluate`."""
    return evaluate(model, batches, task, device, precision)[task.metric.name]


def recalibrate(
    model: nn.Module, data: DataBundle, *, batches: int = 50, batch_size: int = 128, device: str = "cpu"
) -> None:
    """Measure BatchNorm's statistics anew: the plain average over ``batches`` training batches, in fp32.

    Masks move faster than running statistics follow, so this comes before every evaluation of a pruned
    model. No label is read, and masks stay as they are.
    """
    given = data.train_batches(0, batch_size=batch_size, seed=987_654_321)
    recalibrate_on(model, (x for x, _ in islice(given, batches)), device)


def recalibrate_on(
    model: nn.Module, images: Iterable[torch.Tensor], device: str = "cpu", precision: str = "fp32"
) -> None:
    """The same on batches of images that are given, each (N, C, H, W).

    Raises:
        TrainError: there are no images, too small ones, or the activations are not finite numbers; the
            statistics are as before then.
    """
    found = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    norms = [n for n in found if n.track_running_stats and not _belongs_to_bank(model, n)]
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
            model(x.to(device, memory_format=torch.channels_last))
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
    fitted: nn.Module, recalibrate: Callable[[nn.Module], None], judge: Callable[[nn.Module], float]
) -> nn.Module:
    """A model after fits in sequence, with the statistics it came with or with new ones.

    Those fits bring each layer's output back to what its BatchNorm's statistics are of; measured anew they
    would undo a part of that. Where a network has layers that cannot be fitted, new ones may be better.

    Args:
        fitted: stays as it is.
        recalibrate: measures a model's statistics anew, in place.
        judge: the higher the better.
    """
    measured = copy.deepcopy(fitted)
    recalibrate(measured)
    return max(measured, fitted, key=judge)


def _belongs_to_bank(model: nn.Module, norm: nn.Module) -> bool:
    """Whether ``norm`` is a pruning-model's own, which is no part of the network that is evaluated."""
    own = getattr(model, "pruning_modules", None)
    return own is not None and any(norm is m for m in own())
