"""Save a pruned network as one file, and load it where its class is known or where it is not.

A file holds the weights, the keep-plans that made the network, and, where the network can be written down as data, its
graph. The graph is loaded without the network's class; the plans are applied to a fresh instance of it.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from edgeprune.errors import ModelError, TraceError, WeightsError
from edgeprune.graph.classes import build_graph
from edgeprune.graph.symbolic import trace
from edgeprune.plan import Plan
from edgeprune.recording.recorder import tensors_of
from edgeprune.recording.untouched import untouched
from edgeprune.rewrite.compaction import compact
from edgeprune.rewrite.history import HISTORY, History, example_of, history_of
from edgeprune.serialize import describe_module, load_module, write_module
from edgeprune.tensorfile import read_tensor_file

PLANS = "edgeprune-plans"
TOLERANCE = 1e-4  # of the largest output; a graph of the same operations differs by rounding at most


def save(model: nn.Module, path: str | Path) -> Path:
    """Write a pruned network to ``path`` (.safetensors), aside and renamed.

    Where its forward can be traced, the file loads without its class; that it then gives the same outputs is checked
    before the file is written. Else it loads by ``load(path, into=MyNet())``.

    Raises:
        ModelError: the network was not pruned by edgeprune. EdgePruneError: the place cannot be written.
    """
    if isinstance(model, torch.fx.GraphModule):
        record, tensors = describe_module(model)
        return write_module(path, tensors, {"edgeprune": json.dumps(record)})
    history = history_of(model)
    if history is None:
        raise ModelError(
            f"{type(model).__name__} was not pruned by edgeprune: save what edgeprune.prune or .compact gave"
        )
    tensors = dict(model.state_dict())
    metadata = {PLANS: msgspec.json.encode(history).decode()}
    try:
        record, graph_tensors = _as_graph(model, history)
        tensors.update(graph_tensors)
        metadata["edgeprune"] = json.dumps(record)
    except (TraceError, ModelError) as error:
        metadata["edgeprune-no-graph"] = str(error)
    return write_module(path, tensors, metadata)


def _as_graph(model: nn.Module, history: History) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The network as data, proved on the spot to compute the same."""
    inputs = example_of(history, next(model.parameters(), torch.zeros(())))
    with untouched(model):
        traced = trace(model, inputs)
        record, tensors = describe_module(traced)
        with torch.no_grad():
            model.eval()
            wanted, result = tensors_of(model(*inputs)), tensors_of(traced.eval()(*inputs))
    same = len(wanted) == len(result) and all(_is_close(a, b) for a, b in zip(wanted, result, strict=True))
    if not same:
        raise ModelError("its traced graph gives other outputs than its own forward")
    return record, tensors


def _is_close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    a, b = a.double(), b.double()
    return bool(
        ((a - b).abs() <= TOLERANCE * max(1e-12, float(a.abs().max())) if a.numel() else a == b).all()
    )


def load(path: str | Path, allow: tuple[str, ...] = (), into: nn.Module | None = None) -> nn.Module:
    """Read a network that `save` wrote.

    Args:
        path: the file.
        allow: packages besides torch and torchvision whose layers the file's graph may name.
        into: a fresh instance of the network's class; it is pruned by the file's plans and given its weights.

    Raises:
        WeightsError: no such file, a damaged or foreign one. ModelError: it holds no graph, and ``into`` is not given.
        PlanError: ``into`` is of another network.
    """
    if into is None:
        _, metadata = read_tensor_file(Path(path))
        if "edgeprune" not in metadata and PLANS in metadata:
            why = metadata.get("edgeprune-no-graph", "its forward is not in it")
            raise ModelError(
                f"{path} holds a network that needs its class ({why}): load it with edgeprune.load(path, into=MyNet())"
            )
        return load_module(path, allow)
    tensors, metadata = read_tensor_file(Path(path))
    if PLANS not in metadata:
        raise WeightsError(
            f"{path} holds no keep-plans to prune a {type(into).__name__} by: load it without into="
        )
    try:
        history = msgspec.json.decode(metadata[PLANS], type=History)
    except msgspec.MsgspecError as error:
        raise WeightsError(f"{path} has damaged keep-plans ({error}): was it edited?") from error
    return _apply(history, tensors, into, path)


def _apply(history: History, tensors: dict[str, Tensor], into: nn.Module, path: str | Path) -> nn.Module:
    model = into
    for value in history.plans:
        graph = build_graph(model, example_of(history, next(into.parameters(), torch.zeros(()))))
        model = compact(graph, Plan.from_dict(graph, value)).model
    wanted = model.state_dict().keys()
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise WeightsError(
            f"{path} lacks {missing[0]!r} of a {type(into).__name__}: it is of another network"
        )
    try:
        model.load_state_dict({name: tensors[name] for name in wanted})
    except RuntimeError as error:
        last = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{path} does not fit a {type(into).__name__}: {last}") from error
    return model.eval()


__all__ = ["HISTORY", "load", "save"]
