"""Models by name as the ONNX files that are pruned: torchvision's, the zoo's, a user's own, saved networks."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgeprune_target.scratch import scratch_folder

from edgeprune.backends.onnx import export_model
from edgeprune.post_training.early_checks import check_onnx_file, is_model
from edgeprune.runs.sources import check_source, example_for, load_source, weights_of
from edgeprune.runs.subject_options import SubjectOptions

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
    if not is_model(source):
        check_onnx_file(source, options)
        yield Path(source)
        return
    check_source(source, options)
    model = load_source(source, options, weights_of(source, options))
    with scratch_folder() as folder:
        example = example_for(model, source, options)
        yield export_model(model, example, Path(folder) / "model.onnx", opset=OPSET).path
