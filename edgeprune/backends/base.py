"""Define the base class of backends, and the record of their files."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeprune.backends.jobs import Job
from edgeprune.backends.parity import Tolerance, parity_of, torch_outputs
from edgeprune.errors import ExportError, known
from edgeprune.files.reading import sha256
from edgeprune.records.export import Artifact, Parity

MODELS = ("baseline", "pruned")
ALONE = ("model",)  # the name of one that is exported or measured without another
INPUT, OUTPUT, BATCH = "input", "logits", "batch"  # names in every exported file that has names

# Ten bits of mantissa (fp16, and TF32 in convolutions) err by some 1e-3 in a deep network, a wrong file by 1e-1 and
# more. Eight bits move single logits more, classes less.
TOLERANCES = {"fp32": Tolerance(0.01, 0.99), "fp16": Tolerance(0.02, 0.98), "int8": Tolerance(0.5, 0.9)}


@dataclass(frozen=True)
class Backend:
    """A kind of file that a model can be exported to, with its options as fields.

    A backend has a ``name``, a ``runtime`` and `convert`; with `outputs` its files are compared with the model.
    Subclasses that have options are frozen dataclasses.

    Attributes:
        precision: of the numbers; None for the first of ``precisions``.

    Class attributes:
        name: on the command line and in records, such as "onnx-int8".
        title: for people.
        summary: one line for help.
        precisions: that it can write, the default first.
        extension: of its files, such as ".fp16.onnx"; empty for one made of precision and name.
        extra: of edgeprune's package that installs its requirements, as in pip install 'edgeprune[EXTRA]'.
        sidecars: suffixes, added to a file's name, of the files that it writes beside it, such as ".json".
        requires: packages that must be importable.
        requires_for: precision -> further such packages.
        recorded: packages whose versions are recorded; None for those of ``requires``.
        needs: precision -> names of backends that are run before it.
        tolerances: precision -> how far outputs may be from the reference's.
        compared_with: the reference, for messages.
        optional: whether a model that it cannot write is skipped instead of an error.
        runtime: of the target-side runner, which runs the files.
        also_run_by: further runtimes that load the same files.
        target_package: what installs the runtime on a board, for pip; empty where it has the runtime's name.
        runtime_file: a Python file with that runtime, sent along with the files; None for the runner's own.
        why_not_measured: why the runner has no such runtime; empty where it has.
        builds_on_target: whether the runtime builds an engine from the file, in a precision that it is given.
        times_layers: whether the runtime tells how long each layer takes.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    precisions: ClassVar[tuple[str, ...]] = ("fp32",)
    extension: ClassVar[str] = ""
    extra: ClassVar[str | None] = None
    sidecars: ClassVar[tuple[str, ...]] = ()
    requires: ClassVar[tuple[str, ...]] = ()
    requires_for: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    recorded: ClassVar[tuple[str, ...] | None] = None
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    tolerances: ClassVar[Mapping[str, Tolerance]] = TOLERANCES
    compared_with: ClassVar[str] = "torch"
    optional: ClassVar[bool] = False
    runtime: ClassVar[str] = ""
    also_run_by: ClassVar[tuple[str, ...]] = ()
    target_package: ClassVar[str] = ""
    runtime_file: ClassVar[Path | None] = None
    why_not_measured: ClassVar[str] = ""
    builds_on_target: ClassVar[bool] = False
    times_layers: ClassVar[bool] = False

    precision: str | None = None

    def __post_init__(self) -> None:
        if self.precision is None:
            object.__setattr__(self, "precision", self.precisions[0])
        if self.precision not in self.precisions:
            raise ExportError(
                f"{known('precision', self.precision or '', list(self.precisions))} ({self.name})"
            )

    # --- properties ---------------------------------------------------------------------------------------

    @property
    def numbers(self) -> str:
        """The precision, never None."""
        assert self.precision is not None
        return self.precision

    @property
    def suffix(self) -> str:
        """The end of its files' names."""
        several = len(self.precisions) > 1
        return self.extension or (f".{self.precision}.{self.name}" if several else f".{self.name}")

    @property
    def needed_packages(self) -> tuple[str, ...]:
        """The packages that must be importable for its precision."""
        return (*self.requires, *self.requires_for.get(self.numbers, ()))

    def file_name(self, model: str) -> str:
        """Return the name of a model's file."""
        return f"{model}{self.suffix}"

    def options(self) -> dict[str, Any]:
        """Return its options as JSON, the precision left out."""
        values = {
            option.name: getattr(self, option.name) for option in fields(self) if option.name != "precision"
        }
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    def versions(self) -> dict[str, str | None]:
        """Return {package: version} of what takes part."""
        return {package: package_version(package) for package in self.recorded or self.needed_packages}

    def why_skipped(self) -> str | None:
        """Return one line that says why nothing can be exported here, and the remedy; None when it can."""
        return why_missing(self.needed_packages, self.extra)

    def measured_file(self, _runtime_version: str | None = None) -> "Backend":
        """Return the backend whose files its runtime loads, for this precision and that version."""
        return self

    # --- exporting ----------------------------------------------------------------------------------------

    def convert(self, job: Job, path: Path) -> Mapping[str, Any]:
        """Write the file; return details for its record.

        Args:
            job: the model, its shape and images.
            path: of the file.

        Raises:
            ExportError: it cannot be written; names the operation.
        """
        raise NotImplementedError

    def write(self, job: Job) -> Path:
        """Write the file and return it; it is compared with nothing: for measurements of time alone.

        Args:
            job: the model, its shape and images.

        Raises:
            ExportError: it cannot be written.
        """
        path = job.folder / self.file_name(job.name)
        self.convert(job, path)
        return path

    def outputs(self, path: Path, images: Iterable[Any]) -> Iterator[np.ndarray] | None:  # noqa: ARG002
        """Yield a file's logits (N, classes) for each batch; None where it cannot be run on this machine."""
        return None

    def expected(self, job: Job, images: Iterable[Any]) -> Iterator[np.ndarray]:
        """Yield the reference's logits for each batch: torch's."""
        return torch_outputs(job.model, images, job.task)

    def compare(self, job: Job, path: Path) -> Parity | None:
        """Compare a file with the reference on the job's images; None where it cannot be run here."""
        batches = [batch for batch, _ in job.images()]
        if not batches:
            raise ExportError("there are no images to compare the exported model on")
        outputs = self.outputs(path, batches)
        if outputs is None:
            return None
        expected = np.concatenate(list(self.expected(job, batches)))
        return parity_of(expected, np.concatenate(list(outputs)), job.task)

    def check(self, parity: Parity, name: str) -> None:
        """Raise ExportError, with the figures, unless ``parity`` is within the tolerance.

        Args:
            parity: of a file.
            name: of the file.
        """
        self.tolerances[self.numbers].check(parity, name, self.numbers, self.compared_with)

    def keep(
        self,
        path: Path,  # noqa: ARG002
        details: Mapping[str, Any],
        parity: Parity | None,  # noqa: ARG002
    ) -> Mapping[str, Any]:
        """Finish a file that agrees with the reference; return details for its record.

        Args:
            path: of the file.
            details: as `convert` returned them.
            parity: with the reference.
        """
        return details

    def discard(self, path: Path) -> None:
        """Remove a file that failed, and its sidecars."""
        for place in (path, *(path.with_name(path.name + end) for end in self.sidecars)):
            place.unlink(missing_ok=True)

    def export(self, job: Job) -> Artifact:
        """Write a model's file, compare it, and return its record.

        Raises:
            ExportError: it cannot be written, or disagrees; the file is then removed.
        """
        path = job.folder / self.file_name(job.name)
        try:
            details = self.convert(job, path)
            parity = self.compare(job, path)
            if parity is not None:
                self.check(parity, path.name)
            details = self.keep(path, details, parity)
        except BaseException as error:
            self.discard(path)
            if self.optional and isinstance(error, ExportError):
                return self.skipped(job, str(error))
            raise
        written = {"file": path.name, "sha256": sha256(path), "size_bytes": path.stat().st_size}
        return artifact_of(self, job, **written, details=details, parity=parity)

    def skipped(self, job: Job, reason: str) -> Artifact:
        """Return the record of a file that was not made."""
        return artifact_of(self, job, file=None, sha256=None, size_bytes=None, skipped_because=reason)

    # --- for code that handles its files -------------------------------------------------------------------

    def check_file(self, path: Path) -> None:
        """Raise BenchError for a file that reads other files when it is loaded; accept any by default."""

    def describe(self, artifact: Artifact) -> list[str]:  # noqa: ARG002
        """Return lines about one of its artifacts, beside the table that has its size and parity."""
        return []


def artifact_of(backend: Backend, job: Job, **about: Any) -> Artifact:
    """Return the record of a backend's file.

    Args:
        backend: that made it, or did not.
        job: its model.
        about: the fields that are about the file.
    """
    return Artifact(
        backend=backend.name,
        precision=backend.numbers,
        model=job.name,
        params=sum(weight.numel() for weight in job.model.parameters()),
        weights_sha256=job.weights_sha256,
        versions=backend.versions(),
        options=backend.options(),
        **about,
    )


def why_missing(packages: Iterable[str], extra: str | None) -> str | None:
    """Return one line that says which of some packages is missing, and the remedy; None where all are there.

    Args:
        packages: that must be importable.
        extra: of edgeprune's package that installs them.
    """
    for package in packages:
        if find_spec(package) is None:
            requirement = f"edgeprune[{extra}]" if extra else package
            return f"the Python package {package} is not installed: pip install '{requirement}'"
    return None


def package_version(package: str) -> str | None:
    """Return the version of an installed package, else None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None
