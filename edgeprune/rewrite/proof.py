"""Prove a cut network: it computes what the masked original computes.

Labels prove where channels went; they are blind to a rule that is wrong. Numbers are not.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from edgeprune.errors import PlanError
from edgeprune.graph.classes import Graph
from edgeprune.graph.flow import Flow
from edgeprune.graph.ops import spec_of
from edgeprune.graph.plan import Plan
from edgeprune.recording.record import CALL, Record
from edgeprune.recording.taps import Taps
from edgeprune.recording.untouched import ModelState
from edgeprune.rewrite.closeness import ROUNDING, TOLERANCE, are_close, difference
from edgeprune.rewrite.masked_runs import Calls, MaskedOriginal, Passing, run_once
from edgeprune.rewrite.masking import masks, parts_of

REDUCED = 0.3  # of the sides of an image, where the numbers of two networks are compared
SMALLEST_REDUCED = 64  # pixels of a side; smaller images are quick as they are
LARGEST_SECOND = 512  # pixels: the second size that is tried is no larger


def prove(
    graph: Graph,
    plan: Plan,
    model: nn.Module,
    rewritten: tuple[str, ...],
    outputs: list[list[Tensor] | None] | None = None,
    state: ModelState | None = None,
) -> None:
    """Compare the cut ``model`` with the masked original, in each mode that draws no random numbers.

    Args:
        graph: of the original.
        plan: what was cut.
        model: the cut network.
        rewritten: its modules whose forward was written anew.
        outputs: what the cut model gave when it was watched, for each of the graph's flows; None where it is run.
        state: of the cut model, which is put back after each run; read anew where it is not given.

    Raises:
        PlanError: they differ: a rule of edgeprune's is wrong for this network.
        OneSize: a rewritten forward is not what the original is at another image size.
    """
    known: list[list[Tensor] | None] = [*outputs] if outputs is not None else [None for _ in graph.flows]
    for flow, result in zip(graph.flows, known, strict=True):
        record = flow.module
        assert isinstance(record, Record)
        stochastic = any(spec_of(n).random for n in record.graph.nodes)
        if record.training and stochastic:
            continue
        original = MaskedOriginal(graph, flow, plan, rewritten)
        pair, inputs = compared_on_small(original, model, state), _small(original)
        if pair is None:
            pair, inputs = compared(original, model, result, state), graph.inputs_of(record)
        _compare(original, model, inputs, *pair)
    if rewritten:
        _prove_at_second_size(graph, plan, model)


def compared_on_small(
    original: MaskedOriginal, model: nn.Module, state: ModelState | None = None
) -> tuple[list[Tensor], list[Tensor]] | None:
    """Return what both networks give for smaller images of random numbers; None where they take another path there.

    The labels were held against the calls at the example's size; a rule that is wrong shows at any, and large images
    take most of the time.

    Args:
        original: masked.
        model: the cut network.
        state: of the cut network, where it is known.
    """
    record = original.record
    example, inputs = original.graph.inputs_of(record), _small(original)
    if original.rewritten or all(a is b for a, b in zip(inputs, example, strict=True)):
        return None
    if original.weights is None:
        return None
    calls = None if record.size_free else Calls()
    try:
        masked = original.run(inputs, calls=calls)
        result = run_once(model, inputs, record.training, Taps(), state=state)
    except Exception:  # the network does not take the size
        return None
    path = [node.meta[CALL].op for node in record.graph.nodes if CALL in node.meta]
    if calls is not None and calls.names != path:
        return None
    if not all(bool(torch.isfinite(t).all()) for t in masked):
        return None
    return masked, result


def _small(original: MaskedOriginal) -> tuple[Any, ...]:
    """Return the example with smaller images, the same numbers in each call."""
    return tuple(_reduced(value) for value in original.graph.inputs_of(original.record))


def _reduced(value: Any) -> Any:
    """Replace a large image by a smaller one of random numbers; return anything else unchanged."""
    if not isinstance(value, Tensor) or value.dim() != 4 or min(value.shape[2:]) < SMALLEST_REDUCED:
        return value
    if not value.is_floating_point() or value.device.type != "cpu":
        return value
    sides = [32 * max(1, round(REDUCED * side / 32)) for side in value.shape[2:]]
    numbers = torch.randn(*value.shape[:2], *sides, generator=torch.Generator().manual_seed(0))
    image = numbers.to(value.dtype)
    channels_last = not value.is_contiguous() and value.is_contiguous(memory_format=torch.channels_last)
    return image.contiguous(memory_format=torch.channels_last) if channels_last else image


def _prove_at_second_size(graph: Graph, plan: Plan, model: nn.Module) -> None:
    """Prove a rewritten forward at another image size too, if the network accepts one."""
    flow = graph.flow
    inputs = tuple(enlarged(value) for value in graph.inputs)
    same = all(a is b for a, b in zip(inputs, graph.inputs, strict=True))
    if same or _selects_by_content(flow) or parts_of(flow) or any(spec_of(n).random for n in graph.nodes):
        return
    try:
        masked = run_once(graph.model, inputs, False, masks(graph, flow, plan))
    except Exception:  # the network does not take it, or takes another path
        return
    try:
        result = run_once(model, inputs, False, Taps())
    except Exception as error:
        raise OneSize("its code takes another path at another image size") from error
    if not are_close(masked, result):
        raise OneSize("its code takes another path at another image size")


class OneSize(Exception):
    """A rewritten forward holds at the example's image size alone."""


def enlarged(value: Any) -> Any:
    """Return an image of a second size with the first in its corner; anything else as it is."""
    if not isinstance(value, Tensor) or value.dim() != 4 or max(value.shape[2:]) > LARGEST_SECOND:
        return value
    sides = [side * 2 if side < 32 else side + 32 for side in value.shape[2:]]
    larger = torch.zeros(*value.shape[:2], *sides, dtype=value.dtype, device=value.device)
    larger[..., : value.shape[2], : value.shape[3]] = value
    return larger


def compared(
    original: MaskedOriginal,
    model: nn.Module,
    result: list[Tensor] | None = None,
    state: ModelState | None = None,
) -> tuple[list[Tensor], list[Tensor]]:
    """Return what the masked network and the cut one give in one mode.

    Where the network picks by content (boxes, the best of many) both pick what was picked when it was watched, and
    what they would have picked by is compared too.

    Args:
        original: masked.
        model: the cut network.
        result: what the cut network gave, if that is known.
        state: of the cut network, where it is known.
    """
    inputs = original.graph.inputs_of(original.record)
    masked = original.run(inputs)
    if result is None:
        result = run_once(model, inputs, original.record.training, original.replaying(), state=state)
    if parts_of(original.flow) and not are_close(masked, result):
        return _around_parts(original, model)
    return masked, result


def _around_parts(original: MaskedOriginal, model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the inputs of opaque parts, and the network's results when these parts return the same in both."""
    first = Passing()
    inputs = original.graph.inputs_of(original.record)
    masked = original.run(inputs, passing=first)
    second = Passing(list(first.results))
    result = run_once(model, inputs, original.record.training, original.replaying(), second)
    return [*first.entering, *masked], [*second.entering, *result]


def _selects_by_content(flow: Flow) -> bool:
    """Tell whether rounding can change which results are selected: boxes that are kept, the best of many."""
    return any(spec_of(n).selects for n in flow.module.graph.nodes)


def _compare(
    original: MaskedOriginal,
    model: nn.Module,
    inputs: tuple[Any, ...],
    masked: list[Tensor],
    result: list[Tensor],
) -> None:
    """Refuse a cut network whose outputs are others than the masked one's.

    Args:
        original: masked.
        model: the cut network.
        inputs: the arguments of forward that both were given.
        masked: what the first gives.
        result: what the second gives.

    Raises:
        PlanError: names the output that differs.
    """
    name = type(original.graph.model).__name__
    if len(masked) != len(result):
        raise PlanError(
            f"{name} cannot be cut exactly: it gives {len(result)} outputs, the masked one {len(masked)}"
        )
    number = difference(masked, result, TOLERANCE)
    if number is None and difference(masked, result, ROUNDING) is not None:
        exact = _in_double(original, model, inputs)
        number = None if exact is None else difference(*exact, TOLERANCE)
    if number is not None:
        raise PlanError(
            f"{name} cannot be cut exactly: output {number} differs from what the masked network gives; "
            "protect the layers of its last change with ignore=, and please report the network"
        )


def _in_double(
    original: MaskedOriginal, model: nn.Module, inputs: tuple[Any, ...]
) -> tuple[list[Tensor], list[Tensor]] | None:
    """Return what copies of both networks give in float64; None where they do not compute in it.

    Args:
        original: masked.
        model: the cut network.
        inputs: the arguments of forward.
    """
    inputs = tuple(v.double() if isinstance(v, Tensor) and v.is_floating_point() else v for v in inputs)
    try:
        masked = original.run(inputs, model=copy.deepcopy(original.graph.model).double())
        cut = copy.deepcopy(model).double()
        result = run_once(cut, inputs, original.record.training, original.replaying())
    except Exception:  # code that is written for float32 alone
        return None
    outputs = [t for t in (*masked, *result) if t.is_floating_point()]
    if len(masked) != len(result) or any(t.dtype != torch.float64 for t in outputs):
        return None
    return masked, result
