"""Find the subjects that a command line names: a run folder, an export, or files."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.backends.inputs import ModelInput, onnx_inputs, parse_inputs
from edgeprune.backends.record import ExportRecord, is_exported
from edgeprune.backends.subjects import Subject, Subjects, names_for
from edgeprune.bench.run import run_subjects
from edgeprune.errors import BenchError, ModelError
from edgeprune.runs.run import Run
from edgeprune.runs.subject_options import SubjectOptions
from edgeprune.tasks import Classification, Task, for_targets

if TYPE_CHECKING:
    from edgeprune.data import DataBundle

ONNX = ".onnx"


def subjects_of(sources: Sequence[str], options: SubjectOptions | None = None) -> Subjects:
    """Return the subjects of a command.

    Args:
        sources: one run folder, one folder with an export, or one or two ONNX files: the unpruned one first.
        options: what was typed of them.

    Raises:
        RunError: a run folder is missing or damaged.
        BenchError: a file is missing, or there are too many models.
        ModelError: an option that has no effect on these sources.
    """
    options = options or SubjectOptions()
    if len(sources) == 1 and not is_model(sources[0]):
        return folder_subjects(Path(sources[0]), options)
    for source in sources:
        if not is_model(source):
            raise ModelError(
                f"{source} is none of an ONNX file: two models are compared by naming two ONNX files, a run by "
                "its folder alone"
            )
    names = names_for(len(sources))
    models = tuple(
        Subject(name, source, file=Path(source)) for name, source in zip(names, sources, strict=True)
    )
    batches, task = scored_by(options, lambda: onnx_inputs(Path(sources[0])))
    return Subjects(
        " and ".join(sources),
        models,
        Path(options.out) if options.out else None,
        parse_inputs(options.inputs or ()),
        batches,
        task=task,
    )


def is_model(source: str) -> bool:
    """Return whether a name is that of a model's file, not of a folder."""
    return source.endswith(ONNX)


def folder_subjects(folder: Path, options: SubjectOptions) -> Subjects:
    """Return what was exported to a folder: of a run, or of other models.

    Raises:
        RunError: it is neither. ModelError: an option that has no effect on a run.
    """
    if is_exported(folder) and not (folder / "config.json").exists():
        record = ExportRecord.read(folder / "export", error=BenchError)
        models = tuple(Subject(name, str(folder)) for name in record.models)
        typed = parse_inputs(options.inputs or ())
        batches, task = scored_by(options, lambda: ())
        return Subjects(str(folder), models, folder, typed, batches, task=task)
    Run.open(folder)
    for name in options.typed:
        raise ModelError(f"{folder} is a run folder, which defines it: leave `{name}` out")
    return run_subjects(folder)


def scored_by(
    options: SubjectOptions, declared: Callable[[], Sequence[ModelInput]]
) -> tuple[Callable[[], Iterator[tuple[Any, Any]]] | None, Callable[[], Task]]:
    """Return what gives the test images of the data that was typed, and the task that suits their targets.

    The data is read now; there are no images where none was typed.

    Args:
        options: with the data.
        declared: gives the inputs of the model, whose size the images of a folder get.
    """
    if options.data is None:
        return None, Classification
    data = data_of(options, declared)()  # a mistake is known before minutes of measuring
    return lambda: data.batches("test"), lambda: for_targets(data.kind)


def data_of(
    options: SubjectOptions, declared: Callable[[], Sequence[ModelInput]]
) -> "Callable[[], DataBundle]":
    """Return what loads the data that was typed, once.

    Args:
        options: with the data.
        declared: gives the inputs of the model, whose size the images of a folder get.
    """

    @cache
    def load() -> "DataBundle":
        from edgeprune.data import load_data

        assert options.data is not None
        size = options.image_size
        if size is None and Path(options.data).is_dir():
            size = next((item.shape[-1] for item in declared() if len(item.shape) == 4), None)
        return load_data(options.data, root=options.data_root, image_size=size)

    return load
