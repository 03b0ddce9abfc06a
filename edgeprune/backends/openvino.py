"""Write OpenVINO's intermediate representation, in float32, or in int8 by NNCF.

NNCF quantises weights by output channel and activations by tensor, and corrects biases; it knows which
operators OpenVINO's kernels want in int8. The file is a .zip of the two files that OpenVINO reads.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from edgeprune.backends.base import INPUT, Artifact
from edgeprune.backends.jobs import Job
from edgeprune.backends.onnx import Onnx
from edgeprune.backends.parity import Parity
from edgeprune.backends.runner import RunnerBackend


@dataclass(frozen=True)
class OpenVino(RunnerBackend):
    """Intel's runtime, on any x86 or ARM processor."""

    name = "openvino"
    title = "OpenVINO"
    summary = "OpenVINO's files, in fp32 or int8"
    precisions = ("fp32", "int8")
    extra = "openvino"
    requires = ("openvino", "onnx")
    requires_for: ClassVar[Mapping[str, tuple[str, ...]]] = {"int8": ("nncf",)}
    needs: ClassVar[Mapping[str, tuple[str, ...]]] = {"fp32": ("onnx",), "int8": ("onnx",)}
    runtime = "openvino"
    times_layers = True
    converts = "OpenVINO"

    @property
    def suffix(self) -> str:
        """The end of its files' names."""
        return f".{self.precision}.openvino.zip"

    def convert(self, job: Job, path: Path) -> dict[str, Any]:
        """Write the file."""
        from edgeprune_target.packed import pack
        from edgeprune_target.runtimes.openvino import PARTS

        with self.converting(job), no_telemetry():
            import openvino

            network = openvino.Core().read_model(str(job.folder / Onnx().file_name(job.name)))
            details: dict[str, Any] = {}
            if self.precision == "int8":
                network, details = self._quantised(network, job)
            pack(str(path), dict(zip(PARTS, _files_of(network), strict=True)))
        return details

    def _quantised(self, network: Any, job: Job) -> tuple[Any, dict[str, Any]]:
        """Return the network with its ranges in it, and the number of images they were found on."""
        import nncf
        from nncf.quantization.advanced_parameters import AdvancedQuantizationParameters
        from nncf.quantization.range_estimator import RangeEstimatorParametersSet

        images = self.images_for_int8(job)
        quantised = nncf.quantize(
            network,
            nncf.Dataset([{INPUT: image[None]} for image in images]),
            preset=nncf.QuantizationPreset.MIXED,  # activations after Hardswish and the like are lopsided
            subset_size=len(images),
            # By default ranges are means over images, which cut off what every second one reaches: the logits of a
            # MobileNetV2 were 16 % off, and are 3 % by the extremes.
            advanced_parameters=AdvancedQuantizationParameters(
                activations_range_estimator_params=RangeEstimatorParametersSet.MINMAX
            ),
        )
        return quantised, {"calibration_images": len(images), "quantised_by": f"nncf {nncf.__version__}"}

    def keep(self, path: Path, details: Mapping[str, Any], parity: Parity | None) -> dict[str, Any]:  # noqa: ARG002
        """Add what the layers compute in on this machine.

        Args:
            path: of the file.
            details: as `convert` returned them.
            parity: with the reference.
        """
        from edgeprune_target.runtimes import make_runtime

        with make_runtime(self.runtime, str(path), 1) as loaded:
            return {**details, "kernels_here": loaded.kernels()}  # type: ignore[attr-defined]

    def describe(self, artifact: Artifact) -> list[str]:
        """Return a line for each kind of layer that does not run in int8 here."""
        kernels: Mapping[str, Mapping[str, int]] = artifact.details.get("kernels_here") or {}
        if artifact.precision != "int8" or not artifact.file:
            return []
        total = sum(sum(counts.values()) for counts in kernels.values())
        in_int8 = sum(
            number for counts in kernels.values() for kind, number in counts.items() if kind in ("i8", "u8")
        )
        return [
            f"{artifact.file}: {in_int8} of {total} convolutions and products run in int8 on this machine"
        ]


def _files_of(network: Any) -> tuple[bytes, bytes]:
    """Return the .xml and the .bin of a network, its weights as they are."""
    import openvino
    from edgeprune_target.scratch import scratch_folder

    with scratch_folder() as folder:
        place = Path(folder) / "model.xml"
        openvino.save_model(network, str(place), compress_to_fp16=False)
        return place.read_bytes(), place.with_suffix(".bin").read_bytes()


@contextmanager
def no_telemetry() -> Iterator[None]:
    """Keep OpenVINO and NNCF from reporting home: their reports stop where the environment says CI."""
    before = os.environ.get("CI")
    os.environ["CI"] = "true"
    try:
        yield
    finally:
        os.environ.pop("CI")
        if before is not None:
            os.environ["CI"] = before
