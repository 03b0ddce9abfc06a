"""Does the ONNX file compute what the torch model computes? Both are run on the same images."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune.errors import ExportError
from edgeprune.export.onnx import INPUT, OUTPUT

# Two float32 programs that sum in another order differ by some 1e-6 of the logits; a wrong one by 1e-1.
TOLERANCE = 1e-4
LEAST_AGREEMENT = 0.99  # the rest may be ties within the tolerance


@dataclass(frozen=True)
class Parity:
    """How far two models' logits are apart.

    ``top1_agreement`` is the share of images, 0 to 1, for which both name the same class;
    ``max_abs_diff`` is in units of the logits, ``logit_scale`` the largest absolute torch logit, and
    ``max_rel_diff`` the first over the second.
    """

    images: int
    top1_agreement: float
    max_abs_diff: float
    logit_scale: float
    max_rel_diff: float

    @property
    def finite(self) -> bool:
        """Whether all that was compared were numbers."""
        figures = (self.top1_agreement, self.max_abs_diff, self.logit_scale, self.max_rel_diff)
        return bool(np.isfinite(figures).all())

    @property
    def holds(self) -> bool:
        """Whether both agree within `TOLERANCE`; never for logits that are not numbers."""
        return self.finite and self.max_rel_diff <= TOLERANCE and self.top1_agreement >= LEAST_AGREEMENT


def parity_of(expected: np.ndarray, got: np.ndarray) -> Parity:
    """Compare two arrays of logits of shape (N, classes), ``expected`` being torch's."""
    if expected.shape != got.shape:
        raise ExportError(f"the ONNX model gives logits of shape {got.shape}, torch of {expected.shape}")
    scale = float(np.abs(expected).max())
    difference = float(np.abs(expected.astype(np.float64) - got).max())
    return Parity(
        images=len(expected),
        top1_agreement=float((expected.argmax(1) == got.argmax(1)).mean()),
        max_abs_diff=difference,
        logit_scale=scale,
        max_rel_diff=difference / scale if scale else difference,
    )


def measure_parity(model: nn.Module, path: Path, batches: Iterable[tuple[Tensor, Tensor]]) -> Parity:
    """Run the torch model and the ONNX file on the images of ``batches``, labels unused.

    The first image is also run by itself, so that a batch axis that is not free shows.

    Args:
        model: in eval mode, on the CPU.
        path: of the ONNX file.
        batches: (float32 (N, C, H, W), labels) pairs, at least one.

    Raises:
        ExportError: when ONNX Runtime cannot load or run the file.
    """
    images = [batch for batch, _ in batches]
    if not images:
        raise ExportError("there are no images to compare the exported model on")
    images.insert(0, images[0][:1])
    with torch.inference_mode():
        expected = np.concatenate([model(batch).numpy() for batch in images])
    got = np.concatenate(list(run_onnx(path, images)))
    parity = parity_of(expected[1:], got[1:])
    alone = parity_of(expected[:1], got[:1])
    return parity if alone.holds else alone


def run_onnx(path: Path, images: Iterable[Tensor]) -> Iterator[np.ndarray]:
    """Logits of the ONNX file for each batch, by ONNX Runtime; ExportError when it cannot load or run it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    try:
        if _is_quantised(path):
            # The file is checked, not the machine: without VNNI fused integer kernels saturate at 16 bits.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for batch in images:
            yield session.run([OUTPUT], {INPUT: batch.numpy()})[0]
    except Exception as error:  # ONNX Runtime's own exceptions derive from Exception alone
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ExportError(f"ONNX Runtime cannot run {path.name}: {reason}") from error


def _is_quantised(path: Path) -> bool:
    """Tell whether an ONNX file holds quantised numbers."""
    import onnx

    nodes = onnx.load(str(path), load_external_data=False).graph.node
    return any(node.op_type == "QuantizeLinear" for node in nodes)


def check_parity(parity: Parity, name: str) -> None:
    """Raise ExportError, with the figures, unless ``parity`` holds."""
    if not parity.finite:
        raise ExportError(
            f"the exported {name} model disagrees with torch on {parity.images} images: logits are not all "
            "numbers, by one or both; nothing was kept, look for NaN in its weights"
        )
    if not parity.holds:
        raise ExportError(
            f"the exported {name} model disagrees with torch on {parity.images} images: "
            f"top-1 agreement {100 * parity.top1_agreement:.2f} %, largest difference "
            f"{parity.max_abs_diff:.3g} ({parity.max_rel_diff:.3g} of the logits, {TOLERANCE:g} allowed); "
            "nothing was kept, try another opset"
        )
