"""Watch a network run its own forward, and record every call; what cannot be watched stays opaque."""

import inspect
from collections.abc import Container
from dataclasses import replace
from typing import Any

import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.errors import TraceError
from edgeprune.recording.lines import at_line, first_line
from edgeprune.recording.modes import mode_reads
from edgeprune.recording.opaque import (
    Opaque,
    Parts,
    declared_parts,
    outer_part,
    scripted_parts,
)
from edgeprune.recording.record import Record
from edgeprune.recording.recorder import Recorder
from edgeprune.recording.untouched import ModelState, untouched
from edgeprune.recording.values import is_foreign, tensors_of
from edgeprune.recording.walks import set_mode
from edgeprune.recording.watching import ContentAsked, ModuleStack, run_watched

_UNSEEN = "it gives a tensor that was made where it cannot be seen"


class NotWatched(Exception):
    """A network cannot be watched for what happens in the module ``path``."""

    def __init__(self, parts: dict[str, Opaque], error: TraceError | None = None) -> None:
        super().__init__(", ".join(parts))
        self.parts, self.error = parts, error


def watch(
    model: nn.Module, inputs: tuple[Any, ...], *, training: bool = False, parts: Parts | None = None
) -> Record:
    """Run ``model`` on ``inputs`` and record its calls; nothing of the model or of random state is changed.

    A module that cannot be watched is kept whole, with the reason, or else the one around it.

    Args:
        model: the user's network, in any mode.
        inputs: the arguments of forward: tensors, or lists, tuples and dicts of them.
        training: record the training mode instead of evaluation.
        parts: modules that are kept whole anyhow.

    Raises:
        TraceError: the model does not run on ``inputs``, or only where it is not watched.
    """
    _check_arguments(model, inputs)
    known = {**scripted_parts(model), **declared_parts(model), **(parts or {})}
    while True:
        try:
            return _watched(model, inputs, known, training=training)
        except NotWatched as problem:
            if problem.error is not None and not _runs_alone(model, inputs, training=training):
                raise problem.error from problem.error.__cause__
            for path, part in problem.parts.items():
                _widen(model, known, path, part, problem.error)


def _watched(
    model: nn.Module,
    inputs: tuple[Any, ...],
    parts: dict[str, Opaque],
    *,
    training: bool,
    unseen: Container[tuple[str, int]] | None = None,
) -> Record:
    """Record one run; ``unseen`` are the tensors that depend on the input though no call made them, if known."""
    recorder = _recorded_quickly(model, inputs, parts, training=training) if unseen is None else None
    if recorder is None:
        recorder = _recorded(model, inputs, parts, training=training, unseen=unseen or ())
    if any(recorder.foreign):
        raise NotWatched(foreign_parts(recorder))
    if recorder.origins.strangers and unseen is None:
        depending = _depending(model, inputs, parts, recorder.origins.strangers, training=training)
        within = {path: Opaque(_UNSEEN) for path, _ in depending if path}
        if within:
            raise NotWatched(within)
        if depending:
            return _watched(model, inputs, parts, training=training, unseen=depending)
    return Record(
        model,
        recorder.tape.finish(),
        training,
        recorder.origins.constants,
        recorder.visits.visits,
        dict(parts),
        recorder.reads_mode,
        recorder.quick,
        not recorder.asked_size,
    )


def _recorded_quickly(
    model: nn.Module, inputs: tuple[Any, ...], parts: Parts, *, training: bool
) -> Recorder | None:
    """Record without computing what costs most.

    None where the network asks for what is in its tensors, or anything is out of the ordinary.
    """
    if parts:
        return None
    try:
        recorder = _recorded(model, inputs, parts, training=training, quick=True)
    except (ContentAsked, NotWatched, TraceError):
        return None
    plain = not (recorder.asked_content or recorder.foreign or recorder.origins.strangers)
    return recorder if plain else None


def _recorded(
    model: nn.Module,
    inputs: tuple[Any, ...],
    parts: Parts,
    *,
    training: bool,
    unseen: Container[tuple[str, int]] = (),
    quick: bool = False,
) -> Recorder:
    stack = ModuleStack(model, parts)
    recorder = Recorder(model, stack, quick=quick)
    recorder.origins.unseen = unseen
    for number, tensor in enumerate(tensors_of(inputs)):
        recorder.tape.input(tensor, f"input_{number}")
    state = ModelState(model)
    with state.kept(), torch.no_grad():
        set_mode(model, training, state.parts)
        try:
            with mode_reads(state.parts) as reads:
                output = run_watched(model, inputs, recorder)
        except TraceError as error:
            cause = error.__cause__
            if cause is None:
                raise
            if any(recorder.foreign):
                raise NotWatched(foreign_parts(recorder)) from error
            path = stack.failed[1] if stack.failed is not None and stack.failed[0] is cause else ""
            reason = f"it cannot be watched ({type(cause).__name__}: {first_line(cause)})"
            raise NotWatched({path: Opaque(reason, unwatched=True)}, error) from error
        recorder.tape.output(output)
    recorder.reads_mode = reads.differs
    return recorder


def foreign_parts(recorder: Recorder) -> dict[str, Opaque]:
    """Give the modules that compute with what cannot be followed; the network's own code is none."""
    return {path: Opaque(reason) for path, reason in recorder.foreign.items() if path}


def _depending(
    model: nn.Module,
    inputs: tuple[Any, ...],
    parts: Parts,
    strangers: dict[tuple[str, int], Tensor],
    *,
    training: bool,
) -> set[tuple[str, int]]:
    """Return the tensors of unknown origin that change with the input."""
    try:
        others = _recorded(model, _disturbed(inputs), parts, training=training).origins.strangers
    except (NotWatched, TraceError):
        return set()
    return {
        key
        for key, tensor in strangers.items()
        if key in others and others[key] is not tensor and not _are_equal(tensor, others[key])
    }


def _disturbed(value: Any) -> Any:
    """Return the inputs with other numbers in place of all floating-point ones."""
    generator = torch.Generator().manual_seed(0)

    def other(tensor: Tensor) -> Tensor:
        if not tensor.is_floating_point() or is_foreign(tensor):
            return tensor
        return tensor + torch.rand(tensor.shape, generator=generator).to(tensor)

    return fx.node.map_aggregate(value, lambda item: other(item) if isinstance(item, Tensor) else item)


def _are_equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())


def _runs_alone(model: nn.Module, inputs: tuple[Any, ...], *, training: bool) -> bool:
    """Tell whether the network runs where nobody watches."""
    with untouched(model), torch.no_grad():
        set_mode(model, training)
        try:
            model(*inputs)
        except Exception:
            return False
    return True


def _widen(
    model: nn.Module, parts: dict[str, Opaque], path: str, part: Opaque, error: TraceError | None
) -> None:
    """Keep a module whole that could not be watched; the one around where that did not help."""
    around = outer_part(path, parts)
    if around is not None and part.unwatched and not parts[around].unwatched:
        parts[around] = replace(parts[around], unwatched=True)
        return
    while path and outer_part(path, parts) is not None:
        path = path.rpartition(".")[0]
    if not path:
        cause = error.__cause__ if error is not None else None
        place = "" if cause is None else at_line(cause)
        raise TraceError(
            f"{type(model).__name__} runs, but as a whole {part.reason}{place}: put that code into a module of "
            "its own, which is then kept whole"
        ) from error
    parts[path] = part


def _check_arguments(model: nn.Module, inputs: tuple[Any, ...]) -> None:
    """Raise a TraceError that says what to do where forward cannot take the example."""
    parameters, signature = [], None
    try:
        signature = inspect.signature(model.forward)
        signature.bind(*inputs)
    except ValueError:  # a builtin without a signature
        pass
    except TypeError as error:
        for parameter in signature.parameters.values() if signature else ():
            if parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                parameters.append(parameter.name)
        raise TraceError(
            f"{type(model).__name__}.forward takes {len(parameters)} input(s) ({', '.join(parameters)}) but the "
            f"example has {len(inputs)}; give a tuple with one tensor for each"
        ) from error
    if not tensors_of(inputs):
        kinds = ", ".join(type(value).__name__ for value in inputs) or "nothing"
        raise TraceError(
            f"the example input ({kinds}) holds no tensor: "
            "give a torch tensor, or a tuple with one for each argument of forward"
        )
