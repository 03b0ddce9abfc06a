"""What TensorRT says of layers, in the forms of its versions."""

import json
from typing import Any

import pytest
from edgeprune_target.trt.layers import onnx_names, parse_layers, timed_layers

TENSOR = {"Name": "y", "Location": "Device", "Dimensions": [1, 13, 32, 32]}


def inspected(**layer: Any) -> dict:
    text = json.dumps({"Layers": [layer], "Bindings": ["input"]})
    return dict(parse_layers(text)[0])


@pytest.mark.parametrize(
    ("name", "metadata", "nodes"),
    [
        ("/conv1/Conv", "", ["/conv1/Conv"]),
        ("node_conv + node_relu", "", ["node_conv", "node_relu"]),
        ("PWN(PWN(/a/Sigmoid), /a/Mul)", "", ["/a/Sigmoid", "/a/Mul"]),
        ("/q/Conv || /k/Conv", "", ["/q/Conv", "/k/Conv"]),
        ("(Unnamed Layer* 229) [Shuffle] + /fc/Gemm", "", ["/fc/Gemm"]),
        ("__myl_Fc", "[ONNX Layer: fc1]\x1f[ONNX Layer: act]\x1e[ONNX Layer: fc1]", ["fc1", "act"]),
        ("Reformatting CopyNode for Input Tensor 0 to /c/Conv + /r/Relu", "", ["/c/Conv", "/r/Relu"]),
        ("Reformatting CopyNode for Output Tensor 0 to /c/Conv", "", ["/c/Conv"]),
        ("Reformatting CopyNode for Network Input input", "", ["input"]),
    ],
)
def test_onnx_names(name: str, metadata: str, nodes: list[str]) -> None:
    assert onnx_names(name, metadata) == nodes


def test_a_layer_in_detail() -> None:
    form = "Channel major FP16 format where C % 8 == 0"
    layer = inspected(Name="c", LayerType="CaskConvolution", Outputs=[{**TENSOR, "Format/Datatype": form}])
    assert layer == {
        "name": "c",
        "kind": "CaskConvolution",
        "onnx": ["c"],
        "ms": None,
        "outputs": [[1, 13, 32, 32]],
        "formats": [form],
        "reformat": False,
    }


def test_a_format_in_two_parts() -> None:
    layer = inspected(Name="c", Outputs=[{**TENSOR, "Format": "Row major linear", "Datatype": "Half"}])
    assert layer["formats"] == ["Row major linear Half"]


@pytest.mark.parametrize(
    "entry", [{"Name": "x", "LayerType": "Reformat"}, {"Name": "Reformatting CopyNode for x"}]
)
def test_reformats(entry: dict) -> None:
    assert inspected(**entry)["reformat"] is True


def test_names_alone() -> None:
    layer = parse_layers('{"Layers": ["a + b"], "Bindings": []}')[0]
    assert (layer["name"], layer["onnx"], layer["kind"]) == ("a + b", ["a", "b"], None)


@pytest.mark.parametrize("text", ["", "not json", "[]", "{}"])
def test_nothing_to_be_had(text: str) -> None:
    assert parse_layers(text) == []


def test_medians_go_with_names() -> None:
    known = parse_layers('{"Layers": ["a", "b"]}')
    result = timed_layers(known, {"a": [1.0, 9.0, 2.0], "c": [3.0]})
    assert [(layer["name"], layer["ms"]) for layer in result] == [("a", 2.0), ("b", None), ("c", 3.0)]
