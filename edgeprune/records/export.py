"""Schemas of an export's record: the current one, and schema 1, which is read and upgraded."""

from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from edgeprune.errors import EdgePruneError, RunError
from edgeprune.records.checking import HINT, check, read_record
from edgeprune.records.fields import Amount, Count, Digest, Name, Positive, Share

FILE = "export.json"
SCHEMA = 2
FileName = Annotated[str, Meta(pattern=r"^(?!\.\.?$)[^/\\]+$", max_length=255)]
Which = Literal["baseline", "pruned", "model"]
Versions = dict[str, str | None]


class ExportParity(Struct):
    """Agreement of an exported file's outputs with the reference's."""

    top1_agreement: Share
    max_rel_diff: Amount
    max_abs_diff: Amount
    images: Count = 0
    logit_scale: Amount = 0.0


class ArtifactRecord(Struct):
    """An exported file, or the reason why it was skipped."""

    backend: Name
    precision: Name
    model: Which
    file: FileName | None
    sha256: Digest | None
    size_bytes: Positive | None
    params: Count
    parity: ExportParity | None
    skipped_because: str | None
    weights_sha256: Digest | None = None
    versions: Versions = {}
    options: dict[str, Any] = {}
    details: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if (self.file is None) != (self.skipped_because is not None):
            raise ValueError("an artifact has either a file or a reason why it was skipped")


class ExportFile(Struct):
    """export.json."""

    artifacts: list[ArtifactRecord]
    versions: Versions = {}
    settings: dict[str, Any] = {}
    input: dict[str, Any] = {}
    output: dict[str, Any] = {}
    classes: list[str] = []


class OnnxModel1(Struct):
    """One ONNX file, in schema 1."""

    file: FileName
    sha256: Digest
    size_bytes: Positive
    params: Count
    parity: ExportParity


class OnnxModels1(Struct, forbid_unknown_fields=True):
    """Both ONNX files, in schema 1."""

    baseline: OnnxModel1
    pruned: OnnxModel1


class TypedFile1(Struct):
    """An ONNX file in the engine's precision, in schema 1."""

    file: FileName | None
    reason: str | None = None
    parity: ExportParity | None = None


class Engine1(Struct):
    """One engine, in schema 1."""

    file: FileName
    tensorrt: str
    engine_sha256: Digest
    engine_bytes: Positive
    parity: ExportParity


class TensorRt1(Struct):
    """The export for TensorRT, in schema 1."""

    built: bool
    precision: Literal["fp32", "fp16", "int8"] = "fp16"
    skipped_because: str | None = None
    typed_onnx: dict[Which, TypedFile1] = {}
    models: dict[Which, Engine1] | None = None


class ExportFile1(Struct):
    """export.json of schema 1."""

    models: OnnxModels1
    versions: Versions = {}
    settings: dict[str, Any] = {}
    tensorrt: TensorRt1 | None = None


def read_export(path: Path, *, error: type[EdgePruneError] = RunError, hint: str = HINT) -> dict[str, Any]:
    """Read an export.json of the current or an earlier schema.

    Args:
        path: the file.
        error: class of the errors.
        hint: the remedy for an invalid file, added to the message.

    Returns:
        The content in the current schema.

    Raises:
        EdgePruneError: of class ``error``: the file is missing, not JSON, or does not match the schema.
    """

    def upgrade(value: Any) -> Any:
        if not isinstance(value, dict) or value.get("schema") != 1 or value["schema"] is True:
            return value
        return upgraded(check(value, ExportFile1, path, error=error, hint=hint))

    return read_record(path, ExportFile, schema=SCHEMA, error=error, hint=hint, upgrade=upgrade)


def upgraded(record: dict[str, Any]) -> dict[str, Any]:
    """Convert a checked record of schema 1 to schema 2.

    Schema 1 has no digest of ONNX files in fp16 and int8, and no digest of the weights: they are None.
    """
    about = ("versions", "settings", "input", "output", "classes")
    shared: dict[str, Any] = {str(key): record[key] for key in about if key in record}
    return {"schema": SCHEMA, **shared, "artifacts": [*_onnx(record), *_typed(record), *_engines(record)]}


def _artifact(
    record: dict[str, Any], model: str, backend: str, precision: str, **more: Any
) -> dict[str, Any]:
    return {
        "backend": backend, "precision": precision, "model": model, "file": None, "sha256": None,
        "size_bytes": None, "params": record["models"][model]["params"], "weights_sha256": None,
        "versions": {}, "options": {}, "details": {}, "parity": None, "skipped_because": None, **more,
    }  # fmt: skip


def _onnx(record: dict[str, Any]) -> list[dict[str, Any]]:
    versions = {name: text for name, text in record.get("versions", {}).items() if name != "edgeprune"}
    options = {"opset": record.get("settings", {}).get("opset")}
    return [
        _artifact(
            record, name, "onnx", "fp32",
            file=model["file"], sha256=model["sha256"], size_bytes=model["size_bytes"], versions=versions,
            options=options, parity=model["parity"],
            details={key: model[key] for key in ("exporter", "opset", "ir_version") if key in model},
        )
        for name, model in record["models"].items()
    ]  # fmt: skip


def _typed(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the ONNX files in the engine's precision; none in fp32, where they are the plain ONNX files."""
    about = record.get("tensorrt") or {}
    precision = about.get("precision", "fp16")
    if precision == "fp32":
        return []
    return [
        _artifact(
            record, name, f"onnx-{precision}", precision, file=typed["file"], parity=typed.get("parity"),
            skipped_because=None if typed["file"] else typed.get("reason") or "it could not be made",
        )
        for name, typed in about.get("typed_onnx", {}).items()
    ]  # fmt: skip


def _engines(record: dict[str, Any]) -> list[dict[str, Any]]:
    about = record.get("tensorrt")
    if about is None:
        return []
    precision, engines = about.get("precision", "fp16"), about.get("models") or {}
    if not engines:
        reason = about.get("skipped_because") or "it was not built"
        return [
            _artifact(record, name, "tensorrt", precision, skipped_because=reason)
            for name in record["models"]
        ]
    return [
        _artifact(
            record, name, "tensorrt", precision,
            file=engine["file"], sha256=engine["engine_sha256"], size_bytes=engine["engine_bytes"],
            versions={"tensorrt": engine["tensorrt"]}, parity=engine["parity"],
            options={"workspace_mb": engine.get("workspace_mb")},
            details={key: value for key, value in engine.items() if key not in ("file", "precision", "parity")},
        )
        for name, engine in engines.items()
    ]  # fmt: skip
