"""Models with any inputs and outputs as functions of tensors to tensors, each of which has a name."""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeprune.backends.base import INPUT, OUTPUT
from edgeprune.errors import ExportError, ModelError, one_line

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True)
class Example:
    """What a model's forward is given.

    Attributes:
        arguments: positional ones: tensors, or lists, tuples, dicts and dataclasses of them.
        names: of the tensors in them, in their order; names of the inputs in exported files.
    """

    arguments: tuple[Any, ...]
    names: tuple[str, ...] = (INPUT,)

    @property
    def tensors(self) -> "list[Tensor]":
        """The tensors in the arguments, in order."""
        return [tensor for _, tensor in _named(self.arguments)]

    def filled(self, tensors: "Iterable[Tensor]") -> tuple[Any, ...]:
        """Return the arguments with other tensors in them, in order."""
        return tuple(_filled(self.arguments, iter(tensors)))

    def doubled(self) -> "Example | None":
        """Return it with twice the batch; None where its tensors have no batch in common."""
        import torch

        tensors = self.tensors
        if not tensors or not tensors[0].dim() or any(t.shape[:1] != tensors[0].shape[:1] for t in tensors):
            return None
        return replace(self, arguments=self.filled([torch.cat([tensor, tensor]) for tensor in tensors]))


def output_on(model: "nn.Module", arguments: tuple[Any, ...]) -> Any:
    """Return what a model gives in evaluation mode, without gradients; its mode is restored.

    Args:
        model: on the CPU.
        arguments: of its forward.

    Raises:
        ModelError: it does not run on them.
    """
    import torch

    modes = {module: module.training for module in model.modules()}
    try:
        with torch.no_grad():
            return model.eval()(*arguments)
    except Exception as error:  # the user's own code: its traceback is kept as the cause
        shapes = ", ".join("x".join(map(str, tensor.shape)) for tensor in Example(arguments).tensors)
        reason = one_line((str(error).strip().splitlines() or [""])[0])
        raise ModelError(
            f"{type(model).__name__} does not run on {shapes} ({type(error).__name__}: {reason}): say what "
            "it takes with --input NAME=SHAPE or --example"
        ) from error
    finally:
        for module, mode in modes.items():
            module.training = mode


def example_of(model: "nn.Module", arguments: tuple[Any, ...]) -> Example:
    """Return an example whose inputs are named like the parameters of forward.

    Args:
        model: that takes the arguments.
        arguments: positional ones.
    """
    try:
        parameters = [*inspect.signature(model.forward).parameters.values()]
    except (TypeError, ValueError):
        parameters = []
    plain = [part.name for part in parameters if part.kind is not part.VAR_POSITIONAL]
    names = [plain[place] if place < len(plain) else f"{INPUT}_{place}" for place in range(len(arguments))]
    pairs = _named(dict(zip(names, arguments, strict=True)))
    return Example(arguments, tuple(unique(["_".join(path) for path, _ in pairs])))


def named_outputs(output: Any, taken: Sequence[str] = ()) -> "dict[str, Tensor]":
    """Return the tensors of an output by names of their own.

    A tensor alone is "logits"; those in dicts, dataclasses and named tuples have the names of their keys and fields,
    those in lists and tuples their numbers, as in "aux" or "output_0" or "boxes_1".

    Args:
        output: of a model.
        taken: names that are used already, such as those of the inputs.

    Raises:
        ExportError: there is no tensor in it.
    """
    pairs = _named(output)
    if not pairs:
        raise ExportError(
            f"the model returns a {type(output).__name__}, in which there is no tensor: a file has tensors as outputs"
        )
    paths = [("output", *path) if path and path[0].isdigit() else path for path, _ in pairs]
    names = ["_".join(path) or OUTPUT for path in paths]
    names = unique([*taken, *names])[len(taken) :]
    return dict(zip(names, [tensor for _, tensor in pairs], strict=True))


def unique(names: Sequence[str]) -> list[str]:
    """Return names in which each occurs once, with "_2" and so on at the end of those that came before."""
    result: list[str] = []
    for name in (re.sub(r"[^\w.\[\]-]", "_", name) for name in names):
        number, free = 2, name
        while free in result:
            number, free = number + 1, f"{name}_{number}"
        result.append(free)
    return result


@contextmanager
def flat_forward(model: "nn.Module", example: Example) -> Iterator[Callable[[Any], "dict[str, Tensor]"]]:
    """Let a model take tensors and return a tuple of tensors for the block; yield what names its own outputs.

    It stays the same object of the same class, so that the names of its parameters and modules do too.

    Args:
        model: its forward is replaced on the object alone.
        example: whose tensors it takes.
    """
    own = model.forward

    def forward(*tensors: Any) -> Any:
        outputs = tuple(named_outputs(own(*example.filled(tensors))).values())
        return outputs if len(outputs) > 1 else outputs[0]

    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    identifiers = unique([re.sub(r"\W", "_", f"_{name}") for name in example.names])
    forward.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in identifiers])  # type: ignore[attr-defined]
    had = vars(model).get("forward")
    vars(model)["forward"] = forward
    try:
        yield lambda output: named_outputs(output, example.names)
    finally:
        if had is None:
            del vars(model)["forward"]
        else:
            vars(model)["forward"] = had


def has_free_batch(model: "nn.Module", example: Example, output: Any) -> bool:
    """Return whether a model takes twice the batch of an example, and returns twice as much.

    Args:
        model: on the CPU.
        example: what it takes.
        output: what it gives for that.
    """
    doubled = example.doubled()
    if doubled is None:
        return False
    try:
        twice = named_outputs(output_on(model, doubled.arguments)).values()
    except (ModelError, ExportError):  # it is made for one batch
        return False
    once = named_outputs(output).values()
    return len(once) == len(twice) and all(
        a.dim() > 0 and b.shape == (2 * len(a), *a.shape[1:]) for a, b in zip(once, twice, strict=True)
    )


def is_plain(example: Example, output: Any) -> bool:
    """Return whether a model takes one tensor and returns one: it is exported as it is."""
    from torch import Tensor

    return (
        len(example.arguments) == 1
        and isinstance(example.arguments[0], Tensor)
        and isinstance(output, Tensor)
    )


def _children(value: Any) -> list[tuple[str, Any]] | None:
    """Return what a container holds, by name; None for anything else."""
    if isinstance(value, Mapping):
        return [(str(key), item) for key, item in value.items()]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))
    if isinstance(value, (tuple, list)):
        return [(str(place), item) for place, item in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return [(item.name, getattr(value, item.name)) for item in fields(value)]
    return None


def _named(value: Any, path: tuple[str, ...] = ()) -> "list[tuple[tuple[str, ...], Tensor]]":
    """Return (path, tensor) for the tensors in nested containers."""
    from torch import Tensor

    if isinstance(value, Tensor):
        return [(path, value)]
    children = _children(value) or []
    return [pair for name, item in children for pair in _named(item, (*path, name))]


def _filled(value: Any, tensors: "Iterator[Tensor]") -> Any:
    """Return nested containers with other tensors in them."""
    from torch import Tensor

    if isinstance(value, Tensor):
        return next(tensors)
    children = _children(value)
    if children is None:
        return value
    items = [_filled(item, tensors) for _, item in children]
    if isinstance(value, Mapping):
        return type(value)(zip(value, items, strict=True))  # type: ignore[call-arg]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*items)
    if isinstance(value, (tuple, list)):
        return type(value)(items)
    return replace(value, **dict(zip([name for name, _ in children], items, strict=True)))
