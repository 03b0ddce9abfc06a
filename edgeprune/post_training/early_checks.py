"""Find what makes no sense in a call of `prune` before torch is imported and before anything is written."""

from pathlib import Path

from edgeprune.errors import DataError, ExportError, ModelError
from edgeprune.latency.bench_target import check_device_names
from edgeprune.models import check_weights_file, is_model_name
from edgeprune.post_training.options import PruneOptions
from edgeprune.runs.file_runs import FileRun
from edgeprune.runs.sources import ONNX, SAVED, check_source, weights_of
from edgeprune.runs.subject_options import OF_MODELS, SubjectOptions

ARRAYS = (".npy", ".npz")


def stays_torch(source: str, out: str | Path | None) -> bool:
    """Return whether a torch network itself is pruned, as the file that is to come out says, and not its ONNX file."""
    return str(out).endswith(SAVED) and not source.endswith(ONNX)


def check_before_torch(
    source: str,
    of_model: SubjectOptions,
    run_path: str | Path,
    options: PruneOptions,
    *,
    images: str | None = None,
    out: str | Path | None = None,
    force: bool = False,
) -> None:
    """Check what needs neither torch, which takes seconds to import, nor the network.

    Args:
        source: an ONNX file, a model's name, ``package.module:factory``, or a file of `edgeprune.save`.
        of_model: what was typed of a model.
        run_path: of the run folder.
        options: what is asked for.
        images: see `check_place`.
        out: where the smaller network is written beside the run folder; None to leave it there alone.
        force: replace a run of that name.

    Raises:
        EdgePruneError: something else is there, a file is missing, or an option makes no sense.
    """
    torch_network = stays_torch(source, out)
    check_out(out, torch_network=torch_network)
    weights = of_model.weights or ()
    FileRun.check_free(
        run_path, force=force, inputs=(source, images, None if out is None else str(out), *weights)
    )
    if torch_network or is_model(source):
        check_source(source, of_model)
        file = weights_of(source, of_model)
        if file is not None:
            check_weights_file(Path(file))
    else:
        check_onnx_file(source, of_model)
    if images is not None:
        check_place(images)
    if options.labels is not None:
        check_labels(Path(options.labels))
    if options.on_device:
        check_device_names(options)


def is_model(source: str) -> bool:
    """Return whether a source is a model of torch, not an ONNX file."""
    return source.endswith(SAVED) or is_model_name(source)


def check_out(out: str | Path | None, *, torch_network: bool) -> None:
    """Check where the smaller network is to be written.

    Args:
        out: the path; None for the run folder alone.
        torch_network: whether it is one of torch, not an ONNX file.

    Raises:
        ExportError: it has another suffix, or is a folder.
    """
    if torch_network:
        suffix, why = SAVED[0], "a torch network is written as a file of edgeprune.save"
    else:
        suffix, why = ONNX, "an ONNX file is pruned to an ONNX file"
    if out is not None and Path(out).suffix != suffix:
        where = "" if Path(out).suffix else " (the folder of the run is named by --run)"
        raise ExportError(f"{out} does not end in {suffix}: {why}{where}")
    if out is not None and Path(out).is_dir():
        raise ExportError(f"{out} is a folder: give the name of a file")


def check_onnx_file(source: str, options: SubjectOptions) -> None:
    """Check that an ONNX file may be there, and that nothing was typed that is of models.

    Args:
        source: its path.
        options: what was typed of a model.

    Raises:
        ModelError: there is none, or an option has no effect on it.
    """
    for name in OF_MODELS:
        if getattr(options, name) is not None:
            raise ModelError(f"`{name}` has no effect on an ONNX file, {source}: leave it out")
    if Path(source).exists():
        return
    if source.endswith(ONNX):
        raise ModelError(f"there is no file {source}: give the path of an ONNX file")
    raise ModelError(
        f"there is no file {source}, and no model of that name: give an ONNX file, torchvision:NAME, "
        "or package.module:factory"
    )


def check_place(place: str) -> None:
    """Check that inputs may be at a place: a folder of images, an .npy or .npz file, or package.module:factory.

    Raises:
        DataError: they are not.
    """
    path = Path(place)
    if path.is_dir() or (path.suffix in ARRAYS and path.exists()) or (":" in place and not path.exists()):
        return
    raise DataError(
        f"{place} is not a folder of images, an .npy or .npz file, or package.module:factory"
        + ("" if path.exists() else ", and does not exist")
    )


def check_labels(folder: Path) -> None:
    """Raise DataError unless labelled images may be in a folder."""
    if not folder.is_dir():
        raise DataError(
            f"`labels`: {folder} is not a folder: give one with a folder of images for each class"
        )
