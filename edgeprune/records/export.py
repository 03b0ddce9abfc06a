"""The record of an export, and its schema 1, which is read and upgraded."""

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta, Struct

from edgeprune.errors import EdgePruneError
from edgeprune.records.base import FileRecord, Record
from edgeprune.records.checking import check
from edgeprune.records.fields import Amount, Count, Digest, Name, Positive, Share

FILE = "export.json"
FileName = Annotated[str, Meta(pattern=r"^(?!\.\.?$)[^/\\]+$", max_length=255)]
Which = Annotated[str, Meta(pattern="^(baseline|pruned|model)$")]
Versions = Mapping[str, str | None]


class Parity(Record, frozen=True, kw_only=True):
    """The difference of two models' logits.

    Attributes:
        images: number of images that both were run on.
        top1_agreement: fraction, 0 to 1, that agrees by the task: of images with the same class, of pixels ...
        max_abs_diff: largest difference, in units of the logits.
        logit_scale: largest absolute logit of the reference.
        max_rel_diff: the first over the second.
    """

    images: Count = 0
    top1_agreement: Share
    max_abs_diff: Amount
    logit_scale: Amount = 0.0
    max_rel_diff: Amount

    @property
    def finite(self) -> bool:
        """Whether all logits are finite."""
        figures = (self.top1_agreement, self.max_abs_diff, self.logit_scale, self.max_rel_diff)
        return all(map(isfinite, figures))


class Artifact(Record, frozen=True):
    """One exported file, or why there is none.

    Attributes:
        backend: name of the one that made it.
        precision: of its numbers.
        model: "baseline" or "pruned", or "model" for one alone.
        file: its name in the export folder; None where it was skipped.
        sha256: of the file; None also where an earlier version did not record it.
        size_bytes: of the file.
        params: of the model.
        weights_sha256: of the model's weights.
        versions: package -> version that was used.
        options: of the backend.
        details: whatever else the backend records.
        parity: how far its outputs are from the reference's; None where it cannot be run here.
        skipped_because: one line; None where there is a file.
    """

    backend: Name
    precision: Name
    model: Which
    file: FileName | None
    sha256: Digest | None
    size_bytes: Positive | None
    params: Count
    weights_sha256: Digest | None = None
    versions: Versions = {}
    options: Mapping[str, Any] = {}
    details: Mapping[str, Any] = {}
    parity: Parity | None = None
    skipped_because: str | None = None

    def __post_init__(self) -> None:
        if (self.file is None) != (self.skipped_because is not None):
            raise ValueError("an artifact has either a file or a reason why it was skipped")


class ExportFile(FileRecord, frozen=True, kw_only=True):
    """export.json.

    Attributes:
        versions: package -> version, of the latest export.
        settings: of the latest export.
        input: name, dtype, shape and normalisation of the models' input.
        output: name, dtype and shape of their output.
        classes: names of the image classes.
        artifacts: what was exported, and what was skipped.
    """

    SCHEMA: ClassVar[int] = 2

    versions: Versions = {}
    settings: Mapping[str, Any] = {}
    input: Mapping[str, Any] = {}
    output: Mapping[str, Any] = {}
    classes: tuple[str, ...] = ()
    artifacts: tuple[Artifact, ...]

    @classmethod
    def upgraded(cls, value: Any, where: Path | str, *, error: type[EdgePruneError], hint: str) -> Any:
        """Return a value of schema 1 in schema 2, and any other unchanged; see `upgraded_from_1`.

        Args:
            value: as read.
            where: the file, for the message.
            error: class of the errors.
            hint: the remedy, added to the message.
        """
        if not isinstance(value, dict) or value.get("schema") != 1 or value["schema"] is True:
            return value
        return upgraded_from_1(check(value, ExportFile1, where, error=error, hint=hint))


class OnnxModel1(Struct):
    """One ONNX file, in schema 1."""

    file: FileName
    sha256: Digest
    size_bytes: Positive
    params: Count
    parity: Parity


class OnnxModels1(Struct, forbid_unknown_fields=True):
    """Both ONNX files, in schema 1."""

    baseline: OnnxModel1
    pruned: OnnxModel1


class TypedFile1(Struct):
    """An ONNX file in the engine's precision, in schema 1."""

    file: FileName | None
    reason: str | None = None
    parity: Parity | None = None


class Engine1(Struct):
    """One engine, in schema 1."""

    file: FileName
    tensorrt: str
    engine_sha256: Digest
    engine_bytes: Positive
    parity: Parity


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


def upgraded_from_1(record: dict[str, Any]) -> dict[str, Any]:
    """Convert a checked record of schema 1 to schema 2.

    Schema 1 has no digest of ONNX files in fp16 and int8, and no digest of the weights: they are None.
    """
    about = ("versions", "settings", "input", "output", "classes")
    shared: dict[str, Any] = {str(key): record[key] for key in about if key in record}
    return {"schema": 2, **shared, "artifacts": [*_onnx(record), *_typed(record), *_engines(record)]}


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
