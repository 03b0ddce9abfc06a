"""Quantisation-aware training: the last stage of a run that is to be deployed in int8."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from edgeprune_target.scratch import scratch_folder
from torch import nn

from edgeprune.backends.onnx_export import export_model
from edgeprune.backends.subjects import QUANTIZED
from edgeprune.errors import TrainError
from edgeprune.onnx_graph import files
from edgeprune.onnx_graph.network import network_of
from edgeprune.quantization.placing import places_of
from edgeprune.quantization.quantizing import Quantizer, Recipe
from edgeprune.train_prune.fake_quant import FakeQuantized
from edgeprune.train_prune.stage_context import QUANTIZE, StageContext

LR_SHARE = 0.1  # of their learning rate: the network is trained, and is to get used to rounding


@dataclass(frozen=True)
class QuantizeStage:
    """Trains the pruned network with int8 rounding, distilled from itself in float32."""

    context: StageContext

    def execute(self) -> None:
        """Train, and save constants and ranges for `export`, unless the run has them."""
        context, o = self.context, self.context.options
        if o.quantize is None or context.run.has(QUANTIZED):
            return
        pruned = context.run.load("pruned")
        model = self.fake_quantized(pruned)
        options = replace(
            context.train_options((o.lr or 0.01) * LR_SHARE, "cosine"), precision="fp32", compile=False
        )
        teacher = pruned if context.task.distills_from(o.model) and o.distill is not False else None
        context.stage(
            QUANTIZE, model, options, context.steps(context.quantize_epochs), teacher=teacher
        ).train()
        arrays = model.trained().to_arrays()
        context.run.save_tensors(
            Path(QUANTIZED).stem, {name: torch.from_numpy(array) for name, array in arrays.items()}
        )

    def fake_quantized(self, pruned: nn.Module) -> FakeQuantized:
        """Return the network of the pruned model's ONNX graph, with ranges found on training images.

        Args:
            pruned: in eval mode, on the CPU.
        """
        data, context = self.context.data, self.context
        context.progress(0, 1, "quantize: ranges of activations")
        images = context.calibration_images()
        with scratch_folder() as folder:
            path = Path(folder) / "pruned.onnx"
            export_model(pruned, data.shape, path, outputs=context.task.output_names)
            file = files.read(path)
        quantizer = Quantizer(file.model, images, Recipe())
        chosen = context.run.precisions()
        layers = [layer for layer in quantizer.layers if chosen is None or chosen.get(layer.name) == "int8"]
        if not layers:
            raise TrainError("`quantize`: the pruned network has no convolution or matrix product for int8")
        places = places_of(quantizer.model, layers, quantizer.recipe.form)
        network = network_of(files.OnnxFile(quantizer.model, file.name), torch.zeros(2, *data.shape))
        return FakeQuantized(network, layers, places, quantizer.ranges)
