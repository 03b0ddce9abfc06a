"""Describe an export to a person: a table of its files, and lines about what was skipped."""

from collections.abc import Sequence
from typing import Any

from edgeprune import backends
from edgeprune.backends.base import MODELS, Artifact, Backend
from edgeprune.backends.record import ExportRecord
from edgeprune.errors import ExportError

Heads = list[tuple[str, str]]


def artifact_table(record: ExportRecord) -> tuple[Heads, list[list[Any]]]:
    """Return columns and cells, a row for each file."""
    heads = [("file", "left"), ("size", "right"), ("parameters", "right")]
    heads += [("agrees", "right"), ("largest difference of a logit", "right")]
    return heads, [_row(artifact) for artifact in record.artifacts if artifact.file is not None]


def _row(artifact: Artifact) -> list[str]:
    size, parity = artifact.size_bytes, artifact.parity
    return [
        str(artifact.file),
        "-" if size is None else f"{size / 1e3:,.1f} kB",
        f"{artifact.params:,}",
        "-" if parity is None else f"{100 * parity.top1_agreement:.2f} %",
        "not run here" if parity is None else f"{parity.max_abs_diff:.2e}",
    ]


def lines(record: ExportRecord) -> list[str]:
    """Return why artifacts were skipped, and each backend's lines about its artifacts."""
    texts = []
    for artifact in record.artifacts:
        backend = _backend(artifact)
        title = backend.title if backend and backend.title else artifact.backend
        if artifact.skipped_because:
            same_reason = [other for other in record.artifacts if _reason(other) == _reason(artifact)]
            of = "" if len(same_reason) == len(MODELS) else f" of {artifact.model}"
            texts.append(f"{title}{of} skipped, because {artifact.skipped_because}")
            if backend and backend.builds_on_target:
                texts.append(
                    f"{title} builds its engine on the board, from the ONNX files: "
                    "edgeprune bench RUN --device jetson --host user@board"
                )
        elif backend:
            texts += backend.describe(artifact)
    return list(dict.fromkeys(texts))


def _reason(artifact: Artifact) -> Sequence[str | None]:
    return artifact.backend, artifact.precision, artifact.skipped_because


def _backend(artifact: Artifact) -> Backend | None:
    try:
        return backends.get(artifact.backend)(artifact.precision)
    except ExportError:  # of a package that is not installed any more
        return None
