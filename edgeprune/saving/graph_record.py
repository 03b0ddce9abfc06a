"""The record of a saved graph, validated before anything is built from it.

torch.fx turns names of nodes, targets and keywords into Python source. Therefore each is checked against Python's
grammar here, and against what a traced graph can contain.
"""

import builtins
import keyword
import re
from typing import Any, Literal

import msgspec

from edgeprune.errors import ModelError, WeightsError
from edgeprune.saving.allowed import ATTRIBUTES, is_pure_method

FORMAT = "edgeprune-graph"
SCHEMA = 1
MAX_NAME, MAX_TEXT, MAX_COUNT, MAX_DEPTH = 512, 1024, 1_000_000, 32
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_PART = re.compile(r"[0-9]+|[A-Za-z0-9]+(-[A-Za-z0-9_]+)+", re.ASCII)
_DUNDER = re.compile(r"__.*__")
# Names that have another meaning in the source that torch.fx writes.
_TAKEN = {*keyword.kwlist, *dir(builtins), "self", "torch", "device", "inf", "nan", "NoneType", "fx_pytree"}


class NodeRecord(msgspec.Struct):
    """One operation of the graph."""

    op: Literal["placeholder", "get_attr", "call_module", "call_function", "call_method", "output"]
    name: str
    target: str
    args: list[Any]
    kwargs: dict[str, Any]


class LayerRecord(msgspec.Struct):
    """A layer: its class, its plain attributes, and its parameters and buffers that are None.

    ``training`` is its mode if it differs from the model's.
    """

    kind: str = msgspec.field(name="class")
    attributes: dict[str, Any]
    empty: dict[Literal["parameters", "buffers"], list[str]]
    training: bool | None = None


class GraphRecord(msgspec.Struct):
    """A model without its tensors."""

    format: str
    schema: int
    name: str
    training: bool
    nodes: list[NodeRecord]
    layers: dict[str, LayerRecord]
    tensors: dict[str, tuple[str, Literal["parameter", "frozen", "buffer"]]]


def parse_graph_record(text: str, stored: set[str], path: Any) -> GraphRecord:
    """Parse and check the JSON of a saved model.

    Args:
        text: the JSON.
        stored: names of the tensors in the file.
        path: of the file, for messages.

    Raises:
        WeightsError: it is damaged, or of another format.
        ModelError: it has parts that no traced graph has.
    """
    try:
        record = msgspec.json.decode(text, type=GraphRecord)
    except (msgspec.MsgspecError, RecursionError, ValueError) as error:
        raise WeightsError(
            f"{path} holds weights, but no model that edgeprune.save wrote ({error}): was it cut or edited?"
        ) from error
    if record.format == FORMAT and record.schema > SCHEMA:
        raise WeightsError(
            f"{path} has schema {record.schema}, made by a newer edgeprune (this edgeprune reads {SCHEMA}): "
            "update edgeprune"
        )
    if record.format != FORMAT or record.schema != SCHEMA:
        raise WeightsError(
            f"{path} holds weights, but no model that edgeprune.save wrote, or one of another version"
        )
    try:
        check_record(record, stored)
    except ModelError as error:
        raise ModelError(f"{path} was not written by edgeprune: {error}") from error
    return record


def check_record(record: GraphRecord, stored: set[str]) -> None:
    """Check that a record has only what a traced graph can have.

    Only names of functions and layers are checked here; the closed lists are in `edgeprune.saving.allowed`.

    Raises:
        ModelError: it has other parts, or too many.
    """
    if len(record.nodes) + len(record.layers) + len(record.tensors) > MAX_COUNT:
        raise ModelError(f"it has more than {MAX_COUNT:,} parts")
    check_word(record.name, "class")
    _check_layers(record)
    _check_tensors(record, stored)
    _check_nodes(record)


def check_word(name: str, what: str) -> None:
    """Raise ModelError unless ``name`` is an identifier, neither reserved nor a dunder."""
    if len(name) > MAX_NAME or not _WORD.fullmatch(name) or keyword.iskeyword(name) or _DUNDER.match(name):
        raise ModelError(f"{_shown(name)} is no name for a {what}")


def check_path(path: str, what: str) -> None:
    """Raise ModelError unless each part of a dotted path is an identifier or a number; hyphens are allowed."""
    for part in path.split("."):
        if len(part) > MAX_NAME or not _PART.fullmatch(part):
            check_word(part, what)


def check_function(target: str) -> None:
    """Raise ModelError unless the target is 'package.module:qualified.name' of identifiers."""
    space, _, name = target.partition(":")
    for part in (*space.split("."), *name.split(".")):
        check_word(part, "function or layer")


def check_argument(value: Any, depth: int = 0) -> None:
    """Raise ModelError unless an argument consists of numbers, short texts, and lists or '$' dicts of them."""
    if depth > MAX_DEPTH:
        raise ModelError("an argument is nested too deeply")
    if isinstance(value, list):
        for item in value:
            check_argument(item, depth + 1)
    elif isinstance(value, dict):
        if len(value) != 1 or not next(iter(value)).startswith("$"):
            raise ModelError(f"{_shown(value)} is no plain argument")
        check_argument(next(iter(value.values())), depth + 1)
    elif isinstance(value, str) and (len(value) > MAX_TEXT or not value.isprintable()):
        raise ModelError(f"{_shown(value)} is no plain argument")
    elif isinstance(value, int) and abs(value) >= 1 << 63:
        raise ModelError("a number has more than 64 bits")


def _check_layers(record: GraphRecord) -> None:
    for path, layer in record.layers.items():
        check_path(path, "layer's name")
        check_function(layer.kind)
        for name in (*layer.attributes, *layer.empty.get("parameters", ()), *layer.empty.get("buffers", ())):
            check_word(name, "layer's attribute")
        check_argument([*layer.attributes.values()])


def _check_tensors(record: GraphRecord, stored: set[str]) -> None:
    for name, (first, _) in record.tensors.items():
        check_path(name, "tensor's name")
        if first not in stored:
            raise ModelError(f"no tensor {_shown(first)}, which the model reads")


def _check_nodes(record: GraphRecord) -> None:
    earlier: set[str] = set()
    outputs = 0
    for number, node in enumerate(record.nodes):
        outputs += node.op == "output"
        check_word(node.name, "node's name")
        if (node.op != "output" and node.name in _TAKEN) or node.name in earlier:
            raise ModelError(f"{_shown(node.name)} is no name for one more node")
        if outputs and number < len(record.nodes) - 1:
            raise ModelError("there is an output before the last node")
        for name in node.kwargs:
            check_word(name, "keyword")
        check_argument([node.args, *node.kwargs.values()])
        _check_target(node, record)
        earlier.add(node.name)
    if outputs != 1:
        raise ModelError(f"the graph has {outputs} outputs")


def _check_target(node: NodeRecord, record: GraphRecord) -> None:
    if node.op == "call_function":
        check_function(node.target)
    elif node.op == "call_method":
        check_word(node.target, "method")
        if not is_pure_method(node.target) or not _is_node(node.args[:1]):
            raise ModelError(f"the method {_shown(node.target)} is no tensor operation")
    elif node.op in ("call_module", "get_attr"):
        known: Any = record.layers if node.op == "call_module" else record.tensors
        if node.target not in known:
            raise ModelError(f"the graph reads {_shown(node.target)}, which is not there")
    else:
        check_word(node.target, "argument")
    if node.target == "builtins:getattr":
        name = node.args[1] if len(node.args) == 2 and not node.kwargs else None
        if not _is_node(node.args[:1]) or not isinstance(name, str) or name not in ATTRIBUTES:
            raise ModelError(f"reading the attribute {_shown(name)} is no tensor operation")


def _is_node(values: list[Any]) -> bool:
    return len(values) == 1 and isinstance(values[0], dict) and "$node" in values[0]


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
