"""Save a pruned network as one file, and load it with or without its class.

A file holds the weights, the keep-plans by which the network was pruned, and its graph, if the network can be
represented as data. The graph is loaded without the network's class; the plans are applied to a fresh instance of it.
"""

import json
import logging
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from edgeprune.errors import EdgePruneError, ModelError, TraceError, WeightsError, one_line
from edgeprune.files.tensors import read_tensor_file
from edgeprune.options.checks import short
from edgeprune.recording.untouched import untouched
from edgeprune.recording.values import tensors_of
from edgeprune.records.saved import SCHEMA, SavedPlans, read_saved
from edgeprune.rewrite.history import HISTORY, History, example_of, has_hooks, history_of
from edgeprune.rewrite.proof import enlarged
from edgeprune.rewrite.symbolic import trace
from edgeprune.saving.graph_record import parse_graph_record
from edgeprune.saving.graphs import describe_module, load_module, packages_of, rebuilt, write_module
from edgeprune.saving.restoring import restore, tensor_table

logger = logging.getLogger(__name__)

GRAPH, PLANS = "edgeprune", "edgeprune-plans"
NO_GRAPH, NO_TRAINING = "edgeprune-no-graph", "edgeprune-no-training"
HOOKS = "edgeprune-hooks"
# Of the largest output; a graph of the same operations differs by rounding at most.
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.01}


def save(model: nn.Module, path: str | Path) -> Path:
    """Write a pruned network to ``path`` (.safetensors) under a temporary name and rename it into place.

    If its forward can be traced, the file loads without its class; before the file is written, the loaded network's
    outputs are compared with the original's. Otherwise it loads by ``load(path, into=MyNet())``.

    Raises:
        ModelError: the network was not pruned by edgeprune.
        EdgePruneError: the file cannot be written.
    """
    model = _unwrapped(model)
    history = history_of(model)
    if history is None and isinstance(model, torch.fx.GraphModule):
        record, tensors = describe_module(model)
        return write_module(path, tensors, {GRAPH: json.dumps(record)})
    if history is None:
        raise ModelError(
            f"{type(model).__name__} was not pruned by edgeprune: save what edgeprune.prune or .compact gave"
        )
    table = tensor_table(model)
    tensors = {entry.stored: tensor for entry, tensor in table.values()}
    entries = {name: entry for name, (entry, _) in table.items()}
    shapes = {name: [*shape] for name, shape in history.shapes.items()}
    saved = SavedPlans(SCHEMA, type(model).__name__, shapes, history.steps, entries)
    metadata = {PLANS: msgspec.json.encode(saved).decode()}
    if hooked := _hooked(model):
        metadata[HOOKS] = json.dumps(hooked)
    try:
        graph_texts, graph_tensors = _as_graph(model, history, tensors)
        tensors.update(graph_tensors)
        metadata.update(graph_texts)
    except (TraceError, ModelError) as error:
        metadata[NO_GRAPH] = one_line(error)
        _check_plans(model, history, metadata[PLANS], Path(path))
    return write_module(path, tensors, metadata)


def _hooked(model: nn.Module) -> list[str]:
    """Return the names of modules with forward hooks of the user's, which are code that no file holds."""
    return [name for name, module in model.named_modules() if has_hooks(module)]


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the network inside the wrappers of torch.compile and data parallelism."""
    wrappers = (nn.DataParallel, nn.parallel.DistributedDataParallel)
    while isinstance(model, wrappers) or isinstance(getattr(model, "_orig_mod", None), nn.Module):
        model = model.module if isinstance(model, wrappers) else model._orig_mod  # type: ignore[assignment]
    return model


def _check_plans(model: nn.Module, history: History, text: str, path: Path) -> None:
    """Raise ModelError if the file could not be loaded with the network's class either."""
    try:
        read_saved(text, path)
        _examples(history, model)
    except (WeightsError, ModelError) as error:
        raise ModelError(f"cannot save this {type(model).__name__}: {one_line(error)}") from error


# --- as a graph --------------------------------------------------------------------------------------


def _as_graph(
    model: nn.Module, history: History, own: dict[str, Tensor]
) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return the network as data, texts and tensors, after a check that the loaded network computes the same.

    Raises:
        TraceError: it cannot be traced.
        ModelError: it cannot be represented as data, or its graph computes something else.
    """
    if history.closed:
        raise ModelError(f"{history.closed[0]} is kept whole, and its code is no data")
    examples = _examples(history, model)
    with untouched(model):
        traced = trace(model, examples[0])
        record, tensors = describe_module(traced)
    for name, tensor in tensors.items():
        if name in own and not _is_same(own[name], tensor):
            raise ModelError(f"it has two tensors of the name {name}")
    text = json.dumps(record)
    loaded = _read_back(text, tensors)
    for inputs in examples:
        if not _agree(model, loaded, inputs, training=False):
            raise ModelError("its traced graph gives other outputs than its own forward")
    trains = any(_agree(model, loaded, inputs, training=True) for inputs in examples)
    return {GRAPH: text} | ({} if trains else {NO_TRAINING: "yes"}), tensors


def _examples(history: History, model: nn.Module) -> list[tuple[Any, ...]]:
    """Return the example, the example with twice its batch, and with another image size."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(()))
    inputs = example_of(history.steps[-1], like)
    more = [tuple(_doubled(value) for value in inputs), tuple(enlarged(value) for value in inputs)]
    return [inputs, *(other for other in more if any(a is not b for a, b in zip(inputs, other, strict=True)))]


def _doubled(value: Any) -> Any:
    return torch.cat([value, value.flip(-1)]) if isinstance(value, Tensor) and value.dim() > 1 else value


def _is_same(a: Tensor, b: Tensor) -> bool:
    return a is b or (a.shape == b.shape and a.dtype == b.dtype and bool(torch.equal(a, b)))


def _read_back(text: str, tensors: dict[str, Tensor]) -> nn.Module:
    """Build the network as `load` would, with copies of the tensors."""
    copies = {name: tensor.detach().clone() for name, tensor in tensors.items()}
    record = parse_graph_record(text, {*copies}, "this model")
    try:
        return rebuilt(record, copies, packages_of(record), "this model")
    except EdgePruneError as error:
        raise ModelError(f"cannot save this model: {one_line(error)}") from error


def _agree(model: nn.Module, loaded: nn.Module, inputs: tuple[Any, ...], *, training: bool) -> bool:
    """Return whether both give the same outputs, or the network itself does not accept such inputs."""
    try:
        expected = _outputs(model, inputs, training)
    except Exception:  # of another batch or size, or in training
        return not training
    try:
        outputs = _outputs(loaded, inputs, training)
    except Exception:  # a graph with constant sizes may raise anything
        return False
    return len(expected) == len(outputs) and all(
        _is_close(a, b) for a, b in zip(expected, outputs, strict=True)
    )


def _outputs(model: nn.Module, inputs: tuple[Any, ...], training: bool) -> list[Tensor]:
    with untouched(model), torch.no_grad():
        torch.manual_seed(0)
        model.train(training)
        return tensors_of(model(*inputs))


def _is_close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    tolerance = TOLERANCE.get(a.dtype, 0.0)
    same = (a == b) | ((a != a) & (b != b))
    if tolerance == 0.0 or bool(same.all()):
        return bool(same.all())
    a, b = a[~same].double(), b[~same].double()
    scale = float(a.abs().max())
    return bool(((a - b).abs() <= tolerance * max(1e-12, scale)).all())


# --- loading -----------------------------------------------------------------------------------------


def load(path: str | Path, allow: tuple[str, ...] = (), into: nn.Module | None = None) -> nn.Module:
    """Load a network that `save` wrote.

    Args:
        path: the file.
        allow: packages besides torch and torchvision whose layers the file's graph may name.
        into: a fresh instance of the network's class; it is pruned by the file's plans and receives its weights.

    Raises:
        WeightsError: there is no such file, or it is damaged or of another origin.
        ModelError: it has no graph, and ``into`` is not given.
        PlanError: ``into`` is another network.
    """
    path = Path(path)
    tensors, metadata = read_tensor_file(path)
    if into is not None:
        return _load_into(path, tensors, metadata, into)
    if GRAPH not in metadata and PLANS in metadata:
        why = one_line(short(metadata.get(NO_GRAPH, "its forward is not in it")))
        raise ModelError(
            f"{path} holds a network that needs its class ({why}): load it with edgeprune.load(path, into=MyNet())"
        )
    if NO_TRAINING in metadata:
        logger.warning(
            "%s: in training mode this network does more than its graph: to train it, load it with into=MyNet()",
            path,
        )
    return load_module(path, tensors, metadata, allow)


def _warn_of_hooks(text: str, into: nn.Module, path: Path) -> None:
    """Warn where the network that was saved had forward hooks that a fresh one lacks: its outputs may differ."""
    try:
        names = json.loads(text)
    except ValueError:
        return
    own = _hooked(into)
    lacking = [str(name) for name in names if name not in own] if isinstance(names, list) else []
    if lacking:
        where = ", ".join(short(name) or "the network itself" for name in lacking[:3])
        logger.warning(
            "%s: the network that was saved had forward hooks (%s%s), which are not in the file: register them on this "
            "%s, or it may compute something else", path, one_line(where), ", ..." if lacking[3:] else "",
            type(into).__name__,
        )  # fmt: skip


def _load_into(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], into: nn.Module
) -> nn.Module:
    if PLANS not in metadata:
        raise WeightsError(
            f"{path} holds no keep-plans to prune a {type(into).__name__} by: load it without into="
        )
    saved = read_saved(metadata[PLANS], path)
    _warn_of_hooks(metadata.get(HOOKS, "[]"), into, path)
    known = {entry.stored for entry in saved.tensors.values()}
    if GRAPH in metadata:
        record = parse_graph_record(metadata[GRAPH], {*tensors}, path)
        known |= {stored for stored, _ in record.tensors.values()}
    foreign = sorted(tensors.keys() - known)
    if foreign:
        raise WeightsError(f"{path} has {ascii(short(foreign[0]))}, which belongs to nothing: was it edited?")
    return restore(saved, tensors, into, path)


__all__ = ["HISTORY", "load", "save"]
