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


# --- folders -----------------------------------------------------------------------------------------

EVIL = "from pathlib import Path\nPath({mark!r}).touch()\ndef make(**args): Path({mark!r}).touch()\n"


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """The file that hostile code would leave."""
    return tmp_path / "ran"


PLAN = {"schema": 1, "fingerprint": "f", "groups": []}


def hostile_run(folder: Path, factory: str, mark: Path, **options: Any) -> Path:
    """A run folder that names a factory, with a module of its own, as if it were finished."""
    from dataclasses import asdict

    from edgeprune.train_prune.options import TrainPruneOptions

    folder.mkdir(parents=True)
    (folder / "evil_nets.py").write_text(EVIL.format(mark=str(mark)))
    fields = {
        "model": {"factory": factory, "args": {"num_classes": 3, "in_channels": 3}},
        "data_spec": {
            "data": "digits", "root": None, "image_size": None, "val_fraction": 0.1, "seed": 0,
            "native_size": None, "fingerprint": "f",
        },
        "input_shape": [3, 8, 8], "classes": ["a", "b", "c"], "mean": [0, 0, 0], "std": [1, 1, 1],
    }  # fmt: skip
    options = {**asdict(TrainPruneOptions(model=factory)), **options}
    (folder / "config.json").write_text(json.dumps({"schema": 1, "options": options, **fields}))
    (folder / "model.json").write_text(json.dumps({"schema": 1, **fields, "plans": [PLAN], "steps": [0]}))
    for name in ("baseline", "settled", "pruned"):
        save_file({"w": torch.zeros(1)}, str(folder / f"{name}.safetensors"))
    return folder


def refused(*words: str) -> str:
    """Run a command that must end with one line of error."""
    from click.testing import CliRunner

    from edgeprune.cli import main

    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == 1, result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    lines = result.stderr.strip().splitlines()
    assert [line for line in lines if line.startswith("error: ")] == lines[-1:], result.stderr
    assert "\x1b" not in result.output
    return lines[-1]


FACTORIES = {
    "a program": ("os:system", "--trust os"),
    "a module in the folder": ("evil_nets:make", "--trust evil_nets"),
    "a module of the standard library": ("subprocess:Popen", "--trust subprocess"),
    "the library itself": ("edgeprune.files.writing:write_bytes", "--trust edgeprune"),
    "an import of the zoo": ("edgeprune.models.factory:importlib.import_module", "--trust edgeprune"),
    "an import of torchvision": ("torchvision.models.resnet:torch.load", "--trust torchvision"),
    "a file of torchvision": ("torchvision.io:write_file", "--trust torchvision"),
    "a dataset of torchvision": ("torchvision.datasets:CIFAR10", "--trust torchvision"),
    "a hub": ("torch.hub:load", "--trust torch"),
    "no identifier": ("os;evil:system", "not of the form"),
    "a dunder of a registered name": ("torchvision:__class__", "unknown torchvision model"),
    "an attribute of a registered name": ("torchvision:resnet.torch.load", "unknown torchvision model"),
    "a path": ("../evil_nets:make", "not of the form"),
    "an empty module": (":make", "not of the form"),
}
COMMANDS: dict[str, Callable[[str], list[str]]] = {
    "inspect": lambda run: ["inspect", run],
    "export": lambda run: ["export", run],
    "lut build": lambda run: ["lut", "build", "--model", run, "--out", f"{run}/lut.json"],
    "resume": lambda run: ["train-prune", "--out", run, "--resume"],
    "compare": lambda run: ["compare", run, "--methods", "l1", "--out", f"{run}-compared"],
    "search": lambda run: ["search", run, "--out", f"{run}-searched"],
}


@pytest.mark.parametrize("what", FACTORIES)
def test_a_run_folder_imports_nothing(
    what: str, tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factory, message = FACTORIES[what]
    run = hostile_run(tmp_path / "run", factory, mark)
    monkeypatch.chdir(run)  # where a module of the folder would be found
    for which in ("baseline", "pruned"):
        with pytest.raises(EdgePruneError, match=message):
            edgeprune.load(run, which)
    assert message in refused("inspect", str(run))
    assert not mark.exists()


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("factory", ["os:system", "evil_nets:make"])
def test_no_command_imports_what_a_run_folder_names(
    command: str, factory: str, tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = hostile_run(tmp_path / "run", factory, mark)
    monkeypatch.chdir(run)
    monkeypatch.setattr("edgeprune.runs.run.Run.data", lambda self: None)  # what is asked of it comes later
    assert "--trust" in refused(*COMMANDS[command](str(run)))
    assert not mark.exists()


@pytest.mark.parametrize("inside", ["the run folder", "its data"])
def test_a_trusted_package_is_not_taken_from_the_folder_itself(
    inside: str, tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "evil_nets.py").write_text(EVIL.format(mark=str(mark)))
    run = hostile_run(tmp_path / "run", "evil_nets:make", mark, data=str(data))
    monkeypatch.chdir(run if inside == "the run folder" else data)
    assert "brings no code along" in refused("inspect", str(run), "--trust", "evil_nets")
    with pytest.raises(EdgePruneError, match="brings no code along"):
        edgeprune.load(run, "baseline", allow=("evil_nets",))
    assert not mark.exists()


def test_a_package_that_is_named_is_imported(
    tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_nets.py").write_text(
        "from torch import nn\n"
        "def make(num_classes): return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())\n"
    )
    run = hostile_run(tmp_path / "run", "own_nets:make", mark)
    monkeypatch.chdir(tmp_path)
    from click.testing import CliRunner

    from edgeprune.cli import main

    result = CliRunner().invoke(main, ["inspect", str(run), "--trust", "own_nets"])
    assert result.exit_code == 0, result.output
    assert "--trust own_nets" in refused("inspect", str(run))  # for that one command alone


def test_a_stored_host_is_asked_for_again(tmp_path: Path, mark: Path) -> None:
    host = {
        "name": "board", "python": None, "folder": None, "ssh_options": [f"ProxyCommand=touch {mark}"],
    }  # fmt: skip
    run = hostile_run(tmp_path / "run", "resnet8", mark, host=host, target_device="cpu")
    for words in (
        ["train-prune", "--out", str(run), "--resume"],
        ["compare", str(run), "--methods", "l1", "--out", str(tmp_path / "compared")],
        ["search", str(run), "--out", str(tmp_path / "searched")],
    ):
        error = refused(*words)
        assert "--host board" in error and "ProxyCommand" in error
    assert not mark.exists()


def test_another_host_than_the_stored_one_is_refused(tmp_path: Path, mark: Path) -> None:
    host = {"name": "board", "python": None, "folder": None, "ssh_options": [f"ProxyCommand=touch {mark}"]}
    run = hostile_run(tmp_path / "run", "resnet8", mark, host=host, target_device="cpu")
    assert "was started for board, reached with other options: type every --host" in refused(
        "train-prune", "--out", str(run), "--resume", "--host", "board"
    )
    assert not mark.exists()


# --- other files -------------------------------------------------------------------------------------


class Runs:
    """What pickle would call when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_a_pickle_of_weights_is_not_run(tmp_path: Path, mark: Path) -> None:
    from edgeprune.models import load_weights

    for content in (Runs(mark), {"weight": Runs(mark)}):
        torch.save(content, tmp_path / "weights.pt")
        with pytest.raises(EdgePruneError, match="pickle"):
            load_weights(nn.Linear(2, 2), tmp_path / "weights.pt")
    assert not mark.exists()


@pytest.mark.parametrize(
    "name",
    ["metrics.jsonl", "steer.jsonl", "export", "bench", "tensorboard", "summary.json", "bench/cpu.json"],
)
def test_links_that_lead_out_of_a_run_folder(name: str, tmp_path: Path, mark: Path) -> None:
    """What is appended, cut or replaced would be a file of the reader's own."""
    run = hostile_run(tmp_path / "run", "resnet8", mark)
    own = tmp_path / "own"
    own.write_text("mine\n") if "." in name else own.mkdir()
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).symlink_to(own)
    assert "outside of" in refused("inspect", str(run))
    assert "outside of" in refused("train-prune", "--out", str(run), "--resume")
    assert own.is_dir() or own.read_text() == "mine\n"


def test_links_within_a_run_folder_and_to_it_are_fine(tmp_path: Path, mark: Path) -> None:
    from edgeprune.runs.run import Run

    run = hostile_run(tmp_path / "run", "resnet8", mark)
    (run / "latest.safetensors").symlink_to(run / "pruned.safetensors")
    (tmp_path / "link").symlink_to(run)
    assert Run.open(tmp_path / "link").config["schema"] == 1


def test_an_onnx_file_that_reads_other_files(tmp_path: Path, mark: Path) -> None:
    import onnx
    from bench.remote_fixtures import record_onnx
    from onnx import TensorProto, helper

    from edgeprune.bench.files import exported_files

    run = hostile_run(tmp_path / "run", "resnet8", mark)
    (run / "export").mkdir()
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [1.0])
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="../../secret")
    value = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["w"], ["y"])], "g", [], [value], [weight])
    for name in ("baseline", "pruned"):
        onnx.save(helper.make_model(graph), run / "export" / f"{name}.onnx")
    record_onnx(run / "export")
    with pytest.raises(EdgePruneError, match="keeps weights in other files"):
        exported_files(run)


def test_a_record_that_names_files_elsewhere(tmp_path: Path, mark: Path) -> None:
    """A hash of a file elsewhere would say what it holds, and one of a device would never end."""
    run = hostile_run(tmp_path / "run", "resnet8", mark)
    (run / "summary.json").write_text(json.dumps({"schema": 1}))
    (run / "export").mkdir()
    parity = {"top1_agreement": 1.0, "max_rel_diff": 0.0, "max_abs_diff": 0.0}
    model = {"file": "baseline.onnx", "sha256": "0" * 64, "size_bytes": 1, "params": 1, "parity": parity}
    models = {"baseline": model, "pruned": {**model, "file": "../../../../../../../../dev/zero"}}
    from edgeprune.runs import verification
    from edgeprune.runs.run import Run

    (run / "export" / "export.json").write_text(json.dumps({"schema": 1, "models": models}))
    message = verification._export(Run.open(run))
    assert (
        isinstance(message, str)
        and "export.json: `models.pruned.file` must be text matching regex" in message
    )
    artifacts = [
        {**of_model, "backend": "onnx", "precision": "fp32", "model": name, "skipped_because": None}
        for name, of_model in models.items()
    ]
    (run / "export" / "export.json").write_text(json.dumps({"schema": 2, "artifacts": artifacts}))
    message = verification._export(Run.open(run))
    assert (
        isinstance(message, str) and "export.json: `artifacts[1].file` must be text matching regex" in message
    )


@pytest.mark.parametrize(
    "url", ["redis://evil:6379/0", "postgresql://evil/db", "sqlite:////tmp/x.db", "journal:/x"]
)
def test_a_stored_storage_is_asked_for_again(
    url: str, tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeprune.studies import opening

    folder = tmp_path / "search"
    hostile_run(folder / "baseline", "resnet8", mark)
    stored = {"schema": 1, "source": "resnet8", "training": {"model": "resnet8"}, "storage": url}
    (folder / "search.json").write_text(json.dumps(stored))
    opened: list[str] = []
    monkeypatch.setattr(opening, "open_storage", opened.append)
    assert "give --storage again" in refused("search", "--out", str(folder), "--resume")
    assert not opened


@pytest.mark.parametrize("kind", ["search", "compare"])
def test_a_folder_of_many_runs_names_a_factory_or_a_host(kind: str, tmp_path: Path, mark: Path) -> None:
    host = {"name": "board", "python": None, "folder": None, "ssh_options": [f"ProxyCommand=touch {mark}"]}
    for number, (training, message) in enumerate(
        [({"model": "os:system"}, "--trust os"), ({"model": "resnet8", "host": host}, "--host board")]
    ):
        folder = tmp_path / f"{kind}{number}"
        hostile_run(folder / "baseline", training["model"], mark)
        stored: dict[str, Any] = {"schema": 1, "source": "resnet8", "training": training}
        more = {"storage": None} if kind == "search" else {"methods": ["l1"], "moments": [], "seeds": 1}
        (folder / f"{kind}.json").write_text(json.dumps(stored | more))
        assert message in refused(kind, "--out", str(folder), "--resume")
    assert not mark.exists()


@pytest.mark.parametrize(
    "host", ["-oProxyCommand=touch ran", "board -oProxyCommand=x", "adb:-s", "adb:x y", ""]
)
def test_a_host_is_no_option(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused("devices", "--detect", f"--host={host}")
    assert not list(tmp_path.iterdir())
