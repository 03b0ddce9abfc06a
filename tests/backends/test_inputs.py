"""Inputs as they are typed, and as ONNX files declare them."""

from pathlib import Path

import pytest
from onnx_files import summing_onnx

from edgeprune.backends.inputs import (
    ModelInput,
    check_same_inputs,
    fed_shapes,
    merged,
    onnx_inputs,
    parse_input,
    parse_inputs,
)
from edgeprune.errors import BenchError, EdgePruneError, ModelError

IMAGE = ModelInput("x", (None, 3, 8, 8))
MASK = ModelInput("mask", (None, None), "bool")


def test_an_input_as_it_is_typed() -> None:
    assert parse_input("x=1x3x8x8") == ModelInput("x", (1, 3, 8, 8))
    assert parse_input("ids=2x16:int64") == ModelInput("ids", (2, 16), "int64")
    assert parse_input("3x8x8") == ModelInput("", (3, 8, 8))
    assert parse_input("images[0]=3x8x8").name == "images[0]"
    assert str(parse_input("ids=2x16:int64")) == "ids=2x16:int64"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (["x"], "`inputs` 'x' is not of the form 3x224x224, or NAME=1x3x224x224"),
        *((text, "is not of the form") for text in (["x=0x3"], [""], ["3x"], ["3,224,224"], ["ax2"])),
        (["x=1x3:float23"], "unknown type 'float23' .did you mean 'float32'"),
        (["x=99999x99999x99999"], "has 999.970.000.299.999 values|values: at most"),
        (["x=1x3", "x=1x4"], "names 'x' 2 times"),
        (["x=1x3", "1x4"], "has an input without a name"),
    ],
)
def test_inputs_that_cannot_be_meant(texts: list[str], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_inputs(texts)


def test_what_a_file_declares(tmp_path: Path) -> None:
    path = summing_onnx(tmp_path / "m.onnx", x=(None, 3, 8, 8), ids=(4, 16, "int64"))
    assert onnx_inputs(path) == (IMAGE, ModelInput("ids", (4, 16), "int64"))
    (tmp_path / "text.onnx").write_text("no ONNX")
    for name, message in (
        ("text.onnx", "cannot be read as ONNX|is not an ONNX file"),
        ("no.onnx", "no such"),
    ):
        with pytest.raises(BenchError, match=message):
            onnx_inputs(tmp_path / name)


def test_both_files_take_the_same_inputs() -> None:
    first, second = Path("a.onnx"), Path("b.onnx")
    check_same_inputs({first: [IMAGE, MASK], second: [MASK, ModelInput("x", (1, 3, 8, 8))]})
    fixed = ModelInput("x", (2, 3, None, 8))
    assert merged([[IMAGE], [fixed]]) == (ModelInput("x", (2, 3, 8, 8)),)
    for other, message in (
        ([ModelInput("y", IMAGE.shape)], "a.onnx has an input 'x' that b.onnx has not .it has y."),
        ([IMAGE, MASK], "b.onnx has an input 'mask' that a.onnx has not"),
        (
            [ModelInput("x", (None, 1, 8, 8))],
            "the inputs differ: x=[?]x3x8x8 in a.onnx, x=[?]x1x8x8 in b.onnx",
        ),
        ([ModelInput("x", IMAGE.shape, "float16")], "the inputs differ: .* x=[?]x3x8x8:float16 in b.onnx"),
    ):
        with pytest.raises(BenchError, match=message):
            check_same_inputs({first: [IMAGE], second: other})


def test_shapes_that_are_fed() -> None:
    both = (IMAGE, MASK)
    assert fed_shapes([IMAGE], [], 4) == ({"x": (4, 3, 8, 8)}, 4)
    assert fed_shapes(both, parse_inputs(["mask=2x5:bool"]), 2)[0] == {"x": (2, 3, 8, 8), "mask": (2, 5)}
    assert fed_shapes([IMAGE], parse_inputs(["x=6x3x8x8"]), 1) == ({"x": (6, 3, 8, 8)}, 6)
    assert fed_shapes([IMAGE], parse_inputs(["3x8x8"]), 2) == ({"x": (2, 3, 8, 8)}, 2)
    assert fed_shapes([ModelInput("x", (4, 3))], [], 1) == ({"x": (4, 3)}, 4)  # its own batch
    assert fed_shapes([ModelInput("scale", ())], [], 1) == ({"scale": ()}, 1)


@pytest.mark.parametrize(
    ("typed", "batch", "message"),
    [
        ([], 1, "the sizes of mask=[?]x[?]:bool are free: give its shape with `inputs`, as mask=1x32"),
        (["masks=1x5:bool"], 1, "unknown input 'masks' .did you mean 'mask'[?].; known: mask, x"),
        (["x=1x3x8x9"], 1, "x=1x3x8x9 does not fit the file, which takes x=[?]x3x8x8"),
        (["x=3x8x8"], 1, "does not fit the file"),
        (["mask=1x5:int64"], 1, "mask is bool in the file, not int64"),
    ],
)
def test_shapes_that_cannot_be_fed(typed: list[str], batch: int, message: str) -> None:
    with pytest.raises(EdgePruneError, match=message):
        fed_shapes((IMAGE, MASK), parse_inputs(typed), batch)


def test_a_fixed_batch_is_not_another() -> None:
    with pytest.raises(BenchError, match="x=4x3 has a fixed batch: `batch` cannot be 2"):
        fed_shapes([ModelInput("x", (4, 3))], [], 2)
