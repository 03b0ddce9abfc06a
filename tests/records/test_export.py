"""An export's record: of schema 1, as edgeprune wrote it until then, and of schema 2."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeprune.errors import RunError
from edgeprune.records.export import Artifact, ExportFile

EXPORTS = Path(__file__).parent / "exports"
ONNX = [("onnx", "fp32", "baseline", "baseline.onnx"), ("onnx", "fp32", "pruned", "pruned.onnx")]
NO_ENGINE = "no CUDA device: cudaGetDeviceCount: no CUDA-capable device is detected; "


def read_export(path: Path, hint: str = "again") -> dict[str, Any]:
    return ExportFile.read(path, hint=hint).to_dict()


def kinds(record: dict[str, Any]) -> list[tuple[str, str, str, str | None]]:
    return [
        (artifact["backend"], artifact["precision"], artifact["model"], artifact["file"])
        for artifact in record["artifacts"]
    ]


@pytest.mark.parametrize("name", sorted(path.stem for path in EXPORTS.glob("*.json")))
def test_records_of_schema_1_are_upgraded(name: str) -> None:
    old = json.loads((EXPORTS / f"{name}.json").read_text())
    record = read_export(EXPORTS / f"{name}.json")
    assert old["schema"] == 1 and record["schema"] == 2
    for key in ("versions", "settings", "input", "output", "classes"):
        assert record[key] == old[key]
    assert kinds(record)[:2] == ONNX
    for artifact, model in zip(record["artifacts"], old["models"].values(), strict=False):
        for key in ("sha256", "size_bytes", "params", "parity"):
            assert artifact[key] == model[key]
        assert artifact["details"] == {"exporter": "dynamo", "opset": 18, "ir_version": 8}
        assert (artifact["options"], artifact["skipped_because"]) == ({"opset": 18}, None)
        assert set(artifact["versions"]) == {"torch", "onnx", "onnxscript", "onnxruntime"}


def test_a_plain_export_of_schema_1() -> None:
    assert kinds(read_export(EXPORTS / "plain.json")) == ONNX


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_files_of_schema_1_that_have_the_precision_themselves(precision: str) -> None:
    record = read_export(EXPORTS / f"skipped-{precision}.json")
    typed = [
        (f"onnx-{precision}", precision, name, f"{name}.{precision}.onnx") for name in ("baseline", "pruned")
    ]
    assert kinds(record)[2:4] == typed
    for artifact in record["artifacts"][2:4]:
        assert artifact["parity"]["images"] == 8 and artifact["sha256"] is None
        assert artifact["params"] in (36130, 1930)


@pytest.mark.parametrize(("precision", "artifacts"), [("fp32", 4), ("fp16", 6), ("int8", 6)])
def test_engines_of_schema_1_that_were_skipped(precision: str, artifacts: int) -> None:
    record = read_export(EXPORTS / f"skipped-{precision}.json")
    assert len(record["artifacts"]) == artifacts
    assert kinds(record)[-2:] == [("tensorrt", precision, name, None) for name in ("baseline", "pruned")]
    assert all(artifact["skipped_because"].startswith(NO_ENGINE) for artifact in record["artifacts"][-2:])


def test_engines_of_schema_1() -> None:
    old = json.loads((EXPORTS / "engines.json").read_text())["tensorrt"]["models"]["pruned"]
    engine = read_export(EXPORTS / "engines.json")["artifacts"][-1]
    assert (engine["file"], engine["precision"]) == ("pruned.fp16.engine", "fp16")
    assert (engine["sha256"], engine["size_bytes"]) == (old["engine_sha256"], old["engine_bytes"])
    assert engine["versions"] == {"tensorrt": "10.3.0"} and engine["parity"] == old["parity"]
    assert engine["details"]["shapes"]["input"][2] == [64, 3, 32, 32]


def test_the_first_form_of_a_skipped_engine(tmp_path: Path) -> None:
    """Before engines were built, only the reason was noted."""
    record = json.loads((EXPORTS / "plain.json").read_text())
    record["tensorrt"] = {"built": False, "skipped_because": "no GPU"}
    (tmp_path / "export.json").write_text(json.dumps(record))
    artifacts = read_export(tmp_path / "export.json")["artifacts"]
    assert [(artifact["backend"], artifact["skipped_because"]) for artifact in artifacts[2:]] == [
        ("tensorrt", "no GPU")
    ] * 2


def artifact(content: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = content["artifacts"][0]
    return first


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda content: content.update(schema=3),
            "made by a newer edgeprune .this edgeprune reads 2.: update",
        ),
        (lambda content: content.update(schema=0), "`schema` must be the number 2"),
        (lambda content: content.update(schema=True), "`schema` must be the number 2"),
        (lambda content: content.pop("artifacts"), "`artifacts` is missing: export again"),
        (
            lambda content: artifact(content).update(file="a/b"),
            r"`artifacts\[0\].file` must be text matching",
        ),
        (lambda content: artifact(content).update(file=".."), r"`artifacts\[0\].file` must be text matching"),
        (lambda content: artifact(content).update(file=None), "either a file or a reason"),
        (lambda content: artifact(content).update(skipped_because="x"), "either a file or a reason"),
        (lambda content: artifact(content).update(model="third"), r"`artifacts\[0\].model`"),
        (lambda content: artifact(content).update(sha256="0"), r"`artifacts\[0\].sha256`"),
        (lambda content: artifact(content)["parity"].update(top1_agreement=1.5), "top1_agreement` must be"),
    ],
)
def test_records_that_cannot_be(tmp_path: Path, change: Callable[[dict[str, Any]], Any], reason: str) -> None:
    content = read_export(EXPORTS / "engines.json")
    (tmp_path / "export.json").write_text(json.dumps(content))
    assert read_export(tmp_path / "export.json") == content
    change(content)
    (tmp_path / "export.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=reason) as error:
        read_export(tmp_path / "export.json", hint="export again")
    assert "\n" not in str(error.value)


def test_the_record_is_frozen_and_names_the_same_as_the_file(tmp_path: Path) -> None:
    record = ExportFile.read(EXPORTS / "engines.json")
    engine = record.artifacts[-1]
    assert engine.parity is not None and engine.parity.images == engine["parity"]["images"]
    with pytest.raises(AttributeError):
        engine.file = "other"  # type: ignore[misc]
    record.write(tmp_path / "export.json")
    assert ExportFile.read(tmp_path / "export.json") == record
    with pytest.raises(ValueError, match="either a file or a reason"):
        Artifact("onnx", "fp32", "pruned", None, None, None, params=1)
