"""Write ncnn's files by pnnx, in float32, with weights in fp16, or in int8.

The file is a .zip of the .param and the .bin that ncnn reads, and of what they do not say: the shape of an image, and
the precision.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from edgeprune_target.packed import pack
from edgeprune_target.scratch import scratch_folder

from edgeprune.backends.base import Artifact
from edgeprune.backends.jobs import Job
from edgeprune.backends.ncnn_files import SCALES, Layer, layers_of, quantised
from edgeprune.backends.onnx import Onnx
from edgeprune.backends.runner import RunnerBackend
from edgeprune.errors import ExportError, one_line
from edgeprune.quantization.ranges import ranges_of

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

LONGEST_S = 600
NAME = "model"


@dataclass(frozen=True)
class Ncnn(RunnerBackend):
    """Tencent's runtime for phones, on any ARM or x86 processor."""

    name = "ncnn"
    title = "ncnn"
    summary = "ncnn's files, in fp32, fp16 or int8"
    precisions = ("fp32", "fp16", "int8")
    extra = "ncnn"
    requires = ("ncnn", "pnnx", "onnx")
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {"fp32": ("onnx",), "fp16": ("onnx",), "int8": ("onnx",)}
    runtime = "ncnn"
    converts = "pnnx"

    @property
    def suffix(self) -> str:
        """The end of its files' names."""
        return f".{self.precision}.ncnn.zip"

    def convert(self, job: Job, path: Path) -> dict[str, Any]:
        """Write the file."""
        with self.converting(job):
            param, weights = self._converted(job)
            layers = layers_of(param)
            details: dict[str, Any] = {"fp16_weights": self.precision == "fp16"}
            self._pack(path, job, param, weights, "fp32" if self.precision == "int8" else self.numbers)
            if self.precision == "int8":
                images = self.images_for_int8(job)
                ranges = ranges_of(self._inputs(path, layers, images))
                param, weights = quantised(layers, weights, ranges)
                self._pack(path, job, param, weights, "int8")
                details |= {"calibration_images": len(images), "int8_layers": _in_int8(layers_of(param))}
        return details

    def describe(self, artifact: Artifact) -> list[str]:
        """Return a line about the layers in int8."""
        number = artifact.details.get("int8_layers")
        return [f"{artifact.file}: {number} layers in int8"] if artifact.file and number is not None else []

    def _converted(self, job: Job) -> tuple[str, bytes]:
        """Return what pnnx makes of the ONNX file: the .param and the .bin."""
        import onnx

        with scratch_folder() as folder:
            source = Path(folder) / f"{NAME}.onnx"
            model = onnx.load(str(job.folder / Onnx().file_name(job.name)))
            strides_as_pooling(model)
            onnx.save(model, str(source))
            shape = ",".join(map(str, (1, *job.shape)))
            fp16 = int(self.precision == "fp16")
            words = [pnnx_program(), source.name, f"inputshape=[{shape}]", f"fp16={fp16}"]
            done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=LONGEST_S)
            param, weights = source.with_suffix(".ncnn.param"), source.with_suffix(".ncnn.bin")
            if done.returncode != 0 or not param.is_file() or not weights.is_file():
                last = (
                    done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}"
                ).splitlines()[-1]
                raise ExportError(f"pnnx cannot convert the {job.name} model: {one_line(last)}")
            return param.read_text(), weights.read_bytes()

    def _pack(self, path: Path, job: Job, param: str, weights: bytes, precision: str) -> None:
        from edgeprune_target.runtimes.ncnn import ABOUT, PARAM, WEIGHTS

        about = json.dumps({"precision": precision, "shape": list(job.shape)})
        pack(str(path), {PARAM: param.encode(), WEIGHTS: weights, ABOUT: about.encode()})

    def _inputs(self, path: Path, layers: list[Layer], images: np.ndarray) -> Iterator[dict[str, np.ndarray]]:
        """Yield, for each image, the inputs of the layers that int8 is for, in float32."""
        from edgeprune_target.runtimes import make_runtime

        names = sorted({layer.inputs[0] for layer in layers if layer.kind in SCALES})
        with make_runtime("ncnn", str(path), 1) as loaded:
            for image in images:
                yield loaded.blobs(np.ascontiguousarray(image), names)  # type: ignore[attr-defined]


def pnnx_program() -> str:
    """Return the program of the Python package pnnx."""
    spec = find_spec("pnnx")
    assert spec is not None and spec.origin is not None
    return str(Path(spec.origin).parent / "pnnx")


def strides_as_pooling(model: "ModelProto") -> None:
    """Replace slices that take every n-th row or column by a pooling of one pixel: ncnn has no slices with steps."""
    from onnx import helper, numpy_helper

    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        steps = _strides(node, stored)
        if steps:
            pooling = helper.make_node(
                "MaxPool", node.input[:1], node.output, node.name, kernel_shape=[1, 1], strides=steps
            )
            nodes.append(pooling)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _strides(node: "NodeProto", stored: Mapping[str, np.ndarray]) -> list[int] | None:
    """Return the steps along height and width of a slice that does nothing else; None for any other node."""
    if node.op_type != "Slice" or len(node.input) < 5:
        return None
    if any(name not in stored for name in node.input[1:5]):
        return None
    starts, ends, axes, steps = ([int(value) for value in stored[name].ravel()] for name in node.input[1:5])
    if any(starts) or any(end < 2**31 - 1 for end in ends) or set(steps) == {1}:
        return None
    by_axis = dict(zip(axes, steps, strict=True))
    if not set(by_axis) <= {2, 3} or min(steps) < 1:
        return None
    return [by_axis.get(2, 1), by_axis.get(3, 1)]


def _in_int8(layers: list[Layer]) -> int:
    return sum(layer.kind in SCALES and "8" in layer.values for layer in layers)
