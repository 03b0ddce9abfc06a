"""Read and write export.json: the artifacts in a run's export folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgeprune.backends.base import ALONE, MODELS, Artifact, Backend
from edgeprune.errors import EdgePruneError, ExportError, RunError
from edgeprune.records.checking import HINT
from edgeprune.records.export import FILE, SCHEMA, read_export


@dataclass(frozen=True)
class ExportRecord:
    """The record of an export folder.

    Attributes:
        artifacts: what was exported, and what was skipped.
        versions: package -> version, of the latest export.
        settings: of the latest export.
        input: name, dtype, shape and normalisation of the models' input.
        output: name, dtype and shape of their output.
        classes: names of the image classes.
    """

    artifacts: tuple[Artifact, ...]
    versions: Mapping[str, str | None] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    input: Mapping[str, Any] = field(default_factory=dict)
    output: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] = ()

    def with_artifacts(self, artifacts: tuple[Artifact, ...]) -> "ExportRecord":
        """Return the record with other artifacts."""
        return replace(self, artifacts=artifacts)

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "schema": SCHEMA,
            "versions": dict(self.versions),
            "settings": dict(self.settings),
            "input": dict(self.input),
            "output": dict(self.output),
            "classes": list(self.classes),
            "artifacts": [artifact.to_dict() for artifact in self.artifacts],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "ExportRecord":
        """Make it from JSON that was checked, see `edgeprune.records.export`."""
        artifacts = tuple(map(Artifact.from_dict, content["artifacts"]))
        about = {key: content.get(key, {}) for key in ("versions", "settings", "input", "output")}
        return cls(artifacts, **about, classes=tuple(content.get("classes", ())))

    @classmethod
    def read(
        cls, folder: Path, *, error: type[EdgePruneError] = RunError, hint: str = HINT
    ) -> "ExportRecord":
        """Read the record of an export folder, of this schema or an earlier one.

        Args:
            folder: "export" of a run.
            error: what to raise.
            hint: what to do about a record that does not fit.

        Raises:
            EdgePruneError: of class ``error``: there is none, or it does not fit.
        """
        return cls.from_dict(read_export(folder / FILE, error=error, hint=hint))

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models that were exported: a pair, or one alone."""
        return ALONE if {artifact.model for artifact in self.artifacts} == {*ALONE} else MODELS

    def of(self, backend: Backend) -> dict[str, Artifact]:
        """Return {model: artifact} of a backend in its precision, skipped ones among them."""
        kind = (backend.name, backend.precision)
        return {
            artifact.model: artifact
            for artifact in self.artifacts
            if (artifact.backend, artifact.precision) == kind
        }

    def files(
        self, backend: Backend, run: Path, *, error: type[EdgePruneError] = ExportError
    ) -> dict[str, Path]:
        """Return the file of each model of a run that a backend exported.

        Args:
            backend: in its precision.
            run: the run folder.
            error: what to raise.

        Raises:
            EdgePruneError: of class ``error``: one was not exported, was skipped, or is gone; names the command.
        """
        command = export_command(run, backend)
        artifacts, paths = self.of(backend), {}
        for model in self.models:
            artifact = artifacts.get(model)
            name = artifact.file if artifact and artifact.file else backend.file_name(model)
            if artifact and artifact.skipped_because:
                raise error(
                    f"{run} has no export/{name}: it was skipped, because {artifact.skipped_because}; then: {command}"
                )
            paths[model] = run / "export" / name
            if artifact is None or not paths[model].is_file():
                raise error(f"{run} has no export/{name}: make it with: {command}")
            backend.check_file(paths[model])
        return paths


def export_command(run: Path, backend: Backend) -> str:
    """Return the command that exports a run to a backend in its precision."""
    to = "" if backend.name == "onnx" else f" --to {backend.name}"
    several = len(backend.precisions) > 1 and backend.precision != backend.precisions[0]
    return f"edgeprune export {run}{to}" + (f" --precision {backend.precision}" if several else "")


def is_exported(run: Path) -> bool:
    """Return whether a run has an export folder with a record."""
    return (run / "export" / FILE).is_file()
