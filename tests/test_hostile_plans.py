"""Files of keep-plans from a stranger: each is refused in one line, runs nothing, and leaves the instance as it was."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import edgeprune
from edgeprune.errors import EdgePruneError
from edgeprune.graph.classes import build_graph
from edgeprune.graph.plan import Plan
from edgeprune.records import saved as schema
from edgeprune.rewrite.compaction import compact

Record = dict[str, Any]
PLANS = "edgeprune-plans"
MARK = "__import__('pathlib').Path('ran').touch()"


class Net(nn.Module):
    """Two convolutions, a hook and a property: a file of it needs its class."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.norm = nn.BatchNorm2d(8)
        self.last = nn.Conv2d(8, 4, 3)
        self.calls: list[int] = []
        self.norm.register_forward_hook(lambda module, args, out: out.sigmoid())

    @property
    def width(self) -> int:
        """Of the first layer."""
        return self.first.out_channels

    @width.setter
    def width(self, value: int) -> None:
        Path("ran").touch()

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.norm(self.first(x))).mean((2, 3))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a network that was pruned twice."""
    torch.manual_seed(0)
    x = torch.zeros(1, 3, 8, 8)
    once = edgeprune.prune(Net(), x, target="flops=0.8").model
    twice = edgeprune.prune(once, x, target="flops=0.8").model
    return edgeprune.save(twice, tmp_path_factory.mktemp("saved") / "net.safetensors")


def texts_of(path: Path) -> dict[str, str]:
    with safe_open(str(path), "pt") as handle:
        return {key: text for key, text in handle.metadata().items() if key != "sha256"}


def rewritten(path: Path, out: Path, edit: Callable[[Record, dict[str, Tensor]], Any]) -> Path:
    """A copy of a file whose plans and tensors were changed by hand; ``edit`` may return the text of the plans."""
    texts, tensors = texts_of(path), load_file(str(path))
    record = json.loads(texts[PLANS])
    text = edit(record, tensors)
    texts[PLANS] = text if isinstance(text, str) else json.dumps(record)
    save_file(tensors, str(out), texts)
    return out


def state_of(model: nn.Module) -> list[Any]:
    """What must not change: all attributes by identity, and values."""
    attributes = [
        (path, name, id(value), dict(value) if isinstance(value, dict) else value)
        for path, module in model.named_modules()
        for name, value in vars(module).items()
        if name not in ("_parameters", "_buffers")
    ]
    return [*attributes, *((name, id(t), t.tolist()) for name, t in model.state_dict(keep_vars=True).items())]


def assert_refused(path: Path, message: str = "") -> None:
    net = Net()
    before = state_of(net)
    with pytest.raises(EdgePruneError) as refused:
        edgeprune.load(path, into=net)
    text = str(refused.value)
    assert "\n" not in text and text.isprintable() and len(text) < 600, text
    assert message in text
    assert state_of(net) == before
    assert not (path.parent / "ran").exists()


Edit = Callable[[Record, dict[str, Tensor]], Any]


def put(*path: Any, value: Any) -> Edit:
    """Set one value of the record."""

    def edit(record: Any, tensors: dict[str, Tensor]) -> None:
        for key in path[:-1]:
            record = record[key]
        record[path[-1]] = value

    return edit


def drop(*path: Any) -> Edit:
    """Delete one value of the record."""

    def edit(record: Any, tensors: dict[str, Tensor]) -> None:
        for key in path[:-1]:
            record = record[key]
        del record[path[-1]]

    return edit


def kept(*indices: Any) -> Edit:
    """Other channels of the first group stay."""
    return put("steps", 0, "plan", "groups", 0, "kept", value=list(indices))


def group(**fields: Any) -> Edit:
    """Other fields of the first group."""
    return lambda record, tensors: record["steps"][0]["plan"]["groups"][0].update(fields)


def edit_to(value: Any) -> Edit:
    """Another example."""
    return put("steps", 0, "inputs", value=[value])


def tensor(*shape: Any, dtype: Any = "float32") -> Record:
    return {"kind": "tensor", "shape": list(shape), "dtype": dtype}


def rename(old: str, new: str) -> Edit:
    """Call a tensor by another name, wherever a file speaks of it."""

    def edit(record: Record, tensors: dict[str, Tensor]) -> None:
        tensors[new] = tensors.pop(old)
        record["shapes"][new] = record["shapes"].pop(old)
        record["tensors"].pop(old)
        record["tensors"][new] = {"stored": new, "kind": "parameter"}

    return edit


def raw(text: str) -> Edit:
    """Something else in place of the plans."""
    return lambda record, tensors: text


def written_twice(record: Record, tensors: dict[str, Tensor]) -> str:
    return json.dumps(record).replace('"bypass": false', '"bypass": false, "bypass": true', 1)


def number(text: str) -> Edit:
    """A number as JSON's writer would not write it."""
    return lambda record, tensors: json.dumps(record).replace('"kept": [', f'"kept": [{text}, ', 1)


def tensors_become(change: Callable[[dict[str, Tensor]], Any]) -> Edit:
    """Other tensors than the record speaks of."""

    def edit(record: Record, tensors: dict[str, Tensor]) -> None:
        change(tensors)

    return edit


def again(record: Record, tensors: dict[str, Tensor]) -> None:
    record["steps"].append(record["steps"][-1])


def reversed_steps(record: Record, tensors: dict[str, Tensor]) -> None:
    record["steps"].reverse()


def tied(record: Record, tensors: dict[str, Tensor]) -> None:
    record["tensors"]["norm.bias"]["stored"] = "norm.weight"
    del tensors["norm.bias"]


HOSTILE: dict[str, tuple[Edit, str]] = {
    # channels
    "a channel beyond the group": (kept(0, 8), "must be rising numbers below 8"),
    "a negative channel": (kept(-1, 2), ">= 0"),
    "a channel twice": (kept(1, 1), "must be rising numbers"),
    "channels out of order": (kept(2, 1), "must be rising numbers"),
    "a huge channel": (kept(10**9), "<= 10000000"),
    "a channel of more than 64 bits": (kept(10**30), "no JSON"),
    "a whole float for a channel": (kept(1.0), "must be int"),
    "a float for a channel": (kept(1.5), "must be int"),
    "a truth for a channel": (kept(True), "must be int"),
    "a text for a channel": (kept("1"), "must be int"),
    "nothing for a channel": (kept(None), "must be int"),
    "a list for a channel": (kept([1]), "must be int"),
    "NaN for a channel": (number("NaN"), "no JSON"),
    "infinity for a channel": (number("-Infinity"), "no JSON"),
    "a number that overflows": (number("1e999"), "no JSON"),
    "no channels at all": (kept(), "plan 1 cannot be carried out"),
    "all channels, where fewer are stored": (kept(*range(8)), "plan 2 was made for another network"),
    "other channels, as many": (kept(0, 1, 2, 3, 4, 5, 6), ""),
    "an object for the channels": (group(kept={"0": 1}), "must be list"),
    # groups
    "an unknown layer": (group(name="nowhere"), "plan 1 was made for another network"),
    "a dunder for a layer": (group(name="__class__.__init__"), "plan 1 was made for another network"),
    "a layer called forward": (group(name="forward"), "plan 1 was made for another network"),
    "source in a layer's name": (group(name=f"first; {MARK}"), "plan 1 was made for another network"),
    "an escape in a layer's name": (group(name="x\x1b]0;owned\x07\nerror"), "plan 1 was made for another network"),
    "an endless name": (group(name="x" * 5000), ""),
    "a number for a layer's name": (group(name=3), "must be text"),
    "a group of another size": (group(size=9), "plan 1 was made for another network"),
    "a group of no size": (group(size=0), ">= 1"),
    "a group of a huge size": (group(size=10**12), "<= 10000000"),
    "a truth for a size": (group(size=True), "must be int"),
    "an attribute in a group": (group(out_channels=3), "unknown key 'out_channels'"),
    "a group missing": (drop("steps", 0, "plan", "groups", 0), "plan 1 was made for another network"),
    "a group twice": (
        lambda r, t: r["steps"][0]["plan"]["groups"].append(r["steps"][0]["plan"]["groups"][0]),
        "plan 1 was made for another network",
    ),
    "groups that are no list": (put("steps", 0, "plan", "groups", value={"first": [1]}), "must be list"),
    # plans
    "another fingerprint": (put("steps", 0, "plan", "fingerprint", value="0" * 16), "plan 1 was made for another"),
    "no fingerprint": (drop("steps", 0, "plan", "fingerprint"), "`steps[0].plan.fingerprint` is missing"),
    "a fingerprint that is none": (put("steps", 0, "plan", "fingerprint", value="../x"), "matching regex"),
    "a text for a truth": (put("steps", 0, "plan", "bypass", value="yes"), "must be bool"),
    "attributes to set": (put("steps", 0, "plan", "attributes", value={"first.out_channels": 3}), "unknown key"),
    "a forward to set": (put("steps", 0, "plan", "forward", value=f"def forward(self, x): {MARK}"), "unknown key"),
    "code beside the plans": (put("code", value=MARK), "unknown key 'code'"),
    "a class to call": (put("class", value="os:system"), "unknown key 'class'"),
    "no plans": (put("steps", value=[]), "length >= 1"),
    "plans that are no list": (put("steps", value={"0": {}}), "must be list"),
    "the same plan again": (again, "plan 3 was made for another network"),
    "plans in another order": (reversed_steps, "plan 1 was made for another network"),
    "a thousand plans": (lambda r, t: r["steps"].extend([r["steps"][0]] * 1_000), "length <= 1000"),
    "one plan less": (drop("steps", 1), "does not fit this Net"),
    # the example
    "no example": (put("steps", 0, "inputs", value=[]), "length >= 1"),
    "an example that does not fit": (edit_to(tensor(1, 5)), "plan 1: "),
    "an example of terabytes": (edit_to(tensor(10**6, 3, 10**6, 8)), "more than 268,435,456 values"),
    "an example of a negative size": (edit_to(tensor(1, 3, -8, 8)), ">= 0"),
    "an example of no size": (edit_to(tensor(0, 3, 8, 8)), ""),
    "an example of many axes": (edit_to(tensor(*[1] * 40)), "length <= 16"),
    "a type of torch that is none": (edit_to(tensor(1, 3, 8, 8, dtype="load")), "Invalid enum value"),
    "a dunder for a type": (edit_to(tensor(1, 3, 8, 8, dtype="__class__")), "Invalid enum value"),
    "an endless type": (edit_to(tensor(1, 3, 8, 8, dtype="x" * 5000)), "Invalid enum value"),
    "an escape for a kind": (edit_to({"kind": "\x1b[2J\nerror: x", "value": 1}), "Invalid value"),
    "a pickle for an example": (edit_to({"kind": "pickle", "value": "gASVCg"}), "Invalid value"),
    "an example without a kind": (edit_to({"shape": [1, 3, 8, 8], "dtype": "float32"}), "is missing"),
    "an example of integers": (edit_to(tensor(1, 3, 8, 8, dtype="int64")), "plan 1: "),
    "a text for an example": (edit_to({"kind": "plain", "value": "/etc/passwd"}), "plan 1: "),
    "a dict for an example": (edit_to({"kind": "dict", "items": {"__class__": tensor(1)}}), "plan 1: "),
    "an object for an example": (edit_to({"kind": "object", "name": "os.system"}), "which no file can hold"),
    "a huge number for an example": (edit_to({"kind": "plain", "value": 10**20}), ""),
    "too many inputs": (lambda r, t: r["steps"][0]["inputs"].extend([tensor(1)] * 5), "plan 1: "),
    "an unknown layer left alone": (put("steps", 0, "ignore", value=["nowhere"]), "plan 1: no layer 'nowhere'"),
    "a dunder left alone": (put("steps", 0, "ignore", value=["__class__"]), "plan 1: "),
    "an escape left alone": (put("steps", 0, "ignore", value=["\x1b[31m\nx"]), "plan 1: "),
    "all layers left alone": (put("steps", 0, "ignore", value=["first"]), "plan 1 was made for another"),
    # versions
    "a newer schema": (put("schema", value=2), "made by a newer edgeprune"),
    "schema nought": (put("schema", value=0), "`schema` must be the number 1"),
    "a text for a schema": (put("schema", value="1"), "`schema` must be the number 1"),
    "a truth for a schema": (put("schema", value=True), "`schema` must be the number 1"),
    "no schema": (drop("schema"), "`schema` must be the number 1"),
    # names of tensors
    "a shape missing": (drop("shapes", "norm.bias"), "it did not have norm.bias"),
    "a shape more": (put("shapes", "__class__.__init__", value=[1]), "it had __class__.__init__"),
    "another shape": (put("shapes", "first.weight", value=[9, 3, 3, 3]), "first.weight had shape (9, 3, 3, 3)"),
    "a negative shape": (put("shapes", "first.weight", value=[-8, 3, 3, 3]), ">= 0"),
    "a shape that is no list": (put("shapes", "first.weight", value="8333"), "must be list"),
    "a dunder for a tensor": (rename("norm.bias", "__class__.__init__"), "it had __class__.__init__"),
    "forward for a tensor": (rename("norm.bias", "forward"), "it had forward"),
    "a property for a tensor": (rename("norm.bias", "width"), "it had width"),
    "an attribute for a tensor": (rename("norm.bias", "first.out_channels"), "it had first.out_channels"),
    "hooks for a tensor": (rename("norm.bias", "norm._forward_hooks"), "it had norm._forward_hooks"),
    "source for a tensor": (rename("norm.bias", f"norm; {MARK}"), "it had norm"),
    "an escape for a tensor": (rename("norm.bias", "norm\x1b[2J\nbias"), "it had norm"),
    "a dunder among the tensors": (
        put("tensors", "__class__.__init__", value={"stored": "norm.bias", "kind": "parameter"}),
        "it has __class__.__init__, which the pruned network does not",
    ),
    "a tensor missing in the list": (drop("tensors", "norm.bias"), "belongs to nothing"),
    "a tensor stored nowhere": (put("tensors", "norm.bias", "stored", value="x"), "belongs to nothing"),
    "two tensors that are one": (tied, "norm.bias is one tensor with norm.weight there"),
    "an unknown kind of tensor": (put("tensors", "norm.bias", "kind", value="module"), "Invalid enum value"),
    "a parameter for a buffer": (put("tensors", "norm.running_var", "kind", value="parameter"), "is a buffer here"),
    "a state for a parameter": (put("tensors", "norm.bias", "kind", value="state"), "is a parameter here"),
    "a parameter that passes": (put("tensors", "norm.bias", "kind", value="passing"), "is a parameter here"),
    "a device for a tensor": (put("tensors", "norm.bias", "device", value="cuda:9"), "unknown key 'device'"),
    # tensors
    "values missing": (tensors_become(lambda t: t.pop("norm.bias")), "it lacks the values of norm.bias"),
    "values more": (tensors_become(lambda t: t.update(x=torch.zeros(1))), "has 'x', which belongs to nothing"),
    "a dunder more": (tensors_become(lambda t: t.update(__class__=torch.zeros(1))), "which belongs to nothing"),
    "values of another shape": (
        tensors_become(lambda t: t.update({"first.bias": torch.zeros(99)})), "first.bias has shape (99,)"
    ),
    "values of no shape": (tensors_become(lambda t: t.update({"first.bias": torch.zeros(())})), "has shape ()"),
    "whole numbers for values": (
        tensors_become(lambda t: t.update({"first.bias": t["first.bias"].int()})), "is of type torch.int32"
    ),
    "floats for a counter": (
        tensors_become(lambda t: t.update({"norm.num_batches_tracked": torch.tensor(0.5)})),
        "is of type torch.float32",
    ),
    "complex values": (
        tensors_become(lambda t: t.update({"first.bias": t["first.bias"].to(torch.complex64)})),
        "is of type torch.complex64",
    ),
    # texts
    "no text": (raw(""), "no JSON"),
    "null": (raw("null"), "does not hold a JSON object"),
    "a list": (raw("[]"), "does not hold a JSON object"),
    "half an object": (raw('{"schema": 1'), "no JSON"),
    "lists in lists": (raw("[" * 10_000 + "]" * 10_000), "no JSON"),
    "objects in objects": (raw('{"a":' * 10_000 + "1" + "}" * 10_000), "no JSON"),
    "an example in an example": (
        lambda r, t: json.dumps(r).replace(
            '"inputs": [', '"inputs": [' + '{"kind": "list", "fixed": true, "items": [' * 60 + "]}" * 60 + ", ", 1
        ),
        "no JSON",
    ),
    "a key twice": (written_twice, "stands twice"),
    "a key of many twice": (
        raw("{" + ",".join(f'"{n}":1' for n in range(30_000)) + ',"29999":2}'), "stands twice"
    ),
    "a zero in a name": (put("name", value="a\0b"), "no JSON"),
    "an endless text": (raw(" " * (schema.LARGEST_TEXT + 1)), "longer than 67,108,864 characters"),
    "source": (raw(MARK), "no JSON"),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_of_plans_runs_and_changes_nothing(
    what: str, saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    edit, message = HOSTILE[what]
    assert_refused(rewritten(saved, tmp_path / "hostile.safetensors", edit), message)
    assert [item.name for item in tmp_path.iterdir()] == ["hostile.safetensors"]


def test_the_same_file_unchanged_loads(saved: Path, tmp_path: Path) -> None:
    path = rewritten(saved, tmp_path / "same.safetensors", lambda record, tensors: None)
    x = torch.randn(2, 3, 8, 8)
    expected, again = edgeprune.load(saved, into=Net()), edgeprune.load(path, into=Net())
    assert torch.equal(expected(x), again(x))
    assert again.width == again.first.out_channels < 8  # type: ignore[union-attr]


def test_a_digest_of_something_else(saved: Path, tmp_path: Path) -> None:
    texts = texts_of(saved)
    for digest in ("0" * 64, "", "x"):
        save_file(load_file(str(saved)), str(tmp_path / "net.safetensors"), {**texts, "sha256": digest})
        assert_refused(tmp_path / "net.safetensors", "is damaged")


@pytest.mark.parametrize(
    "names",
    ["[", "3", '["nowhere"]', '["first.bias"]', '["__class__"]', '{"first.weight": 1}', "[1]", "[" * 9999],
)
def test_a_layout_that_a_tensor_cannot_have(names: str, saved: Path, tmp_path: Path) -> None:
    texts = {**texts_of(saved), "channels-last": names}
    save_file(load_file(str(saved)), str(tmp_path / "net.safetensors"), texts)
    assert_refused(tmp_path / "net.safetensors", "names tensors of a layout that they cannot have")


def test_what_a_file_says_of_itself_is_shown_as_text(saved: Path, tmp_path: Path) -> None:
    texts = {**texts_of(saved), "edgeprune-no-graph": "\x1b]0;owned\x07\nerror: all is well\n" * 100}
    save_file(load_file(str(saved)), str(tmp_path / "net.safetensors"), texts)
    with pytest.raises(EdgePruneError) as refused:
        edgeprune.load(tmp_path / "net.safetensors")
    assert str(refused.value).isprintable() and len(str(refused.value)) < 500

    def renamed(record: Record, tensors: dict[str, Tensor]) -> None:
        record["name"] = "\x1b[31m\nNet" * 50
        record["shapes"]["\x1b[2J\nx"] = [1]

    assert_refused(rewritten(saved, tmp_path / "net.safetensors", renamed), "another network")


def test_a_hostile_graph_beside_good_plans(saved: Path, tmp_path: Path) -> None:
    for graph in ("null", "{}", '{"format": "edgeprune-graph"}', "[" * 9999):
        texts = {**texts_of(saved), "edgeprune": graph}
        save_file(load_file(str(saved)), str(tmp_path / "net.safetensors"), texts)
        assert_refused(tmp_path / "net.safetensors", "no model that edgeprune.save wrote")


def test_a_header_of_a_hundred_megabytes(saved: Path, tmp_path: Path) -> None:
    content = saved.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    for claimed in (2**63, 100 * 2**20 + 1, len(content)):
        path = tmp_path / "net.safetensors"
        path.write_bytes(struct.pack("<Q", claimed) + content[8 : 8 + length] + content[8 + length :])
        assert_refused(path, "is not a whole safetensors file")


class Passing(nn.Module):
    """Hands a dict on as keywords, to a module whose forward is written anew."""

    class Inner(nn.Module):
        def forward(self, x: Tensor, **more: Tensor) -> Tensor:
            a, b = x[:, :4], x[:, 4:]
            return a + b.sigmoid() + sum(value.mean() for value in more.values())

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3)
        self.inner = Passing.Inner()
        self.last = nn.Conv2d(4, 2, 1)
        self.last.register_forward_hook(lambda module, args, out: out.sigmoid())

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        more = {key: value for key, value in batch.items() if key != "x"}
        return self.last(self.inner(self.first(batch["x"]), **more)).mean((2, 3))


KEYS = [
    f"y={MARK}, z", f"y=3): {MARK}; (", f"y: {MARK}", "class", "y\n", "a b", "\uff59", "1", "", "y" * 300,
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_would_become_source(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    example = {"x": torch.zeros(1, 3, 8, 8), "y": torch.zeros(1, 2)}
    model = Passing()
    graph = build_graph(model, (example,))
    keep = np.ones(graph.classes, dtype=bool)
    keep[0] = False
    done = compact(graph, Plan.of(graph, keep))
    assert done.rewritten
    path = edgeprune.save(done.model, tmp_path / "net.safetensors")
    edgeprune.load(path, into=Passing())

    def edit(record: Record, tensors: dict[str, Tensor]) -> None:
        items = record["steps"][0]["inputs"][0]["items"]
        items[key] = items.pop("y")

    rewritten(path, path, edit)
    with pytest.raises(EdgePruneError) as refused:
        edgeprune.load(path, into=Passing())
    assert "\n" not in str(refused.value)
    with pytest.raises(EdgePruneError):  # nor from the user's own example, whatever is in it
        other = build_graph(model, ({"x": example["x"], key: example["y"]},))
        edgeprune.load(edgeprune.save(compact(other, Plan.of(other, keep)).model, path), into=Passing())
    assert not (tmp_path / "ran").exists()


# --- recurrent layers in a graph ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a network with an LSTM, that is data."""

    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
            self.rnn = nn.LSTM(4, 3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.rnn(self.net(x))[0]

    torch.manual_seed(0)
    model = edgeprune.prune(Reader(), torch.zeros(1, 5, 4)).model
    return edgeprune.save(model, tmp_path_factory.mktemp("recurrent") / "net.safetensors")


LAYERS: dict[str, dict[str, Any]] = {
    "a number of layers without end": {"num_layers": 10**15},
    "a negative number of layers": {"num_layers": -1},
    "a text for a number of layers": {"num_layers": "1"},
    "a truth for a number of layers": {"num_layers": True},
    "more layers than there are weights for": {"num_layers": 2},
    "a hidden width that is not so": {"hidden_size": 4},
    "a hidden width of terabytes": {"hidden_size": 10**15},
    "another input": {"input_size": 10**9},
    "another mode": {"mode": "GRU"},
    "a mode that is none": {"mode": MARK},
    "weights of one's own": {"_flat_weights": [1]},
    "names of weights": {"_flat_weights_names": ["__class__", "forward"]},
    "names of all weights": {"_all_weights": [["__init__"]]},
    "references": {"_flat_weight_refs": []},
    "a projection": {"proj_size": 2},
    "two directions": {"bidirectional": True},
    "a bias that is a text": {"bias": "yes"},
    "a dropout that is a text": {"dropout": "0.5"},
}


@pytest.mark.parametrize("what", LAYERS)
def test_a_recurrent_layer_that_is_not_what_it_says(what: str, recurrent: Path, tmp_path: Path) -> None:
    texts = texts_of(recurrent)
    record = json.loads(texts["edgeprune"])
    record["layers"]["rnn"]["attributes"].update(LAYERS[what])
    texts["edgeprune"] = json.dumps(record)
    save_file(load_file(str(recurrent)), str(tmp_path / "net.safetensors"), texts)
    with pytest.raises(EdgePruneError) as refused:
        edgeprune.load(tmp_path / "net.safetensors")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["nms", "load_library", "__class__", "roi_align"])
def test_operators_of_torchvision_are_a_closed_list(name: str, recurrent: Path, tmp_path: Path) -> None:
    texts = texts_of(recurrent)
    record = json.loads(texts["edgeprune"])
    next(n for n in record["nodes"] if n["op"] == "call_function")["target"] = f"torch.ops.torchvision:{name}"
    texts["edgeprune"] = json.dumps(record)
    save_file(load_file(str(recurrent)), str(tmp_path / "net.safetensors"), texts)
    with pytest.raises(EdgePruneError, match="no tensor operation|is no name"):
        edgeprune.load(tmp_path / "net.safetensors")
