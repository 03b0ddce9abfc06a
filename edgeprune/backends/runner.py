"""Base of the backends whose files are compared by the runner's own runtime, on this machine."""

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from edgeprune.backends.base import Artifact, Backend
from edgeprune.backends.jobs import CALIBRATION_IMAGES, Job, calibration_batches
from edgeprune.backends.parity import SAME_NUMBERS, Tolerance
from edgeprune.errors import ExportError, one_line

BATCH = 64  # images per call, as the scoring of accuracy has them


@dataclass(frozen=True)
class RunnerBackend(Backend):
    """Runs its files with the runtime that measures them: what is compared is what will be deployed.

    Class attributes:
        converts: what converts the model, for messages.

    Attributes:
        calibration_images: training images that int8 finds its ranges on.
    """

    tolerances: ClassVar[Mapping[str, Tolerance]] = {**Backend.tolerances, "fp32": SAME_NUMBERS}
    converts: ClassVar[str] = ""

    calibration_images: int = CALIBRATION_IMAGES

    def options(self) -> dict[str, Any]:
        """Return the options that its precision has."""
        return super().options() if self.precision == "int8" else {}

    def images_for_int8(self, job: Job) -> np.ndarray:
        """Return the training images that int8 finds its ranges on, float32 (n, C, H, W).

        Raises:
            ExportError: there are none.
        """
        return np.concatenate(calibration_batches(job.calibration, self.calibration_images))

    def outputs(self, path: Path, images: Iterable[Any]) -> Iterator[np.ndarray]:
        """Yield the file's logits."""
        from edgeprune_target.runtimes import make_runtime
        from edgeprune_target.trt.options import EngineOptions

        with make_runtime(self.runtime, str(path), 1, EngineOptions(batch=1)) as loaded:
            name = next(iter(loaded.inputs))
            for batch in images:
                for start in range(0, len(batch), BATCH):
                    part = np.ascontiguousarray(batch[start : start + BATCH], np.float32)
                    yield np.array(next(iter(loaded.infer({name: part}).values())))

    def export(self, job: Job) -> Artifact:
        """Write a model's file, compare it, and return its record; a refusal of the runtime is one of the export."""
        with refusals(), silent():
            return super().export(job)

    def write(self, job: Job) -> Path:
        """Write the file in silence and return it; it is compared with nothing."""
        with refusals(), silent():
            return super().write(job)

    @contextmanager
    def converting(self, job: Job) -> Iterator[None]:
        """Turn any error of the converter into an ExportError of one line, and silence its chatter.

        Args:
            job: the model, for the message.
        """
        from edgeprune.backends.onnx_export import quiet

        try:
            with quiet():
                yield
        except ExportError:
            raise
        except Exception as error:  # converters raise whatever torch, protobuf or their C++ does
            reason = one_line(error) or type(error).__name__
            raise ExportError(f"{self.converts} cannot convert the {job.name} model: {reason}") from error


def xnnpack_lines(artifact: Artifact) -> list[str]:
    """Return a line about what XNNPACK does not take of a file, which runs on slow kernels."""
    about = artifact.details.get("xnnpack")
    if not about or not artifact.file:
        return []
    left = ", ".join(f"{number} {op}" for op, number in about["left"].items())
    line = f"{artifact.file}: XNNPACK takes {about['delegated']} of {about['ops']} operations"
    return [line + (f", in {about['partitions']} parts; not: {left}" if left else "")]


@contextmanager
def refusals() -> Iterator[None]:
    """Turn a runtime's refusal of a file into an ExportError."""
    from edgeprune_target.errors import TargetError

    try:
        yield
    except TargetError as error:
        raise ExportError(str(error)) from error


@contextmanager
def silent() -> Iterator[None]:
    """Let nothing be written to the terminal: what is written in C++ does so without asking Python."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    copies = {number: os.dup(number) for number in (1, 2)}
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        for number in copies:
            os.dup2(nothing, number)
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        os.close(nothing)
        for number, copy in copies.items():
            os.dup2(copy, number)
            os.close(copy)
