"""Save a traced model as one safetensors file, and load it without its class.

The file's metadata holds the graph as JSON: operations by name, layers by class name and plain
attributes. Nothing in it is code: only listed functions and layers of torch and torchvision (see
`edgeprune.saving.allowed`) are looked up, unless the user allows other packages by name.
"""

import importlib
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
import torch.fx as fx
from torch import Tensor, nn

from edgeprune.errors import ModelError, WeightsError
from edgeprune.files.tensors import check_savable, save_tensors
from edgeprune.saving.allowed import SPACES, is_own, pure_function, pure_layers
from edgeprune.saving.graph_record import (
    FORMAT,
    SCHEMA,
    GraphRecord,
    LayerRecord,
    check_record,
    parse_graph_record,
)
from edgeprune.saving.recurrent import DERIVED, revive

_MODULE_STATE = frozenset(nn.Module().__dict__) - {"training"}
# Errors that arise if parts of a file do not fit each other.
_MISFITS = (
    AttributeError, IndexError, KeyError, MemoryError, OverflowError, RecursionError, RuntimeError,
    SyntaxError, TypeError, ValueError,
)  # fmt: skip
_CONSTANTS = (torch.dtype, torch.memory_format, torch.layout)
_PRIVATE = {
    "_parameters",
    "_buffers",
    "_modules",
    "_non_persistent_buffers_set",
    "training",
    "_is_full_backward_hook",
}


def describe_module(module: fx.GraphModule) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return ``module`` as data: its graph and layers, and the tensors they use.

    Raises:
        ModelError: a part of it cannot be represented as data.
    """
    record = {
        "format": FORMAT,
        "schema": SCHEMA,
        "name": type(module).__name__,
        "training": module.training,
        "nodes": [_node(node) for node in module.graph.nodes],
        "layers": _layers(module),
        "tensors": _tensor_table(module),
    }
    state = _first_tensors(module)
    _check_loadable(record, set(state))
    for name, tensor in state.items():
        check_savable(name, tensor)
    return record, state


def write_module(path: str | Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> Path:
    """Write a safetensors file under a temporary name and rename it into place.

    Args:
        path: of the file.
        tensors: by name.
        metadata: texts beside them.

    Raises:
        WeightsError: a tensor is of a type that such a file cannot hold.
        StorageError: the file cannot be written.
    """
    path = Path(path)
    save_tensors(path, tensors, metadata, layouts=True)
    return path


def _check_loadable(record: dict[str, Any], stored: set[str]) -> None:
    """Raise ModelError if `load_module` would refuse the record: better now than when the model is lost."""
    try:
        checked = msgspec.convert(record, GraphRecord)
        check_record(checked, stored)
        targets = [node.target for node in checked.nodes if node.op == "call_function"]
        for target in targets:
            space, _, name = target.partition(":")
            if is_own(space) and pure_function(space, name) is None:
                raise ModelError(f"{target} is not among the operations that a file may name")
        for layer in checked.layers.values():
            if is_own(layer.kind.split(":")[0]) and layer.kind not in pure_layers():
                raise ModelError(f"{layer.kind} is not among the layers that a file may name")
    except (ModelError, msgspec.ValidationError) as error:
        raise ModelError(f"cannot save this model: {error}") from error


def load_module(
    path: Path, tensors: dict[str, Tensor], metadata: dict[str, str], allow: tuple[str, ...] = ()
) -> fx.GraphModule:
    """Build the model from the graph in a file.

    Args:
        path: the file, for messages.
        tensors: its tensors.
        metadata: its texts.
        allow: packages besides torch and torchvision whose layers and functions may be imported.

    Raises:
        WeightsError: the file is truncated or of another origin.
        ModelError: the graph is invalid, or needs a package that is not allowed.
    """
    if "edgeprune" not in metadata:
        raise WeightsError(f"{path} holds weights, but no model that edgeprune.save wrote")
    return rebuilt(parse_graph_record(metadata["edgeprune"], set(tensors), path), tensors, allow, path)


def rebuilt(
    record: GraphRecord, tensors: dict[str, Tensor], allow: tuple[str, ...], where: Any
) -> fx.GraphModule:
    """Build a model from a checked record and its tensors.

    Args:
        record: the graph and the layers.
        tensors: by their names in the file.
        allow: packages besides torch and torchvision whose layers and functions may be imported.
        where: the file, for messages.

    Raises:
        ModelError: its parts do not fit each other, or it needs a package that is not allowed.
    """
    try:
        return _rebuild(record, tensors, allow)
    except _MISFITS as error:
        why = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{where} does not hold together ({type(error).__name__}: {why}): was it edited?"
        ) from error


def packages_of(record: GraphRecord) -> tuple[str, ...]:
    """Return the packages of the functions and layers that a record names."""
    names = [node.target for node in record.nodes if node.op == "call_function"]
    names += [layer.kind for layer in record.layers.values()]
    return tuple(sorted({name.split(":")[0].split(".")[0] for name in names}))


def _rebuild(record: GraphRecord, tensors: dict[str, Tensor], allowed: tuple[str, ...]) -> fx.GraphModule:
    root = nn.Module()
    shared: dict[str, Any] = {}
    for path, layer in record.layers.items():
        _place(root, path, _layer(layer, allowed))
    for name, (first, kind) in record.tensors.items():
        if first not in shared:
            value = tensors[first]
            shared[first] = nn.Parameter(value, kind == "parameter") if kind != "buffer" else value
        _put_tensor(root, name, shared[first], kind)
    for path, part in root.named_modules():
        if isinstance(part, nn.RNNBase):
            revive(part, path)
    graph = fx.Graph()
    nodes: dict[str, fx.Node] = {}
    for entry in record.nodes:
        target = _function(entry.target, allowed) if entry.op == "call_function" else entry.target
        args = tuple(_decode(value, nodes) for value in entry.args)
        kwargs = {name: _decode(value, nodes) for name, value in entry.kwargs.items()}
        nodes[entry.name] = graph.create_node(entry.op, target, args, kwargs, entry.name)
    module = fx.GraphModule(root, graph, class_name=record.name).train(record.training)
    for path, part in module.named_modules():
        flag = record.layers[path].training if path in record.layers else None
        part.training = part.training if flag is None else flag
    return module


# --- nodes -------------------------------------------------------------------------------------------


def _node(node: fx.Node) -> dict[str, Any]:
    target = _function_name(node.target) if node.op == "call_function" else str(node.target)
    return {
        "op": node.op,
        "name": node.name,
        "target": target,
        "args": [_encode(a, node) for a in node.args],
        "kwargs": {k: _encode(v, node) for k, v in node.kwargs.items()},
    }


def _function_name(function: Any) -> str:
    if function is getattr:
        return "builtins:getattr"
    own = getattr(function, "__name__", "")
    for space, members in SPACES.items():
        if getattr(members, own, None) is function:
            return f"{space}:{own}"
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", "")
    if module and "<" not in name:
        return f"{module}:{name}"
    raise ModelError(f"cannot save this model: {function!r} has no name to find it by")


def _function(target: str, allowed: tuple[str, ...]) -> Callable[..., Any]:
    """Return the function of that name if it only computes; torch.load and its like are refused."""
    space, _, name = target.partition(":")
    function = pure_function(space, name) if is_own(space) else _lookup(space, name, allowed)
    if function is None:
        raise ModelError(
            f"this file calls {target}, which is no tensor operation: it was not written by edgeprune"
        )
    return function


def _lookup(module: str, qualname: str, allowed: tuple[str, ...]) -> Any:
    """Return a function or class that an allowed package defines itself rather than imports."""
    package = module.split(".")[0]
    if package not in allowed:
        raise ModelError(
            f"this model needs {module}.{qualname}, and only torch and torchvision are looked up: "
            f"load it with allow=({package!r},) if you trust the file"
        )
    try:
        value: Any = importlib.import_module(module)
        for part in qualname.split("."):
            value = vars(value)[part]
    except (ImportError, KeyError, TypeError) as error:
        raise ModelError(f"this model needs {module}.{qualname}, which is not here ({error})") from error
    if (getattr(value, "__module__", None) or "").split(".")[0] != package or not callable(value):
        raise ModelError(f"{module}.{qualname} is not of {package} itself, which alone is allowed")
    return value


def _encode(value: Any, node: fx.Node) -> Any:
    """Encode an argument as JSON; anything but plain values becomes a dict with one key that starts with '$'."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, fx.Node):
        return {"$node": value.name}
    if isinstance(value, (tuple, list)):
        items = [_encode(item, node) for item in value]
        return {"$tuple": items} if isinstance(value, tuple) else items
    if isinstance(value, dict):
        return {"$dict": [[_encode(k, node), _encode(v, node)] for k, v in value.items()]}
    if isinstance(value, slice):
        return {"$slice": [_encode(part, node) for part in (value.start, value.stop, value.step)]}
    if value is Ellipsis:
        return {"$ellipsis": True}
    for kind in (*_CONSTANTS, torch.device):
        if isinstance(value, kind):
            return {f"${kind.__name__}": str(value)}
    raise ModelError(f"cannot save this model: {node.name} has an argument of type {type(value).__name__}")


def _decode(value: Any, nodes: dict[str, fx.Node]) -> Any:
    decode = lambda item: _decode(item, nodes)  # noqa: E731
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    ((key, inside),) = value.items()
    simple: dict[str, Callable[[], Any]] = {
        "$node": lambda: nodes[inside],
        "$tuple": lambda: tuple(decode(item) for item in inside),
        "$dict": lambda: {decode(k): decode(v) for k, v in inside},
        "$slice": lambda: slice(*[decode(item) for item in inside]),
        "$ellipsis": lambda: Ellipsis,
        "$float": lambda: float(inside),
        "$device": lambda: torch.device(inside),
    }
    if key in simple:
        return simple[key]()
    constant = getattr(torch, inside.removeprefix("torch."), None)
    if not isinstance(constant, _CONSTANTS) or key != f"${type(constant).__name__}":
        raise ValueError(f"{key} {inside}")
    return constant


# --- layers and tensors ------------------------------------------------------------------------------


def _layers(module: fx.GraphModule) -> dict[str, Any]:
    """Return the records of all submodules by path, parents first; containers become plain modules."""
    leaves = {str(node.target) for node in module.graph.nodes if node.op == "call_module"}
    records = {}
    for path, layer in module.named_modules(remove_duplicate=False):
        if path and _is_within(path, leaves):
            records[path] = _layer_record(path, layer)
        elif path:
            records[path] = {"class": "torch.nn.modules.module:Module", "attributes": {}, "empty": {}}
        if path and layer.training != module.training:  # a frozen BatchNorm in a training network
            records[path]["training"] = layer.training
    return records


def _is_within(path: str, leaves: set[str]) -> bool:
    """Return whether a submodule is a leaf of the graph or a part of one."""
    parts = path.split(".")
    return any(".".join(parts[: end + 1]) in leaves for end in range(len(parts)))


def _layer_record(path: str, layer: nn.Module) -> dict[str, Any]:
    attributes = {}
    for name, value in layer.__dict__.items():
        if name in _PRIVATE or "hook" in name or (name in DERIVED and isinstance(layer, nn.RNNBase)):
            continue
        try:
            attributes[name] = _encode(
                value, fx.Node(fx.Graph(), path.replace(".", "_"), "placeholder", "x", (), {})
            )
        except ModelError as error:
            if not name.startswith("_"):
                raise ModelError(f"cannot save layer {path}: its {name} is no plain value") from error
    kind = type(layer)
    empty = {
        "parameters": [name for name, value in layer._parameters.items() if value is None],
        "buffers": [name for name, value in layer._buffers.items() if value is None],
    }
    return {"class": f"{kind.__module__}:{kind.__qualname__}", "attributes": attributes, "empty": empty}


def _layer(record: LayerRecord, allowed: tuple[str, ...]) -> nn.Module:
    layer_class = _layer_class(record.kind, allowed)
    layer = layer_class.__new__(layer_class)
    nn.Module.__init__(layer)
    for name, value in record.attributes.items():
        own = getattr(layer_class, name, None)
        taken = name in _MODULE_STATE or name in DERIVED and issubclass(layer_class, nn.RNNBase)
        if taken or "hook" in name or callable(own) or isinstance(own, property):
            raise ModelError(f"this file replaces {name} of {record.kind}: it was not written by edgeprune")
        layer.__dict__[name] = _decode(value, {})
    for name in record.empty.get("parameters", ()):
        layer.register_parameter(name, None)
    for name in record.empty.get("buffers", ()):
        layer.register_buffer(name, None)
    return layer


def _layer_class(name: str, allowed: tuple[str, ...]) -> type[nn.Module]:
    where, _, qualname = name.partition(":")
    layer_class = pure_layers().get(name) if is_own(where) else _lookup(where, qualname, allowed)
    if not (isinstance(layer_class, type) and issubclass(layer_class, nn.Module)):
        raise ModelError(f"{name} is not a layer that a file may name")
    return layer_class


def _place(root: nn.Module, path: str, layer: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    if not parent and hasattr(fx.GraphModule, leaf):
        raise KeyError(f"{leaf!r} is no name for a layer")
    root.get_submodule(parent).add_module(leaf, layer)


def _named(module: nn.Module) -> list[tuple[str, Tensor, str]]:
    named = [
        (n, p, "parameter" if p.requires_grad else "frozen")
        for n, p in module.named_parameters(remove_duplicate=False)
    ]
    return named + [(n, b, "buffer") for n, b in module.named_buffers(remove_duplicate=False)]


def _first_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return each distinct tensor once, under its first name."""
    first: dict[int, str] = {}
    for name, tensor, _ in _named(module):
        first.setdefault(id(tensor), name)
    return {name: tensor for name, tensor, _ in _named(module) if first[id(tensor)] == name}


def _tensor_table(module: nn.Module) -> dict[str, tuple[str, str]]:
    """Return for each name: (its name in the file, parameter | frozen | buffer)."""
    first = {id(tensor): name for name, tensor in _first_tensors(module).items()}
    return {name: (first[id(tensor)], kind) for name, tensor, kind in _named(module)}


def _put_tensor(root: nn.Module, name: str, value: Any, kind: str) -> None:
    path, _, leaf = name.rpartition(".")
    if not path and hasattr(fx.GraphModule, leaf):
        raise KeyError(f"{leaf!r} is no name for a tensor")
    owner = root.get_submodule(path)
    if kind == "buffer":
        owner.register_buffer(leaf, value)
    else:
        owner.register_parameter(leaf, value)
