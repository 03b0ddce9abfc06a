"""Find the subjects that a command line names: a run folder, an export, saved networks, models by name, ONNX files."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune_target.scratch import scratch_folder

from edgeprune.backends.inputs import ModelInput, onnx_inputs, parse_inputs
from edgeprune.backends.record import ExportRecord, is_exported
from edgeprune.backends.subjects import Subject, Subjects, names_for, run_subjects
from edgeprune.errors import BenchError, ModelError, RunError, near_miss
from edgeprune.models import is_model_name, model_names
from edgeprune.processes.progress import ProgressCallback
from edgeprune.runs.file_runs import FileRun
from edgeprune.runs.near import similar_run
from edgeprune.runs.run import Run
from edgeprune.runs.sources import ONNX, SAVED, check_source, example_for, load_source
from edgeprune.runs.subject_options import OF_MODELS, SubjectOptions
from edgeprune.tasks import Classification, Task, for_targets

if TYPE_CHECKING:
    from edgeprune.data import DataBundle


def subjects_of(sources: Sequence[str], options: SubjectOptions | None = None) -> Subjects:
    """Return the subjects of a command.

    Args:
        sources: one run folder, or one folder with an export; or one or two models, the unpruned one first: files that
            `edgeprune.save` wrote, names of models, ``package.module:factory``, or ONNX files.
        options: what was typed of them.

    Raises:
        RunError: a run folder is missing or damaged.
        BenchError: a file is missing, or there are too many models.
        ModelError: there is no such model, or an option has no effect on these sources.
    """
    options = options or SubjectOptions()
    names = names_for(len(sources))
    if len(sources) == 1 and is_folder(sources[0]) and not Path(sources[0]).is_file():
        return folder_subjects(Path(sources[0]), options)
    for source in sources:
        if is_folder(source) and Path(source).is_file():
            raise ModelError(
                f"{source} is no file of a model (.onnx, or .safetensors of edgeprune.save): weights alone need their "
                "class, as in package.module:factory with `weights`"
            )
        if is_folder(source):
            raise ModelError(
                f"{source} is a folder: a run or an export is named alone, models by their files or names"
            )
    kinds = {source.endswith(ONNX) for source in sources}
    if len(kinds) > 1:
        raise ModelError(
            f"{' and '.join(sources)}: one is an ONNX file, the other is not: export that one, then name two files"
        )
    title, folder = " and ".join(sources), Path(options.out) if options.out else None
    if kinds == {True}:
        _refuse(options, [name for name in OF_MODELS if name != "inputs"], "an ONNX file, which needs no")
        files = [Path(source) for source in sources]
        models = tuple(Subject(n, str(f), file=f) for n, f in zip(names, files, strict=True))
        data = data_of(options, lambda: onnx_inputs(files[0]))
        return Subjects(title, models, folder, parse_inputs(options.inputs or ()), data, task=task_of(data))
    models = tuple(
        Subject(
            name,
            source,
            load=partial(load_source, source, options, weights),
            example=partial(example_for, source=source, options=options),
        )
        for name, source, weights in zip(names, sources, _weights_of(sources, options), strict=True)
    )
    for source in sources:
        check_source(source, options)
    data = data_of(options, lambda: parse_inputs(options.inputs or ()))
    return Subjects(title, models, folder, data=data, task=task_of(data))


def is_folder(source: str) -> bool:
    """Return whether a name is that of a folder, or of none that there is, and not of a model."""
    return not (source.endswith((ONNX, *SAVED)) or is_model_name(source)) or Path(source).is_dir()


def folder_subjects(folder: Path, options: SubjectOptions) -> Subjects:
    """Return what was exported to a folder: of a run, or of other models.

    Raises:
        RunError: it is neither. ModelError: an option that has no effect on a run.
    """
    if is_exported(folder) and not (folder / "config.json").exists():
        _refuse(
            options, [*(name for name in OF_MODELS if name != "inputs"), "out"], "an export, which needs no"
        )
        record = ExportRecord.read(folder / "export", error=BenchError)
        models = tuple(Subject(name, str(folder)) for name in record.models)
        typed = parse_inputs(options.inputs or ())
        data = data_of(options, lambda: ())
        again = FileRun.open(folder).inputs_words() if FileRun.matches(folder) else ""
        return Subjects(str(folder), models, folder, typed, data, task=task_of(data), inputs_words=again)
    if FileRun.matches(folder):
        FileRun.open(folder).summary()  # raises: it is not finished
    if not folder.exists() and (hint := similar_run(folder) or near_miss(str(folder), model_names())):
        raise RunError(f"no such run folder, and no such model: {folder}{hint}")
    Run.open(folder)
    for name in options.typed:
        raise ModelError(f"{folder} is a run folder, which defines it: leave `{name}` out")
    return run_subjects(folder)


@contextmanager
def measurable(
    subjects: Subjects, to: Sequence[str], progress: ProgressCallback | None = None
) -> Iterator[Subjects]:
    """Yield subjects whose files are there: models are exported first, to their folder or to a temporary one.

    Args:
        subjects: as `subjects_of` returned them.
        to: backends.
        progress: called with (done, total, text) before each step.
    """
    if subjects.is_run or subjects.files is not None or subjects.models[0].load is None:
        yield subjects
        return
    from edgeprune.backends import export_run

    with scratch_folder() as folder:
        place = subjects.folder or Path(folder)
        export_run(replace(subjects, folder=place), to=to, progress=progress)
        record = ExportRecord.read(place / "export", error=BenchError)
        files = {artifact.model: artifact.file for artifact in record.artifacts if artifact.backend == "onnx"}
        if subjects.folder is None and len(to) == 1:  # nothing is written beside files that do not stay
            models = tuple(
                replace(model, file=place / "export" / str(files[model.name])) for model in subjects.models
            )
            yield replace(subjects, models=models)
        else:
            yield replace(subjects, folder=place)


def _weights_of(sources: Sequence[str], options: SubjectOptions) -> list[str | None]:
    """Return the weights of each source, None where it brings its own or has random ones.

    Raises:
        ModelError: there are more or fewer than models that take weights.
    """
    if options.weights is None:
        return [None] * len(sources)
    takers = [source for source in sources if not source.endswith(SAVED)]
    if len(options.weights) != len(takers):
        raise ModelError(
            f"`weights` is given {len(options.weights)} times for {len(takers)} models that take weights "
            f"({', '.join(takers) or 'a saved network has its own'}): give it once for each"
        )
    files = iter(options.weights)
    return [None if source.endswith(SAVED) else next(files) for source in sources]


def _refuse(options: SubjectOptions, names: Sequence[str], what: str) -> None:
    for name in names:
        if getattr(options, name) is not None:
            raise ModelError(f"`{name}` has no effect on {what} class, weights or example: leave it out")


def task_of(data: "Callable[[], DataBundle] | None") -> Callable[[], Task]:
    """Return what gives the task that suits the targets of data; classification where there are none."""
    return Classification if data is None else lambda: for_targets(data().kind)


def data_of(
    options: SubjectOptions, declared: Callable[[], Sequence[ModelInput]]
) -> "Callable[[], DataBundle] | None":
    """Return what gives the data that was typed, which is read now; None where none was.

    Args:
        options: with the data.
        declared: gives the inputs of the model, whose size the images of a folder get.
    """
    if options.data is None:
        return None

    @cache
    def load() -> "DataBundle":
        from edgeprune.data import load_data

        assert options.data is not None
        size = options.image_size
        if size is None and Path(options.data).is_dir():
            size = next((item.shape[-1] for item in declared() if len(item.shape) >= 3), None)
        return load_data(options.data, root=options.data_root, image_size=size)

    load()  # a mistake is known before minutes of work
    return load


__all__ = ["folder_subjects", "measurable", "subjects_of"]
