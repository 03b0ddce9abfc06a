"""Compare an exported file with the model it was made from: both run on the same images."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec.structs import replace

from edgeprune.errors import ExportError
from edgeprune.records.export import Parity
from edgeprune.tasks import Classification, Task

if TYPE_CHECKING:
    from torch import Tensor, nn

Outputs = Mapping[str, np.ndarray]  # of one batch


@dataclass(frozen=True)
class Tolerance:
    """The largest allowed difference of a file's logits from the reference's.

    Attributes:
        max_rel_diff: largest difference over the largest logit.
        top1_agreement: smallest fraction of images for which both predict the same class.
    """

    max_rel_diff: float
    top1_agreement: float

    def allows(self, parity: Parity) -> bool:
        """Return whether ``parity`` is within the tolerance; never for logits that are not finite."""
        within = parity.max_rel_diff <= self.max_rel_diff and parity.top1_agreement >= self.top1_agreement
        return parity.finite and within

    def check(self, parity: Parity, name: str, precision: str, reference: str) -> None:
        """Raise ExportError, with the figures, unless ``parity`` is within the tolerance.

        Args:
            parity: of a file.
            name: of the file.
            precision: of its numbers.
            reference: that it was compared with.
        """
        if not self.allows(parity):
            raise ExportError(
                f"{name} disagrees with {reference} on {parity.images} images: agreement "
                f"{100 * parity.top1_agreement:.2f} % ({100 * self.top1_agreement:g} % is the least for "
                f"{precision}), largest difference {parity.max_rel_diff:.3g} of the logits "
                f"({self.max_rel_diff:g} allowed); it was not kept: try another `precision`"
            )


# Two float32 programs that sum in another order differ by some 1e-6 of the logits; a wrong one by 1e-1. The rest of
# the images may be ties within the tolerance.
SAME_NUMBERS = Tolerance(1e-4, 0.99)


def parity_of(expected: np.ndarray, got: np.ndarray, task: Task | None = None) -> Parity:
    """Compare logits with those of the reference.

    Args:
        expected: of the reference, (N, classes, ...).
        got: of the file, the same shape.
        task: says when two outputs agree; classification by default.

    Raises:
        ExportError: their shapes differ.
    """
    if expected.shape != got.shape:
        raise ExportError(
            f"the exported model gives logits of shape {got.shape}, the reference of {expected.shape}"
        )
    import torch

    task = task or Classification()
    scale = float(np.abs(expected).max())
    difference = float(np.abs(expected.astype(np.float64) - got).max())
    return Parity(
        images=len(expected),
        top1_agreement=task.agreement(torch.from_numpy(expected), torch.from_numpy(got)),
        max_abs_diff=difference,
        logit_scale=scale,
        max_rel_diff=difference / scale if scale else difference,
    )


def parity_over(expected: Iterable[Outputs], got: Iterable[Outputs]) -> Parity:
    """Compare all outputs over all batches; the figures are those of the worst output.

    Args:
        expected: of the reference, for each batch: arrays by name.
        got: of the file, likewise.

    Raises:
        ExportError: there are other outputs, or their shapes differ.
    """
    batches = [
        (list(first.items()), list(second.items())) for first, second in zip(expected, got, strict=True)
    ]
    names, others = ([name for name, _ in outputs] for outputs in batches[0])
    if len(names) != len(others):
        raise ExportError(
            f"the exported model gives {', '.join(others)}, the reference {', '.join(names)}: export it again"
        )
    parities = []
    for place in range(len(names)):
        reference = _joined([first[place][1] for first, _ in batches])
        parities.append(_parity_of_any(reference, _joined([second[place][1] for _, second in batches])))
    worst = max(parities, key=lambda parity: (not parity.finite, parity.max_rel_diff))
    return replace(worst, top1_agreement=min(parity.top1_agreement for parity in parities))


def _parity_of_any(expected: np.ndarray, got: np.ndarray) -> Parity:
    """Compare one output of any shape and type: where the largest value lies, or items that are the same.

    Raises:
        ExportError: their shapes differ.
    """
    if expected.shape != got.shape:
        raise ExportError(
            f"the exported model gives an output of shape {got.shape}, the reference of {expected.shape}"
        )
    first, second = expected.astype(np.float64), got.astype(np.float64)
    scale, difference = (float(np.abs(array).max(initial=0.0)) for array in (first, first - second))
    same = np.isclose(first, second, rtol=1e-3, atol=1e-5)
    if first.ndim > 1 and first.size:
        same = first.argmax(1) == second.argmax(1)
    return Parity(
        images=len(first) if first.ndim else 1,
        top1_agreement=float(same.mean()) if same.size else 1.0,
        max_abs_diff=difference,
        logit_scale=scale,
        max_rel_diff=difference / scale if scale else difference,
    )


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    """Return one array with the rows of several; flat where they have none in common."""
    if all(array.ndim and array.shape[1:] == arrays[0].shape[1:] for array in arrays):
        return np.concatenate(arrays)
    return np.concatenate([array.reshape(-1) for array in arrays])


def named_arrays(model: "nn.Module", examples: Iterable[tuple[Any, ...]]) -> Iterator[Outputs]:
    """Yield the outputs of a model by name, for forward's arguments; in eval mode, on the CPU."""
    import torch

    from edgeprune.backends.flat import named_outputs

    for arguments in examples:
        with torch.inference_mode():
            outputs = named_outputs(model(*arguments))
        yield {name: _array(tensor) for name, tensor in outputs.items()}


def _array(tensor: "Tensor") -> np.ndarray:
    import torch

    narrow = tensor.dtype in (torch.bfloat16, torch.float16)
    return np.asarray((tensor.float() if narrow else tensor).numpy())


def torch_outputs(
    model: "nn.Module", images: Iterable[Any], task: Task | None = None
) -> Iterator[np.ndarray]:
    """Yield the logits of a model for each batch.

    Args:
        model: in eval mode and on the CPU.
        images: batches.
        task: says what of a model's output is compared; classification by default.
    """
    import torch

    task = task or Classification()
    for batch in images:
        with torch.inference_mode():
            yield task.outputs_of(model(batch)).numpy()
