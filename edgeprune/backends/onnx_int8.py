"""Write the same ONNX graph with int8 scales, as Q/DQ nodes: in ONNX Runtime's form, or in TensorRT's.

The scales come from real images; see `edgeprune.quantization`, and its `placing` for the forms.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeprune.backends.base import Artifact
from edgeprune.backends.jobs import CALIBRATION_IMAGES, Job, calibration_batches
from edgeprune.backends.onnx import FromOnnx
from edgeprune.backends.onnx_export import quiet
from edgeprune.backends.onnx_running import joined
from edgeprune.errors import ExportError, known, one_line
from edgeprune.files.writing import write_bytes
from edgeprune.quantization.placing import ONNXRUNTIME, TENSORRT
from edgeprune.quantization.quantizing import LEAST_AGREEMENT, Quantized, Recipe, quantize
from edgeprune.quantization.ranges import METHODS
from edgeprune.quantization.trained import Trained
from edgeprune.tasks import Classification, Task

HELD_OUT = 256  # training images behind those that ranges are found on, by which layers stay in float
SHOWN = 5  # names in a line


@dataclass(frozen=True)
class OnnxInt8(FromOnnx):
    """Eight bits in ONNX Runtime's form, with the scales in the file; input and output stay float32.

    Attributes:
        calibration_images: training images that ranges are found on.
        calibrate: how a range follows from them; see `ranges.METHODS`.
        keep_float: layers that stay in float32: "auto" for as few as let the file agree with the float32 one, "none",
            how many of the most sensitive, or their names with commas between. "auto" takes the layers of a run that
            chose their precisions (`train-prune --precisions`).

    Raises:
        ExportError: there is no such method.
    """

    name = "onnx-int8"
    title = "int8 ONNX"
    summary = "the same with int8 scales in it, from training images"
    precisions = ("int8",)
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {"int8": ("onnx",)}
    optional = True  # TensorRT before 11 does without
    extension = ".int8.onnx"
    form: ClassVar[str] = ONNXRUNTIME

    calibration_images: int = CALIBRATION_IMAGES
    calibrate: str = METHODS[0]
    keep_float: str = Recipe.keep_float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.calibrate not in METHODS:
            raise ExportError(f"`calibrate`: {known('method', self.calibrate, list(METHODS))}")

    def convert(self, job: Job, path: Path) -> dict[str, Any]:
        """Write the file, and return what is known of its layers."""
        batches = calibration_batches(job.calibration, self.calibration_images + HELD_OUT)
        images, held_out = split(batches, self.calibration_images)
        recipe = Recipe(self.calibrate, self.keep_float, in_int8=self.in_int8(job), form=self.form)
        made = export_quantised(self.source(job), path, images, recipe, held_out, job.task, job.trained)
        return {
            "scales": "calibrated" if job.trained is None else "trained",
            "calibration_images": sum(map(len, images)),
            "held_out_images": sum(map(len, held_out)),
            "held_out_agreement": made.agreement,
            "chosen_by_run": recipe.in_int8 is not None,
            "equalized_pairs": made.equalized,
            "corrected_biases": made.corrected,
            "layers": [
                {"layer": layer, "relative_error": error, "in_float": layer in made.in_float}
                for layer, error in made.errors
            ],
        }

    def in_int8(self, job: Job) -> tuple[str, ...] | None:
        """Return the layers that a run chose for int8; None where it chose none, or `keep_float` says which."""
        if job.precisions is None or self.keep_float != "auto":
            return None
        return tuple(layer for layer, precision in job.precisions.items() if precision == "int8")

    def describe(self, artifact: Artifact) -> list[str]:
        """Return a line about the layers that stayed in float, and why."""
        layers: Sequence[Mapping[str, Any]] = artifact.details.get("layers") or ()
        names = [layer["layer"] for layer in layers if layer["in_float"]]
        if not artifact.file or not names:
            return []
        if artifact.details.get("chosen_by_run"):
            why = "as the run's precisions say"
        elif artifact.options.get("keep_float", "auto") == "auto":
            least = 100 * LEAST_AGREEMENT
            why = f"with fewer it agreed with float32 on less than {least:g} % of held-out training images"
        else:
            why = "as `keep_float` says"
        agreement = artifact.details.get("held_out_agreement")
        now = "" if agreement is None else f" (now on {100 * agreement:.1f} %)"
        shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
        return [f"{artifact.file}: {len(names)} of {len(layers)} layers stay in float32, {why}{now}: {shown}"]


@dataclass(frozen=True)
class OnnxInt8TensorRt(OnnxInt8):
    """The same in TensorRT's form, which it reads from version 8 on, and builds its engines from since 11."""

    name = "onnx-int8-tensorrt"
    title = "int8 ONNX for TensorRT"
    summary = "int8 scales where TensorRT wants them"
    extension = ".int8.tensorrt.onnx"
    form = TENSORRT


def split(batches: Sequence[np.ndarray], count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return batches of the first ``count`` images, and of the rest.

    Args:
        batches: of images, in order.
        count: of the first part.
    """
    first, rest = [], []
    for batch in batches:
        first.append(batch[:count])
        rest.append(batch[count:])
        count = max(0, count - len(batch))
    return [batch for batch in first if len(batch)], [batch for batch in rest if len(batch)]


def export_quantised(
    source: Path,
    path: Path,
    images: Sequence[np.ndarray],
    recipe: Recipe | None = None,
    held_out: Sequence[np.ndarray] = (),
    task: Task | None = None,
    trained: Trained | None = None,
) -> Quantized:
    """Write ``source`` (float32 ONNX) with Q/DQ nodes to ``path``; input and output stay float32.

    Args:
        source: as ``export_model`` writes it.
        path: of the result.
        images: float32 batches (n, C, H, W), normalised, to find the range of every tensor on.
        recipe: how; None for the default.
        held_out: other such batches, to choose layers by that stay in float.
        task: says when two outputs agree; classification by default.
        trained: constants and ranges of quantisation-aware training; None to find them on ``images``.

    Raises:
        ExportError: there are no images, or ONNX Runtime cannot run the model.
    """
    import onnx

    if not images:
        raise ExportError("there are no images to calibrate int8 on")
    try:
        with quiet():
            model = onnx.load(str(source))
            names = [output.name for output in model.graph.output]
            agreement = partial(_agreement, task or Classification(), names)
            made = quantize(model, images, held_out, recipe or Recipe(), agreement, trained)
    except ExportError:
        raise
    except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
        raise ExportError(
            f"{source.name} cannot be quantised: {one_line(error) or type(error).__name__}"
        ) from error
    write_bytes(path, made.model.SerializeToString(deterministic=True))
    return made


def _agreement(
    task: Task, names: list[str], expected: Sequence[np.ndarray], outputs: Sequence[np.ndarray]
) -> float:
    """Return the share of items on which a file's outputs agree with the reference's."""
    import torch

    first, second = (
        torch.from_numpy(joined(dict(zip(names, arrays, strict=True)))) for arrays in (expected, outputs)
    )
    return task.agreement(first, second)
