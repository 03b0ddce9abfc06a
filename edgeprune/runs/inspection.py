"""Build the channel graph of a model by any name, for `edgeprune inspect`."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.errors import ModelError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.models import build, is_cifar_sized
from edgeprune.options.bounds import CLASSES, MAX_ELEMENTS
from edgeprune.options.checks import short
from edgeprune.runs.run import Run

if TYPE_CHECKING:
    from torch import nn

_SHAPE = re.compile("[0-9]{1,9}(x[0-9]{1,9}){0,4}")


def inspected_graph(
    name: str,
    shape: str | None,
    classes: int | None,
    ignore: tuple[str, ...] = (),
    opaque: list[str] | None = None,
) -> Graph:
    """Trace a zoo model, a torchvision model, a user's factory, or the unpruned model of a run.

    Args:
        name: of the model, or the run's folder.
        shape: (C, H, W) of an image, as 3x224x224; by default that of the run or of the model's family.
        classes: number of logits; 10 by default for models of CIFAR size, else 1000.
        ignore: layers whose output channels are all kept.
        opaque: modules that are not traced and not pruned; None for those of the run.

    Raises:
        ModelError: unknown name, or a shape that is not like 3x224x224.
        TraceError: the model cannot be traced.
    """
    import torch

    model, size = named_model(name, shape, classes)
    if opaque is None and Path(name).is_dir():
        opaque = [*Run.open(name).opaque]
    return build_graph(model, torch.zeros(1, *size), ignore, opaque or ())


def named_model(name: str, shape: str | None, classes: int | None) -> "tuple[nn.Module, tuple[int, ...]]":
    """Build a zoo model, a torchvision model, a user's factory, or a run's unpruned model.

    Args:
        name: of the model, or the run's folder.
        shape: (C, H, W) of an image, as 3x224x224; None for the default of the model's family.
        classes: number of logits; None for 10 (models of CIFAR size) or 1000.

    Returns:
        The model, and (C, H, W) of an image.

    Raises:
        ModelError: unknown name, or a shape that is not like 3x224x224.
    """
    if Path(name).is_dir():
        for option, value in (("shape", shape), ("classes", classes)):
            if value is not None:
                raise ModelError(f"{name} is a run folder, which defines it: leave `{option}` out")
        run = Run.open(name)
        return run.build(), tuple(run.config["input_shape"])
    cifar = is_cifar_sized(name)
    size = parse_shape(("3x32x32" if cifar else "3x224x224") if shape is None else shape)
    classes = (10 if cifar else 1000) if classes is None else classes
    CLASSES("`classes`", classes, ModelError)
    return build(name, num_classes=classes, in_channels=size[0]), size


def parse_shape(text: str) -> tuple[int, ...]:
    """Parse '3x224x224' to (3, 224, 224), the shape of one example without its batch axis.

    Raises:
        ModelError: the text has another form, or the shape too many values.
    """
    if not _SHAPE.fullmatch(text) or 0 in (sizes := tuple(int(part) for part in text.split("x"))):
        raise ModelError(f"input shape {short(text)!r} is not of the form 3x224x224")
    if math.prod(sizes) > MAX_ELEMENTS:
        raise ModelError(
            f"input shape {text} has {math.prod(sizes):,} values: at most {MAX_ELEMENTS:,} are taken"
        )
    return sizes


def group_rows(graph: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the table of groups, from the JSON of `edgeprune inspect`."""
    return [
        [
            group["name"],
            str(group["classes"]),
            _some(group["producers"]),
            _some(group["readers"]),
            f"{100 * group['params_share']:.1f} %",
            f"{100 * group['flops_share']:.1f} %",
        ]
        for group in graph["groups"]
    ]


def protected_rows(graph: dict[str, Any]) -> list[list[str]]:
    """Return the rows of the table of protected channels, from the JSON of `edgeprune inspect`."""
    return [
        [_some(p["layers"]), str(p["channels"]), f"{p['reason']} (at {p['where']})"]
        for p in graph["protected"]
    ]


def _some(names: list[str], shown: int = 3) -> str:
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")
