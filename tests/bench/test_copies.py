import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from bench.conftest import Scripted
from edgeprune.bench import BenchOptions, bench_models
from edgeprune.bench.copies import changed_since, external_files, private_copies, stored_bytes
from edgeprune.errors import BenchError
from edgeprune.files.reading import sha256


class Replacing(Scripted):
    """The model's file is written anew after the third round."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file, self.contents = file, []

    def call(self, verb: str, arguments: Any, on_event: Any = None) -> Any:
        if verb == "measure":
            self.contents.append(Path(arguments[arguments.index("--model") + 1]).read_text())
            if len(self.contents) == 3:
                self.file.write_text('{"latency_ns": 1}')
        return super().call(verb, arguments, on_event)


def test_a_file_that_is_replaced_between_rounds(fake_models, quick: BenchOptions) -> None:
    """All rounds are of the first file, under the first file's sha256, and the result says what happened."""
    files = fake_models({"latency_ns": 2}, {"latency_ns": 3})
    first = sha256(files["pruned"])
    transport = Replacing(files["pruned"])
    result = bench_models(files, options=quick, transport=transport)
    assert sorted(transport.contents) == ['{"latency_ns": 2}'] * 2 + ['{"latency_ns": 3}'] * 2
    assert result["models"]["pruned"]["sha256"] == first != sha256(files["pruned"])
    assert result["models"]["pruned"]["file"] == str(files["pruned"])
    assert result["replaced"] == ("pruned",)
    warning = next(warning for warning in result["warnings"] if warning["code"] == "file_replaced")
    assert "pruned.json was replaced while it was measured" in warning["message"]


def test_nothing_stays_and_nothing_is_said_otherwise(
    fake_models, quick: BenchOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "tmp"
    place.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(place))
    files = fake_models()
    result = bench_models({"baseline": files["pruned"], "pruned": files["pruned"]}, options=quick,
                          transport=Scripted({"pruned": 1_000_000}))  # fmt: skip
    assert result["replaced"] == () and list(place.iterdir()) == []


def test_changed(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("same", "other", "gone")}
    for file in files.values():
        file.write_text("a")
    hashes = {name: sha256(file) for name, file in files.items()}
    files["other"].write_text("b")
    files["gone"].unlink()
    assert changed_since(files, hashes) == ["other", "gone"]


def test_weights_in_files_of_their_own_go_along(tmp_path: Path) -> None:
    tensor = numpy_helper.from_array(np.ones(2000, np.float32), "w")
    graph = helper.make_graph([], "g", [], [], [tensor])
    model = tmp_path / "m.onnx"
    onnx.save(
        helper.make_model(graph), model, save_as_external_data=True, location="m.data", size_threshold=1
    )
    assert external_files(model) == [tmp_path / "m.data"]
    assert stored_bytes(model) == model.stat().st_size + 4 * 2000
    with private_copies({"a": model, "b": model}) as copies:
        shutil.rmtree(tmp_path)
        assert onnx.load(copies["a"]).graph.initializer[0].dims == [2000]
        assert copies["b"].name == "m.onnx" and copies["b"] != copies["a"]
    assert not copies["a"].exists()


@pytest.mark.parametrize("content", [b"", b"\xff" * 50])
def test_a_broken_file_is_copied_as_it_is(tmp_path: Path, content: bytes) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(content)
    with private_copies({"a": model}) as copies:
        assert copies["a"].read_bytes() == content


def test_no_room_for_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    with (
        pytest.raises(BenchError, match="No space left on device; free some space there, or set TMPDIR"),
        private_copies({"a": tmp_path / "m.json"}),
    ):
        pass
