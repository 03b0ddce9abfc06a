"""Files and folders from a stranger: nothing in them runs, and each is refused in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

import edgeprune
from edgeprune.errors import EdgePruneError

Record = dict[str, Any]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model as `edgeprune.save` writes it."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 4)).eval()
    pruned = edgeprune.prune(model, torch.zeros(1, 3, 8, 8), target="flops=0.6").model
    return edgeprune.save(pruned, tmp_path_factory.mktemp("saved") / "model.safetensors")


def edited(path: Path, out: Path, edit: Callable[[Record], None]) -> Path:
    """A copy of a saved model whose record was changed by hand."""
    with safe_open(str(path), "pt") as handle:
        record = json.loads(handle.metadata()["edgeprune"])
    edit(record)
    save_file(load_file(str(path)), str(out), {"edgeprune": json.dumps(record)})
    return out


def first(record: Record, op: str) -> Record:
    return next(node for node in record["nodes"] if node["op"] == op)


def call(target: str, *args: Any, op: str = "call_function", **kwargs: Any) -> Callable[[Record], None]:
    """Add a node that the output depends on."""

    def edit(record: Record) -> None:
        output = record["nodes"].pop()
        node = {"op": op, "name": "extra", "target": target, "args": list(args), "kwargs": kwargs}
        record["nodes"] += [node, {**output, "args": [{"$node": "extra"}]}]

    return edit


def change(op: str, **fields: Any) -> Callable[[Record], None]:
    """Replace fields of the first node of a kind."""
    return lambda record: first(record, op).update(fields)


def rename_node(name: str) -> Callable[[Record], None]:
    """Rename the input everywhere."""

    def edit(record: Record) -> None:
        old = first(record, "placeholder")["name"]
        text = json.dumps(record["nodes"]).replace(f'"$node": "{old}"', f'"$node": {json.dumps(name)}')
        record["nodes"] = json.loads(text)
        first(record, "placeholder")["name"] = name

    return edit


def layer_attribute(name: str, value: Any) -> Callable[[Record], None]:
    """Set an attribute of the first layer."""
    return lambda record: next(iter(record["layers"].values()))["attributes"].update({name: value})


def layer_class(name: str) -> Callable[[Record], None]:
    """Replace the class of the first layer."""
    return lambda record: next(iter(record["layers"].values())).update({"class": name})


def rename_layer(name: str) -> Callable[[Record], None]:
    """Rename the layer that the first call_module calls, everywhere."""

    def edit(record: Record) -> None:
        node = first(record, "call_module")
        old = node["target"]
        node["target"] = name
        record["layers"] = {name if path == old else path: kind for path, kind in record["layers"].items()}

    return edit


X = {"$node": "input_1"}
MARK = "__import__('pathlib').Path('ran').touch()"
HOSTILE_MODELS: dict[str, Callable[[Record], None]] = {
    "source in the name of an input": change("placeholder", target=f"x, y={MARK}"),
    "source in an input's default": change("placeholder", target=f"x={MARK}"),
    "source in a node's name": rename_node(f"a = {MARK}; b"),
    "a lambda for a node's name": rename_node(f"(lambda: {MARK})()"),
    "a node called self": rename_node("self"),
    "a node called torch": rename_node("torch"),
    "a line break in a node's name": rename_node(f"a\n    {MARK}\n    b"),
    "source in a method": call(f"abs() or {MARK} or x.abs", X, op="call_method"),
    "a method that calls what it is given": call("apply_", X, "print", op="call_method"),
    "a method that reads a file": call("set_", X, op="call_method"),
    "a method of a text": call("format", "{0.__class__}", X, op="call_method"),
    "a dunder for a method": call("__reduce__", X, op="call_method"),
    "source in a keyword": call("torch:relu", X, **{f"inplace={MARK}, y": False}),
    "a keyword that is reserved": call("torch:relu", X, **{"class": False}),
    "source in a layer's name": rename_layer(f'x"); {MARK}; ("'),
    "source in a layer's dotted name": rename_layer(f"x.y({MARK})"),
    "a layer called like the graph": rename_layer("graph"),
    "a layer called forward": rename_layer("forward"),
    "source in the name of the class": lambda record: record.update(name=f"A: {MARK}"),
    "source in a buffer's name": lambda record: record["tensors"].update(
        {f"b;{MARK}": next(iter(record["tensors"].values()))}
    ),
    "a program": call("os:system", "touch ran"),
    "a program by way of posix": call("posix:system", "touch ran"),
    "evaluation": call("builtins:eval", MARK),
    "unpickling": call("torch:load", "evil.pt"),
    "a file written by torch": call("torch:save", X, "ran"),
    "a file mapped by torch": call("torch:from_file", "ran", True, 4),
    "code from a hub": call("torch.hub:load", "evil/repo", "net"),
    "a library": call("torch:ops.load_library", "evil.so"),
    "a compiler": call("torch:compile", X),
    "a function that calls another": call("torch:vmap", X),
    "an operator that calls": call("operator:methodcaller", "numpy"),
    "an operator that reads attributes": call("operator:attrgetter", "__class__"),
    "an item set": call("operator:setitem", X, 0, 1),
    "a function of the graph library": call("torch.fx.graph_module:_exec_with_source", MARK, {}),
    "a function of torch.nn.functional's own imports": call("F:importlib", "os"),
    "a picture written by torchvision": call("torchvision.utils:save_image", X, "ran"),
    "a file of torchvision": call("torchvision.io:write_file", "ran", X),
    "the class of a tensor": call("builtins:getattr", X, "__class__"),
    "the globals of a method": call("builtins:getattr", X, "register_hook"),
    "an attribute by another name": call("builtins:getattr", X, {"$node": "input_1"}),
    "an attribute with a default": call("builtins:getattr", X, "shape", 0),
    "an attribute of a text": call("builtins:getattr", "x", "shape"),
    "torch.load as an argument": call("torch:where", X, {"$dtype": "torch.load"}),
    "torch.hub as a type": call("torch:relu", {"$layout": "torch.hub"}),
    "an unknown kind of argument": call("torch:relu", {"$code": MARK}),
    "a dict of two for an argument": call("torch:relu", {"a": 1, "b": 2}),
    "a text of escapes": call("torch:relu", "\x1b]0;owned\x07"),
    "a number without end": call("torch:mul", X, 1 << 80),
    "a node that comes later": call("torch:relu", {"$node": "nowhere"}),
    "a deep argument": call("torch:relu", json.loads("[" * 60 + "]" * 60)),
    "a second output": lambda record: record["nodes"].append(record["nodes"][-1]),
    "no output": lambda record: record["nodes"].pop(),
    "a layer of subprocess": layer_class("subprocess:Popen"),
    "a layer that is a function": layer_class("torch:load"),
    "a layer outside of the list": layer_class("torch.nn.parallel.data_parallel:DataParallel"),
    "a layer of torch.jit": layer_class("torch.jit._script:RecursiveScriptModule"),
    "a layer's forward": layer_attribute("forward", "x"),
    "a layer's call": layer_attribute("_call_impl", "x"),
    "a layer's hooks": layer_attribute("_forward_pre_hooks", {"$dict": [[0, "x"]]}),
    "a layer's modules": layer_attribute("_modules", {"$dict": []}),
    "a layer's class": layer_attribute("__class__", "x"),
    "source in a layer's attribute": layer_attribute(f"x;{MARK}", 1),
    "a tensor that is not there": lambda record: record["tensors"].update({"w": ["nowhere", "buffer"]}),
    "nodes that are no list": lambda record: record.update(nodes={"a": 1}),
    "an unknown operation": lambda record: record["nodes"][0].update(op="exec"),
}


@pytest.mark.parametrize("what", HOSTILE_MODELS)
def test_a_model_file_runs_nothing(
    what: str, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = edited(saved, tmp_path / "hostile.safetensors", HOSTILE_MODELS[what])
    for allow in ((), ("os", "torch", "builtins", "subprocess")):
        with pytest.raises(EdgePruneError) as refused:
            model = edgeprune.load(path, allow=allow)
            model(torch.zeros(1, 3, 8, 8))
        assert "\n" not in str(refused.value)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["hostile.safetensors"]


def test_the_same_file_unchanged_loads(saved: Path, tmp_path: Path) -> None:
    path = edited(saved, tmp_path / "same.safetensors", lambda _: None)
    x = torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(edgeprune.load(path)(x), edgeprune.load(saved)(x))
