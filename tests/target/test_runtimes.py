"""One contract for every runtime."""

import zipfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeprune_target.errors import TargetError
from edgeprune_target.feeds import random_feed
from edgeprune_target.packed import pack
from edgeprune_target.runtimes import RUNTIMES, Runtime, make_runtime, runtime_versions
from edgeprune_target.runtimes.litert import _inside
from edgeprune_target.trt.options import EngineOptions

from target.runtime_files import MODULES, executorch_file, litert_file, ncnn_file, openvino_file

PACKED: dict[str, Callable[[Path], Path]] = {
    "openvino": openvino_file,
    "ncnn": ncnn_file,
    "litert": litert_file,
    "executorch": executorch_file,
}
ONE_IMAGE = ("ncnn", "litert", "executorch")  # files whose batch is 1


@pytest.fixture(params=sorted(RUNTIMES))
def case(request: Any, onnx_file: Path, fake_file: Path) -> tuple[str, str]:
    files = {"onnxruntime": onnx_file, "fake": fake_file, "tensorrt": onnx_file}
    if request.param == "tensorrt":
        for needed in ("cudart", "engines"):
            request.getfixturevalue(needed)
        request.getfixturevalue("tensorrt")("10.3.0")
    if request.param in PACKED:
        pytest.importorskip(MODULES[request.param])
        files[request.param] = PACKED[request.param](onnx_file)
    return request.param, str(files[request.param])


def test_infers_a_dict_of_arrays(case: tuple[str, str]) -> None:
    name, model = case
    with make_runtime(name, model, threads=1, options=EngineOptions(batch=2)) as engine:
        feed = random_feed(engine.inputs, batch=1 if name in ONE_IMAGE else 2, shapes={})
        if name in ONE_IMAGE:  # accuracy is scored on many at a time
            feed = {key: np.repeat(value, 2, 0) for key, value in feed.items()}
        outputs = engine.infer(feed)
        engine.synchronize()
    rows = 2 if feed else 1
    output = {"ncnn": "out0", "litert": "serving_default_output_0_output", "executorch": "output0"}.get(
        name, "logits"
    )
    assert {key: np.asarray(value).shape for key, value in outputs.items()} == {output: (rows, 3)}


def test_gives_the_same_answer_twice(case: tuple[str, str]) -> None:
    name, model = case
    with make_runtime(name, model, threads=1) as engine:
        feed = random_feed(engine.inputs, batch=1, shapes={})
        first, second = engine.infer(feed), engine.infer(feed)
    assert list(first) == list(second)
    np.testing.assert_array_equal(list(first.values()), list(second.values()))


def test_names_its_versions(case: tuple[str, str]) -> None:
    name, model = case
    assert all(make_runtime(name, model, threads=1).versions().values())


def test_missing_model_is_one_line(case: tuple[str, str]) -> None:
    name, model = case
    with (
        pytest.raises(TargetError, match="no such model file: .*absent"),
        make_runtime(name, model + "absent", 1),
    ):
        pass


def test_can_be_entered_again(case: tuple[str, str]) -> None:
    name, model = case
    engine = make_runtime(name, model, threads=1)
    for _ in range(2):
        with engine:
            assert engine.infer(random_feed(engine.inputs, 1, {}))


def test_unknown_runtime_lists_the_known() -> None:
    with pytest.raises(
        TargetError, match="known are executorch, fake, litert, ncnn, onnxruntime, openvino, tensorrt"
    ):
        make_runtime("torchscript", "x", 1)


def test_absent_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    class Odd(Runtime):
        name, library = "odd", "oddlib"

        def __init__(self, model: str, threads: int, options: Any = None) -> None:
            import oddlib  # noqa: F401

    monkeypatch.setitem(RUNTIMES, "odd", Odd)
    with pytest.raises(TargetError, match="pip install oddlib"):
        make_runtime("odd", "x", 1)
    assert runtime_versions()["odd"] is None


def test_foreign_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "not.onnx"
    path.write_bytes(b"not a model")
    with (
        pytest.raises(TargetError, match="cannot load .*not.onnx.*export the model again"),
        make_runtime("onnxruntime", str(path), 1),
    ):
        pass


def test_onnxruntime_computes_what_the_model_says(onnx_file: Path) -> None:
    image = np.arange(48, dtype=np.float32).reshape(1, 3, 4, 4)
    with make_runtime("onnxruntime", str(onnx_file), 1) as engine:
        logits = engine.infer({"input": image})["logits"]
    np.testing.assert_allclose(logits, [[7.5, 23.5, 39.5]])  # means of 0..15, 16..31, 32..47


@pytest.mark.parametrize("name", sorted(PACKED))
def test_packed_files_compute_what_the_model_says(name: str, onnx_file: Path) -> None:
    pytest.importorskip(MODULES[name])
    images = np.arange(96, dtype=np.float32).reshape(2, 3, 4, 4)
    with make_runtime(name, str(PACKED[name](onnx_file)), 1) as engine:
        (logits,) = engine.infer({next(iter(engine.inputs)): images}).values()
    np.testing.assert_allclose(logits, [[7.5, 23.5, 39.5], [55.5, 71.5, 87.5]], rtol=1e-6)


def damaged(path: Path, part: str, content: bytes) -> Path:
    """The file with one part replaced."""
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    pack(str(path), {**parts, part: content})
    return path


@pytest.mark.parametrize(
    ("name", "part", "content", "message"),
    [
        ("openvino", "model.xml", b"<net", "cannot load .*openvino.zip: .*export the model again"),
        ("ncnn", "model.ncnn.param", b"junk", "cannot load .*ncnn.zip: it has a layer"),
        ("ncnn", "about.json", b"[]", "its about.json is damaged"),
        ("ncnn", "about.json", b'{"precision": "fp32"}', "its about.json is damaged"),
    ],
)
def test_damaged_files_are_one_line(
    name: str, part: str, content: bytes, message: str, onnx_file: Path
) -> None:
    pytest.importorskip(MODULES[name])
    path = damaged(PACKED[name](onnx_file), part, content)
    with pytest.raises(TargetError, match=message) as caught, make_runtime(name, str(path), 1):
        pass
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["ncnn", "openvino"])
def test_a_file_of_another_kind_is_one_line(name: str, onnx_file: Path) -> None:
    pytest.importorskip(MODULES[name])
    with (
        pytest.raises(TargetError, match="not a file that edgeprune packed"),
        make_runtime(name, str(onnx_file), 1),
    ):
        pass


def test_no_pte_file_is_one_line(tmp_path: Path) -> None:
    pytest.importorskip("executorch")
    (tmp_path / "m.pte").write_bytes(b"junk of some length")
    with (
        pytest.raises(TargetError, match="it is no .pte file"),
        make_runtime("executorch", str(tmp_path / "m.pte"), 1),
    ):
        pass


@pytest.mark.parametrize(
    ("content", "message"), [(b"junk", "it is no .tflite file"), (b"1234TFL3junk", "cannot load .*m.tflite")]
)
def test_no_tflite_file_is_one_line(content: bytes, message: str, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "m.tflite").write_bytes(content)
    with pytest.raises(TargetError, match=message), make_runtime("litert", str(tmp_path / "m.tflite"), 1):
        pass


def test_the_package_is_named_as_pip_knows_it(onnx_file: Path) -> None:
    if find_spec("ai_edge_litert"):
        pytest.skip("it is installed")
    with pytest.raises(TargetError, match="pip install ai-edge-litert"):
        make_runtime("litert", str(onnx_file), 1)


def test_what_a_delegate_takes() -> None:
    """From its outputs back to its inputs: ops 0 and 1 are inside, the slice between two parts is not."""
    own = [
        {"inputs": [0, 9], "outputs": [1]},
        {"inputs": [1], "outputs": [2]},
        {"inputs": [2], "outputs": [3]},
    ]
    own += [{"inputs": [3], "outputs": [4]}]
    parts = [{"inputs": [0, 9], "outputs": [2]}, {"inputs": [3], "outputs": [4]}]
    assert _inside(own, parts) == {0, 1, 3}
