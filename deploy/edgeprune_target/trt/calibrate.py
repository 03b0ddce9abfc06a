"""Calibrate int8 scales on real images, up to TensorRT 10; from 11 on the ONNX contains them."""

from __future__ import annotations

from typing import Any

from edgeprune_target.errors import TargetError

BATCH = 8  # images per step, if the model's batch is dynamic


def make_calibrator(trt: Any, gpu: Any, images: Any, batch: int) -> Any:
    """Make an entropy calibrator that feeds images to TensorRT; ``calibrator.shown`` counts them.

    It must be kept alive until the engine is built.

    Args:
        trt: the module ``tensorrt``.
        gpu: see ``edgeprune_target.cuda``.
        images: float32, N x C x H x W.
        batch: images per step.

    Raises:
        TargetError: there are fewer images than one step needs.
    """
    if len(images) < batch:
        raise TargetError(f"int8 is calibrated on {batch} images at a time, and there are {len(images)}")

    class Calibrator(trt.IInt8EntropyCalibrator2):
        """Entropy calibration, which NVIDIA recommends for CNNs."""

        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)
            self.batch = batch
            self.shown = 0
            self.table = b""
            self.host = gpu.host_array((self.batch, *images.shape[1:]), "float32")
            self.address = gpu.allocate(self.host.nbytes)

        def get_batch_size(self) -> int:
            """Return the images per step."""
            return self.batch

        def get_batch(self, names: list) -> list | None:
            """Return the addresses of the next images, one per input; None after the last."""
            if self.shown + self.batch > len(images):
                return None
            self.host[...] = images[self.shown : self.shown + self.batch]
            gpu.upload(self.address, self.host)
            gpu.synchronize()
            self.shown += self.batch
            return [self.address for _ in names]

        def read_calibration_cache(self) -> bytes | None:
            """Return None: the scales are computed for this model."""
            return None

        def write_calibration_cache(self, table: bytes) -> None:
            """Store the computed scales."""
            self.table = bytes(table)

    return Calibrator()
