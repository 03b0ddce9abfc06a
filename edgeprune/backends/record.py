"""Read and write export.json: the artifacts in a run's export folder."""

from pathlib import Path

from edgeprune.backends.base import ALONE, MODELS, Backend
from edgeprune.errors import EdgePruneError, ExportError, RunError
from edgeprune.files.reading import read_json
from edgeprune.records.checking import HINT
from edgeprune.records.export import FILE, Artifact, ExportFile
from edgeprune.records.trust import trust_words


class ExportRecord(ExportFile, frozen=True):
    """The record of an export folder, as who handles its files asks it."""

    @classmethod
    def read(
        cls, folder: Path, *, error: type[EdgePruneError] = RunError, hint: str = HINT
    ) -> "ExportRecord":
        """Read the record of an export folder, of this schema or an earlier one.

        Args:
            folder: "export" of a run.
            error: class of the errors.
            hint: what to do about a record that does not fit.

        Raises:
            EdgePruneError: of class ``error``: there is none, or it does not fit.
        """
        return super().read(folder / FILE, error=error, hint=hint)

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
        artifacts, paths = self.of(backend), {}
        for model in self.models:
            artifact = artifacts.get(model)
            name = artifact.file if artifact and artifact.file else backend.file_name(model)
            if artifact and artifact.skipped_because:
                raise error(
                    f"{run} has no export/{name}: it was skipped, because {artifact.skipped_because}; then: "
                    f"{export_command(run, backend)}"
                )
            paths[model] = run / "export" / name
            if artifact is None or not paths[model].is_file():
                raise error(f"{run} has no export/{name}: make it with: {export_command(run, backend)}")
            backend.check_file(paths[model])
        return paths


def export_command(run: Path, backend: Backend) -> str:
    """Return the command that exports a run to a backend in its precision."""
    to = "" if backend.name == "onnx" else f" --to {backend.name}"
    several = len(backend.precisions) > 1 and backend.precision != backend.precisions[0]
    precision = f" --precision {backend.precision}" if several else ""
    return f"edgeprune export {run}{to}{precision}{trust_words(_model_of(run))}"


def _model_of(run: Path) -> str | None:
    """Return the model that a run's configuration names, which an export builds; None where none can be read."""
    try:
        options = read_json(run / "config.json")["options"]
        return options["model"] if isinstance(options["model"], str) else None
    except (EdgePruneError, OSError, KeyError, TypeError):
        return None


def is_exported(run: Path) -> bool:
    """Return whether a run has an export folder with a record."""
    return (run / "export" / FILE).is_file()
