"""Scales for int8 from real images, up to TensorRT 10; from 11 on the ONNX brings its own."""

from __future__ import annotations

from typing import Any

from edgeprune_target.errors import TargetError

BATCH = 8  # images per step, where the model leaves it free


def make_calibrator(trt: Any, gpu: Any, images: Any, batch: int) -> Any:
    """An entropy calibrator that shows TensorRT ``images``, float32 N x C x H x W, ``batch`` at a time.

    ``calibrator.shown`` counts the images; keep it alive until the engine is built.

    Raises:
        TargetError: there are fewer images than one step takes.
    """
    if len(images) < batch:
        raise TargetError(f"int8 is calibrated on {batch} images at a time, and there are {len(images)}")

    class Calibrator(trt.IInt8EntropyCalibrator2):
        """Entropy calibration is NVIDIA's choice for CNNs."""

        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)
            self.batch = batch
            self.shown = 0
            self.table = b""
            self.host = gpu.host_array((self.batch, *images.shape[1:]), "float32")
            self.address = gpu.allocate(self.host.nbytes)

        def get_batch_size(self) -> int:
            """Images per step."""
            return self.batch

        def get_batch(self, names: list) -> list | None:
            """Addresses of the next images, one per input; None when all were shown."""
            if self.shown + self.batch > len(images):
                return None
            self.host[...] = images[self.shown : self.shown + self.batch]
            gpu.upload(self.address, self.host)
            gpu.synchronize()
            self.shown += self.batch
            return [self.address for _ in names]

        def read_calibration_cache(self) -> bytes | None:
            """None: the scales are of this very model."""
            return None

        def write_calibration_cache(self, table: bytes) -> None:
            """Keep the scales that came out."""
            self.table = bytes(table)

    return Calibrator()
