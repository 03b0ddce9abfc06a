"""Models by name as the ONNX files that are pruned: torchvision's, the zoo's, a user's own, saved networks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeprune_target.scratch import scratch_folder

from edgeprune.backends.onnx import export_model
from edgeprune.errors import ModelError
from edgeprune.models import is_model_name
from edgeprune.runs.sources import ONNX, SAVED, check_source, example_for, load_source, weights_of
from edgeprune.runs.subject_options import OF_MODELS, SubjectOptions

OPSET = 17  # the newest that torch's older exporter writes, in a tenth of the time that the newer one takes


@contextmanager
def file_of(source: str, options: SubjectOptions) -> Iterator[Path]:
    """Yield the ONNX file that a source is, or one that it is exported to, which is gone after the block.

    Args:
        source: an ONNX file, a model's name, ``package.module:factory``, or a file of `edgeprune.save`.
        options: what was typed of a model.

    Raises:
        ModelError: there is no such model, it would have random weights, or an option has no effect on it.
        ExportError: torch cannot write it as ONNX.
    """
    if not source.endswith(SAVED) and not is_model_name(source):
        _check_file(source, options)
        yield Path(source)
        return
    check_source(source, options)
    model = load_source(source, options, weights_of(source, options))
    with scratch_folder() as folder:
        example = example_for(model, source, options)
        yield export_model(model, example, Path(folder) / "model.onnx", opset=OPSET).path


def _check_file(source: str, options: SubjectOptions) -> None:
    for name in OF_MODELS:
        if getattr(options, name) is not None:
            raise ModelError(f"`{name}` has no effect on an ONNX file, {source}: leave it out")
    if not source.endswith(ONNX) and not Path(source).exists():
        raise ModelError(
            f"there is no file {source}, and no model of that name: give an ONNX file, torchvision:NAME, "
            "or package.module:factory"
        )
