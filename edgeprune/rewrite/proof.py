"""Prove a cut network: it computes what the masked original computes.

Labels prove where channels went; they are blind to a rule that is wrong. Numbers are not.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edgeprune.errors import PlanError
from edgeprune.graph.classes import Graph
from edgeprune.graph.flow import Flow
from edgeprune.graph.ops import spec_of
from edgeprune.graph.plan import Plan
from edgeprune.recording.contents import Replay
from edgeprune.recording.names import name_of
from edgeprune.recording.record import CALL, Record
from edgeprune.recording.taps import Taps, run_tapped
from edgeprune.recording.untouched import ModelState
from edgeprune.recording.values import tensors_of
from edgeprune.recording.walks import set_mode
from edgeprune.recording.watching import WatchMode, is_call
from edgeprune.rewrite.choices import replay_of
from edgeprune.rewrite.masking import masked_weights, masks, parts_of

REDUCED = 0.3  # of the sides of an image, where the numbers of two networks are compared
SMALLEST_REDUCED = 64  # pixels of a side; smaller images are quick as they are
LARGEST_SECOND = 512  # pixels: the second size that is tried is no larger
# Of the largest value of an output. Rounding in float32 stays far below, a channel in the wrong place far above.
TOLERANCE = {torch.float64: 1e-8, torch.float32: 5e-3, torch.bfloat16: 0.1, torch.float16: 0.05}


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
        pair = compared_on_small(original, model, state) or compared(original, model, result, state)
        _compare(*pair, type(graph.model).__name__)
    if rewritten:
        _prove_at_second_size(graph, plan, model)


@dataclass(frozen=True)
class MaskedOriginal:
    """The network with dropped channels at zero, in one mode: what a cut one must agree with.

    Attributes:
        graph: of the network.
        flow: the mode's.
        plan: what is dropped.
        rewritten: modules whose forward is another in the cut network.
    """

    graph: Graph
    flow: Flow
    plan: Plan
    rewritten: tuple[str, ...]

    @property
    def record(self) -> Record:
        """What was watched in that mode."""
        assert isinstance(self.flow.module, Record)
        return self.flow.module

    @cached_property
    def weights(self) -> dict[str, Tensor] | None:
        """Weights that come to the same as masks, where there are any."""
        return masked_weights(self.graph, self.flow, self.plan) if self.record.content_free else None

    def replaying(self) -> Taps:
        """Return taps for the cut network that put in what content decided when the original was watched."""
        return Taps(parts=parts_of(self.flow), replay=self._replay())

    def _replay(self) -> Replay:
        return replay_of(self.graph, self.flow, self.rewritten)

    def run(
        self, inputs: tuple[Any, ...], *, passing: "Passing | None" = None, calls: "Calls | None" = None
    ) -> list[Tensor]:
        """Return the tensors by which something was chosen, and the outputs.

        Args:
            inputs: the arguments of forward.
            passing: told what parts that are kept whole are given and give.
            calls: notes the calls, where there are `weights`.
        """
        model, training = self.graph.model, self.record.training
        if self.weights is not None:
            with _in_place_of(model, self.weights):
                return _run(model, inputs, training, Taps(), calls=calls)
        taps = masks(self.graph, self.flow, self.plan)
        taps.replay = self._replay()
        return _run(model, inputs, training, taps, passing)


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
    example = original.graph.inputs_of(record)
    inputs = tuple(_reduced(value) for value in example)
    if original.rewritten or all(a is b for a, b in zip(inputs, example, strict=True)):
        return None
    if original.weights is None:
        return None
    calls = None if record.size_free else Calls()
    try:
        masked = original.run(inputs, calls=calls)
        result = _run(model, inputs, record.training, Taps(), state=state)
    except Exception:  # the network does not take the size
        return None
    path = [node.meta[CALL].op for node in record.graph.nodes if CALL in node.meta]
    if calls is not None and calls.names != path:
        return None
    if not all(bool(torch.isfinite(t).all()) for t in masked):
        return None
    return masked, result


class Calls(TorchFunctionMode):
    """Notes which calls a network makes, by their names, as its record does."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        op = name_of(func)
        if is_call(func, op, args) and tensors_of((args, kwargs, result)):
            self.names.append(op)
        return result


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
        masked = _run(graph.model, inputs, False, masks(graph, flow, plan))
    except Exception:  # the network does not take it, or takes another path
        return
    try:
        result = _run(model, inputs, False, Taps())
        _compare(masked, result, type(graph.model).__name__)
    except Exception as error:
        raise OneSize("its code takes another path at another image size") from error


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
        result = _run(model, inputs, original.record.training, original.replaying(), state=state)
    if parts_of(original.flow) and not _are_close(masked, result):
        return _around_parts(original, model)
    return masked, result


@contextmanager
def _in_place_of(model: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """Let parameters have other numbers in the block, wherever they are used."""
    parameters = {name: model.get_parameter(name) for name in weights}
    originals = {name: parameter.data for name, parameter in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.data = weights[name]
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data = originals[name]


class Passing(WatchMode):
    """Notes what parts that are kept whole are given and give, or puts what was noted in place of what they give.

    Rounding may change what a part selects by content, and with it all that comes after.
    """

    def __init__(self, results: list[Any] | None = None) -> None:
        self.entering: list[Tensor] = []
        self.results: list[Any] = [] if results is None else results
        self._replays = results is not None

    def entered_part(self, _: str, args: Any, kwargs: Any) -> None:
        """Copy the tensors that enter a part, before it writes into them.

        Args:
            _: the part's name in the network.
            args: its positional arguments.
            kwargs: its keyword arguments.
        """
        self.entering += [t.detach().clone() for t in tensors_of((args, kwargs))]

    def left_part(self, _: str, result: Any) -> Any:
        """Note what it gives, or give what was noted."""
        if self._replays:
            return self.results.pop(0) if self.results else None
        self.results.append(result)
        return None


def _around_parts(original: MaskedOriginal, model: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Return the inputs of opaque parts, and the network's results when these parts return the same in both."""
    first = Passing()
    inputs = original.graph.inputs_of(original.record)
    masked = original.run(inputs, passing=first)
    second = Passing(list(first.results))
    result = _run(model, inputs, original.record.training, original.replaying(), second)
    return [*first.entering, *masked], [*second.entering, *result]


def _selects_by_content(flow: Flow) -> bool:
    """Tell whether rounding can change which results are selected: boxes that are kept, the best of many."""
    return any(spec_of(n).selects for n in flow.module.graph.nodes)


def _run(
    model: nn.Module,
    inputs: tuple[Any, ...],
    training: bool,
    taps: Taps,
    passing: Passing | None = None,
    calls: Calls | None = None,
    state: ModelState | None = None,
) -> list[Tensor]:
    """Return the tensors by which something was chosen, and the outputs."""
    state = state or ModelState(model)
    with state.kept(), torch.no_grad():
        set_mode(model, training, state.parts)
        if taps.ops or taps.replay.contents or passing is not None:
            output = run_tapped(model, inputs, taps, watchers=() if passing is None else (passing,))
        else:
            with calls or nullcontext():
                output = model(*inputs)
    return [*taps.replay.entering, *(t.detach() for t in tensors_of(output))]


def _compare(masked: list[Tensor], result: list[Tensor], name: str) -> None:
    if len(masked) != len(result):
        raise PlanError(
            f"{name} cannot be cut exactly: it gives {len(result)} outputs, the masked one {len(masked)}"
        )
    for number, (a, b) in enumerate(zip(masked, result, strict=True)):
        if not _is_close(a, b):
            raise PlanError(
                f"{name} cannot be cut exactly: output {number} differs from what the masked network gives; "
                "protect the layers of its last change with ignore=, and please report the network"
            )


def _are_close(masked: list[Tensor], result: list[Tensor]) -> bool:
    return len(masked) == len(result) and all(_is_close(a, b) for a, b in zip(masked, result, strict=True))


def _is_close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    if a.is_complex():
        return _is_close(torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj()))
    if not a.is_floating_point() or not a.numel():
        return True  # content-dependent integers (kept boxes) may differ by rounding of what they depend on
    finite = torch.isfinite(a)
    if not bool((torch.isfinite(b) == finite).all()):
        return False
    tolerance = TOLERANCE.get(a.dtype, 5e-3)
    a, b = a[finite].double(), b[finite].double()
    scale = float(a.abs().max()) if a.numel() else 0.0
    return bool(((a - b).abs() <= tolerance * max(scale, 1e-12)).all())
