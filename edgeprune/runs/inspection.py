"""Build the channel graph of a model by any name, for `edgeprune inspect`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.runs.run import Run
from edgeprune.runs.sources import model_and_example
from edgeprune.runs.subject_options import SubjectOptions

if TYPE_CHECKING:
    from torch import nn

    from edgeprune.graph.classes import Graph


def inspected_graph(
    name: str,
    options: SubjectOptions | None = None,
    ignore: tuple[str, ...] = (),
    opaque: list[str] | None = None,
) -> "Graph":
    """Trace a zoo model, a torchvision model, a user's factory, a saved network, or the unpruned model of a run.

    Args:
        name: of the model, or its file, or the run's folder.
        options: what was typed of it.
        ignore: layers whose output channels are all kept.
        opaque: modules that are not traced and not pruned; None for those of the run.

    Raises:
        ModelError: unknown name, or inputs that do not fit.
        TraceError: the model cannot be traced.
    """
    model, arguments = model_and_example(name, options or SubjectOptions())
    if opaque is None and Path(name).is_dir():
        opaque = [*Run.open(name).opaque]
    from edgeprune.graph.classes import build_graph

    return build_graph(model, arguments, ignore, opaque or ())


def named_model(name: str, shape: str | None, classes: int | None) -> "tuple[nn.Module, tuple[int, ...]]":
    """Build a model of images: of the zoo, of torchvision, of a user's factory, or a run's unpruned model.

    Args:
        name: of the model, or the run's folder.
        shape: (C, H, W) of an image, as 3x224x224; None for the default of the model's family.
        classes: number of logits; None for the default of the model's family.

    Returns:
        The model, and (C, H, W) of an image.

    Raises:
        ModelError: unknown name, or a shape that is not like 3x224x224.
    """
    options = SubjectOptions(inputs=None if shape is None else [shape], classes=classes)
    model, arguments = model_and_example(name, options)
    return model, tuple(arguments[0].shape[1:])


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


def size_of_inputs(graph: dict[str, Any]) -> str:
    """Return the sizes of the inputs as '1x3x32x32', from the JSON of `edgeprune inspect`."""
    return " and ".join("x".join(map(str, shape)) for shape in graph["inputs"])


def group_remarks(graph: dict[str, Any], source: str) -> list[str]:
    """Return what the table of groups is of.

    Args:
        graph: the JSON of `edgeprune inspect`.
        source: the model's name, or its file, or the run's folder.
    """
    change = "" if Path(source).is_dir() else "; --input sets another, as --input 3x64x64"
    return [
        f"FLOPs are for an input of {size_of_inputs(graph)}{change}",
        "units: coupled channels that go together; params and FLOPs of a row: what goes with all of its channels; "
        "a layer between two rows counts in both",
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
