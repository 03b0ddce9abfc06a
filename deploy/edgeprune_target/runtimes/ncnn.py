"""ncnn on the CPU."""

from __future__ import annotations

import json
import os
from pathlib import Path, PurePath
from typing import Any

from edgeprune_target.errors import TargetError
from edgeprune_target.packed import unpack
from edgeprune_target.runtimes.base import Runtime
from edgeprune_target.scratch import scratch_folder

PARAM, WEIGHTS, ABOUT = "model.ncnn.param", "model.ncnn.bin", "about.json"
# fp16 storage and arithmetic would be taken wherever the processor has them, and a float32 file give other numbers.
HALF = (
    "use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_packed", "use_bf16_storage",
)  # fmt: skip


class NcnnRuntime(Runtime):
    """One image at a time: ncnn has no batch axis.

    ``about.json`` beside the network has what the network's own files lack: its precision, and the shape of an image.
    """

    name = library = distribution = "ncnn"

    def __init__(self, model: str, threads: int, options: Any = None) -> None:
        """Import the library, its threads told to sleep while they wait: spinning ruins times on a busy machine."""
        if threads > 1:
            os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        import ncnn

        super().__init__(model, threads, options)
        self.ncnn = ncnn
        self.net: Any = None

    def load(self) -> None:
        """Read the network."""
        param, weights, about_text = unpack(self.model, PARAM, WEIGHTS, ABOUT)
        try:
            about = json.loads(about_text)
            shape, precision = tuple(map(int, about["shape"])), str(about["precision"])
        except (ValueError, KeyError, TypeError) as error:
            raise self._refusal(f"its {ABOUT} is damaged") from error
        self.inputs = {"in0": ((1, *shape), "float32")}
        net = self.ncnn.Net()
        net.opt.num_threads = self.threads
        net.opt.use_vulkan_compute = False
        for option in HALF:
            setattr(net.opt, option, precision == "fp16" and "fp16" in option)
        with scratch_folder() as folder:
            for name, content in ((PARAM, param), (WEIGHTS, weights)):
                (Path(folder) / name).write_bytes(content)
            if net.load_param(str(Path(folder) / PARAM)) != 0:
                raise self._refusal("it has a layer that this version does not know")
            if net.load_model(str(Path(folder) / WEIGHTS)) != 0:
                raise self._refusal("its weights are damaged")
        self.net, self.outputs = net, list(net.output_names())

    def free(self) -> None:
        """Drop the network."""
        self.net = None

    def infer(self, feed: dict) -> dict:
        """Run the network on each image in turn."""
        images = next(iter(feed.values()))
        rows = [self.blobs(image, self.outputs) for image in images]
        if len(rows) == 1:
            return {name: rows[0][name][None] for name in self.outputs}
        import numpy

        return {name: numpy.stack([row[name] for row in rows]) for name in self.outputs}

    def blobs(self, image: Any, names: list) -> dict:
        """Return named values inside the network for one image.

        Args:
            image: float32, C x H x W.
            names: of blobs, as in the .param file.
        """
        import numpy

        extractor = self.net.create_extractor()
        extractor.set_light_mode(len(names) == 1)  # else values are dropped once they were read
        # A copy, since a layer that computes in place, as a normalisation at the beginning, would write into the
        # caller's memory; ncnn 1.0.20261020 crashes there.
        extractor.input("in0", self.ncnn.Mat(image).clone())
        values = {}
        for name in names:
            code, value = extractor.extract(name)
            if code != 0:
                raise TargetError(f"ncnn cannot compute {name} of {PurePath(self.model).name} (code {code})")
            values[name] = numpy.array(value)
        return values

    def _refusal(self, reason: str) -> TargetError:
        return TargetError(
            f"ncnn {self.installed()} cannot load {PurePath(self.model).name}: {reason}: export the model again, or "
            "install a newer ncnn"
        )
