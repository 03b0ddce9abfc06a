"""Run the original with dropped channels at zero, and a cut network, under the same conditions."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from edgeprune.graph.classes import Graph
from edgeprune.graph.flow import Flow
from edgeprune.graph.plan import Plan
from edgeprune.recording.contents import Replay
from edgeprune.recording.names import name_of
from edgeprune.recording.record import Record
from edgeprune.recording.taps import Taps, run_tapped
from edgeprune.recording.untouched import ModelState
from edgeprune.recording.values import tensors_of
from edgeprune.recording.walks import set_mode
from edgeprune.recording.watching import WatchMode, is_call
from edgeprune.rewrite.choices import replay_of
from edgeprune.rewrite.masking import masked_weights, masks, parts_of


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
        self,
        inputs: tuple[Any, ...],
        *,
        model: nn.Module | None = None,
        passing: Passing | None = None,
        calls: Calls | None = None,
    ) -> list[Tensor]:
        """Return the tensors by which something was chosen, and the outputs.

        Args:
            inputs: the arguments of forward.
            model: a copy of the network, in other numbers; None for itself.
            passing: told what parts that are kept whole are given and give.
            calls: notes the calls, where there are `weights`.
        """
        model, training = model or self.graph.model, self.record.training
        if self.weights is not None:
            with in_place_of(model, self.weights):
                return run_once(model, inputs, training, Taps(), calls=calls)
        taps = masks(self.graph, self.flow, self.plan)
        taps.replay = self._replay()
        return run_once(model, inputs, training, taps, passing)


@contextmanager
def in_place_of(model: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
    """Let parameters have other numbers in the block, wherever they are used."""
    parameters = {name: model.get_parameter(name) for name in weights}
    originals = {name: parameter.data for name, parameter in parameters.items()}
    try:
        for name, parameter in parameters.items():
            parameter.data = weights[name].to(parameter.dtype)
        yield
    finally:
        for name, parameter in parameters.items():
            parameter.data = originals[name]


def run_once(
    model: nn.Module,
    inputs: tuple[Any, ...],
    training: bool,
    taps: Taps,
    passing: Passing | None = None,
    calls: Calls | None = None,
    state: ModelState | None = None,
) -> list[Tensor]:
    """Run a network once as it was; return the tensors by which something was chosen, and the outputs.

    Args:
        model: the original or the cut network.
        inputs: the arguments of forward.
        training: the mode.
        taps: what acts on its calls.
        passing: told what parts that are kept whole are given and give.
        calls: notes the calls, where nothing acts on them.
        state: of the network, where it is known.
    """
    state = state or ModelState(model)
    with state.kept(), torch.no_grad():
        set_mode(model, training, state.parts)
        if taps.ops or taps.replay.contents or passing is not None:
            output = run_tapped(model, inputs, taps, watchers=() if passing is None else (passing,))
        else:
            with calls or nullcontext():
                output = model(*inputs)
    return [*taps.replay.entering, *(t.detach() for t in tensors_of(output))]
