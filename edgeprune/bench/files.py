"""Choose the files to measure: exported artifacts for the device's runtime, or files that the caller names."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgeprune.backends import ExportRecord, for_runtime, runtimes
from edgeprune.backends.base import ALONE, MODELS, Backend
from edgeprune.backends.onnx import Onnx
from edgeprune.backends.record import FILE, export_command, is_exported
from edgeprune.backends.subjects import Subjects
from edgeprune.bench.browser import PROVIDERS
from edgeprune.devices import BROWSER, Device
from edgeprune.errors import BenchError, ExportError, known


@dataclass(frozen=True)
class ExportedFiles:
    """What was exported of a run, or of other models.

    Attributes:
        run: the folder that ``export/`` is in.
        record: of what was exported.
    """

    run: Path
    record: ExportRecord

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models."""
        return self.record.models

    def of(self, backend: Backend, _runtime: str) -> Mapping[str, Path]:
        """Return {model: file} of a backend.

        Raises:
            BenchError: they were not exported; names the command.
        """
        return self.record.files(backend, self.run, error=BenchError)

    def onnx(self, model: str) -> Path | None:
        """Return a model's float32 ONNX file, from which its layers are read; None where there is none."""
        artifact = self.record.of(Onnx()).get(model)
        return self.run / "export" / artifact.file if artifact and artifact.file else None


@dataclass(frozen=True)
class LooseFiles:
    """Files that belong to no run.

    Attributes:
        paths: model -> file.
    """

    paths: Mapping[str, Path]

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the models."""
        return tuple(self.paths)

    def of(self, backend: Backend, runtime: str) -> Mapping[str, Path]:
        """Return {model: file}: the files themselves, or the one in another precision beside an ONNX file.

        Args:
            backend: whose files the runtime loads.
            runtime: with its version, for the message.

        Raises:
            BenchError: there is no such file beside it.
        """
        onnx = Onnx().suffix
        typed = f".{backend.numbers}{onnx}"  # the user's own file in that precision, perhaps
        files = {}
        for model, path in self.paths.items():
            derived = backend.suffix.endswith(onnx) and backend.name != Onnx.name
            if derived and path.name.endswith(onnx) and not path.name.endswith(backend.suffix):
                own = path if path.name.endswith(typed) else None
                stem = path.name.removesuffix(onnx if own is None else typed)
                path = path.with_name(backend.file_name(stem))
                if own is not None and not path.is_file():
                    path = own
                if not path.is_file():
                    raise BenchError(
                        f"{runtime} takes the precision from the ONNX file, and there is no {path.name}: "
                        f"{_remedy(path, backend)}"
                    )
            files[model] = path
        return files

    def onnx(self, model: str) -> Path | None:
        """Return a model's ONNX file; None where it is a file of another kind."""
        path = self.paths[model]
        return path if path.name.endswith(Onnx().suffix) else None


Files = ExportedFiles | LooseFiles


def _remedy(path: Path, backend: Backend) -> str:
    """Return what makes a missing file of a backend."""
    if is_exported(path.parent.parent) or path.parent.name == "export":
        return f"make it with: {export_command(path.parent.parent, backend)}"
    return f"put the {backend.precision} file beside it, or measure with `precision=fp32`"


def exported_files(run: Path) -> ExportedFiles:
    """Return what was exported of a run, or of other models to a folder.

    Raises:
        BenchError: nothing was exported, the record is damaged, or its ONNX files are missing; names the
            command.
    """
    if not run.is_dir():
        raise BenchError(f"no such run folder: {run}")
    command = f"edgeprune export {run}"
    if not is_exported(run):
        raise BenchError(f"{run} has no export/{FILE}: make it with: {command}")
    hint = f"export again with: {command}"
    files = ExportedFiles(run, ExportRecord.read(run / "export", error=BenchError, hint=hint))
    if files.record.of(Onnx()):
        files.of(
            Onnx(), Onnx.title
        )  # what is missing, or reads other files, is known before a device is asked
    return files


def loose_files(models: Mapping[str, str | Path]) -> LooseFiles:
    """Return the files of both models, or of one alone, by name.

    Raises:
        BenchError: a model is not named, or its file is missing.
    """
    names = ALONE if tuple(models) == ALONE else MODELS
    for name in names:
        if name not in models:
            raise BenchError(f"no model named {name!r} was given: name them {' and '.join(MODELS)}")
        if not Path(models[name]).is_file():
            raise BenchError(f"no such model file: {models[name]}")
    return LooseFiles({name: Path(models[name]) for name in names})


def measuring_with(device: Device, runtime: str | None, precision: str | None) -> Device:
    """Return a device with another runtime or precision than its profile names.

    Args:
        device: the profile.
        runtime: of the runner; None for those of the profile.
        precision: of the numbers; None for the runtime's usual one.

    Raises:
        BenchError: there is no such runtime, it has no such precision, or it is a browser's and the device is none.
    """
    if runtime is None and precision is None:
        return device
    if runtime is not None and runtime not in runtimes():
        raise BenchError(known("runtime", runtime, runtimes()))
    of_runtime = None if runtime is None else for_runtime(runtime)
    if of_runtime is not None and of_runtime.why_not_measured:
        raise BenchError(f"{runtime} is not measured by edgeprune: {of_runtime.why_not_measured}")
    if runtime in PROVIDERS and device.name != BROWSER:
        raise BenchError(f"{runtime} runs in a browser alone: measure it with `device={BROWSER}`")
    if runtime not in (None, *PROVIDERS) and device.name == BROWSER:
        raise BenchError(f"a browser has no {runtime}: it runs {' or '.join(PROVIDERS)}")
    names = [runtime] if runtime else [*device.runtimes] or [device.runtime]
    chosen: dict[str, str] = {}
    for name in names:
        try:
            backend = for_runtime(name, precision or device.runtimes.get(name))
        except ExportError as error:
            raise BenchError(str(error)) from error
        chosen[name] = backend.numbers if backend else precision or device.precision
    first, numbers = next(iter(chosen.items()))
    return replace(device, runtime=first, precision=numbers, runtimes=chosen)


def files_of(models: Mapping[str, str | Path] | Files | Subjects) -> Files:
    """Return the files in one form.

    Raises:
        BenchError: a model is not named, its file is missing, or nothing was exported; names the command.
    """
    if isinstance(models, Subjects):
        if models.files is None:
            assert models.folder is not None
            return exported_files(models.folder)
        models = models.files
    return loose_files(models) if isinstance(models, Mapping) else models
