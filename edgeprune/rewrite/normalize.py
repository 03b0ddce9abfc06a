"""Put a freshly traced graph into the form the channel labels rely on.

Assertions about sizes go, in-place operations name their result, stochastic layers keep drawing when the
result is trained, and layers that hold a literal size become calls whose size can be rewritten.
"""

import inspect
from typing import Any

import torch.fx as fx
import torch.nn.functional as F
from torch import nn

from edgeprune.graph.labels import tensors_in
from edgeprune.graph.ops import assign, source_of, spec_of
from edgeprune.recording.record import VALUE, WRITES
from edgeprune.rewrite.constants import out_of_place

_ASSERTIONS = {"_assert", "_assert_is_none", "assert_is_none"}
_WRITING_OPERATORS = {"iadd", "isub", "imul", "itruediv", "ifloordiv", "ipow", "imod", "iand", "ior", "ixor"}

# Functions whose `training` flag is baked in by tracing, and the module that keeps it alive.
_DROPOUT: dict[Any, type[nn.Module]] = {
    F.dropout: nn.Dropout,
    F.dropout1d: nn.Dropout1d,
    F.dropout2d: nn.Dropout2d,
    F.dropout3d: nn.Dropout3d,
    F.alpha_dropout: nn.AlphaDropout,
    F.feature_alpha_dropout: nn.FeatureAlphaDropout,
}


def normalize(module: fx.GraphModule, *, revive: bool = True) -> bool:
    """Apply every pass to ``module``'s graph; gives whether anything changed.

    With ``revive`` functions whose `training` flag tracing fixed become layers, which have one of their own.
    """
    before = [(node, node.args) for node in module.graph.nodes]
    drop_assertions(module.graph)
    for node in list(module.graph.nodes):
        if node.op == "call_function" and node.target in _DROPOUT or _name(node) == "stochastic_depth":
            if revive:
                _revive(module, node)
        elif node.op == "call_module" and isinstance(module.get_submodule(node.target), nn.Unflatten):
            _as_method(module, node)
    name_writes(module)
    drop_unused(module.graph, layers=revive)
    return before != [(node, node.args) for node in module.graph.nodes]


def _name(node: fx.Node) -> str:
    return getattr(node.target, "__name__", "") if node.op == "call_function" else ""


def drop_assertions(graph: fx.Graph) -> None:
    """They held for the example; the pruned model may have other sizes."""
    for node in list(graph.nodes):
        if _name(node) in _ASSERTIONS:
            graph.erase_node(node)


def drop_unused(graph: fx.Graph, *, layers: bool = True) -> None:
    """Remove what nothing uses, but for writes that are seen elsewhere; without ``layers``, calls of modules stay."""
    kept = ("output", "placeholder") if layers else ("output", "placeholder", "call_module")
    for node in reversed(list(graph.nodes)):
        if node.op not in kept and not node.users and WRITES not in node.meta:
            graph.erase_node(node)


# --- layers ------------------------------------------------------------------------------------------


def _revive(module: fx.GraphModule, node: fx.Node) -> None:
    """Turn `F.dropout(x, p, training=False)` back into a Dropout module: the result trains as before."""
    replacement = _stochastic_module(node)
    if replacement is None:
        return
    name = f"{node.name}_module"
    module.add_submodule(name, replacement.train(module.training))
    with module.graph.inserting_before(node):
        call = module.graph.call_module(name, (source_of(node),))
    _replace(node, call)


def _replace(node: fx.Node, call: fx.Node) -> None:
    call.meta[VALUE] = node.meta[VALUE]
    node.replace_all_uses_with(call)
    node.graph.erase_node(node)


def _stochastic_module(node: fx.Node) -> nn.Module | None:
    if node.target in _DROPOUT:
        arguments = _arguments(node)
        return None if arguments.get("training", True) else _DROPOUT[node.target](p=arguments.get("p", 0.5))
    from torchvision.ops import StochasticDepth

    named = dict(zip(("input", "p", "mode", "training"), node.args, strict=False)) | dict(node.kwargs)
    return StochasticDepth(named["p"], named["mode"])


def _arguments(node: fx.Node) -> dict[str, Any]:
    return dict(zip(("input", "p", "training", "inplace"), node.args, strict=False)) | dict(node.kwargs)


def _as_method(module: fx.GraphModule, node: fx.Node) -> None:
    layer: Any = module.get_submodule(str(node.target))
    with module.graph.inserting_before(node):
        call = module.graph.call_method(
            "unflatten", (source_of(node), layer.dim, tuple(layer.unflattened_size))
        )
    _replace(node, call)


# --- in-place operations -----------------------------------------------------------------------------


def name_writes(module: fx.GraphModule) -> None:
    """After `y.add_(z)`, let later readers of y read the result by its own name.

    Where other views of the same memory are in use later, the writing node keeps them in
    ``meta[WRITES]``: their channels must stay where they are. Where nothing else sees the memory, `y += z` is a sum.
    """
    order = {node: place for place, node in enumerate(module.graph.nodes)}
    layers = dict(module.named_modules(remove_duplicate=False))
    roots: dict[fx.Node, fx.Node] = {}
    families: dict[fx.Node, list[fx.Node]] = {}
    for node in module.graph.nodes:
        source = source_of(node)
        is_view = isinstance(source, fx.Node) and source.op != "get_attr" and _is_view(layers, node)
        roots[node] = roots[source] if is_view else node
        families.setdefault(roots[node], []).append(node)
        written = _written(layers, node)
        if written is None:
            continue
        families[roots[node]].remove(node)
        roots[node] = roots[written]
        families[roots[node]].append(node)
        place = order[node]
        late = {
            n for n in families[roots[written]] if n not in (written, node) and _used_after(n, place, order)
        }
        if late:
            node.meta[WRITES] = [*late, written, roots[written]]
        elif roots[written].op not in ("placeholder", "get_attr") and _name(node) in _WRITING_OPERATORS:
            node.target = out_of_place(node.target)
        for user in [u for u in written.users if order[u] > place]:
            user.replace_input_with(written, node)


def _used_after(node: fx.Node, place: int, order: dict[fx.Node, int]) -> bool:
    return any(order[user] > place for user in node.users)


def _is_view(layers: dict[str, nn.Module], node: fx.Node) -> bool:
    """Tell whether the result may share memory with the first argument."""
    if node.op == "call_module":
        kinds = (nn.Flatten, nn.Identity, nn.modules.dropout._DropoutNd)
        return isinstance(layers[str(node.target)], kinds)
    return spec_of(node).views and bool(tensors_in(node.meta.get(VALUE)))


def _writes(node: fx.Node) -> bool:
    """Tell whether a function or method changes its first argument."""
    if node.op == "call_method":
        return str(node.target).endswith("_") and not str(node.target).endswith("__")
    name = _name(node)
    return (
        name in _WRITING_OPERATORS
        or node.target is assign
        or (name.endswith("_") and not name.startswith("_"))
        or _asked_in_place(node)
    )


def _asked_in_place(node: fx.Node) -> bool:
    """Tell whether a call is told to work in place, as in F.relu(x, inplace=True)."""
    if node.op != "call_function" or not inspect.isfunction(node.target):
        return False
    parameters = list(inspect.signature(node.target).parameters)
    if "inplace" not in parameters:
        return False
    place = parameters.index("inplace")
    return bool(node.args[place] if len(node.args) > place else node.kwargs.get("inplace", False))


def _written(layers: dict[str, nn.Module], node: fx.Node) -> fx.Node | None:
    """Return the tensor that ``node`` changes in place."""
    if node.op == "call_module":
        writes = bool(getattr(layers[str(node.target)], "inplace", False))
    else:
        writes = node.op in ("call_function", "call_method") and _writes(node)
    source = source_of(node)
    return source if writes and isinstance(source, fx.Node) else None
