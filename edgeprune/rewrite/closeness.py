"""Tell whether two networks give the same numbers, up to rounding."""

import torch
from torch import Tensor

# Of the largest value of an output. A channel in the wrong place is far above the first, and rounding in float32 stays
# below the second but in networks that amplify it: what lies between is decided in float64.
TOLERANCE = {torch.float64: 1e-8, torch.float32: 5e-3, torch.bfloat16: 0.1, torch.float16: 0.05}
ROUNDING = {**TOLERANCE, torch.float32: 1e-4}


def difference(masked: list[Tensor], result: list[Tensor], tolerance: dict[torch.dtype, float]) -> int | None:
    """Return the number of the first output that differs, None where all are close.

    Args:
        masked: outputs of one network.
        result: as many of the other.
        tolerance: by type, of an output's largest value.
    """
    pairs = enumerate(zip(masked, result, strict=True))
    return next((number for number, (a, b) in pairs if not _is_close(a, b, tolerance)), None)


def are_close(masked: list[Tensor], result: list[Tensor]) -> bool:
    """Return whether two networks give the same outputs, as far as their type can tell."""
    return len(masked) == len(result) and difference(masked, result, TOLERANCE) is None


def _is_close(a: Tensor, b: Tensor, tolerance: dict[torch.dtype, float]) -> bool:
    if a.shape != b.shape:
        return False
    if a.is_complex():
        a, b = torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj())
        return _is_close(a, b, tolerance)
    if not a.is_floating_point() or not a.numel():
        return True  # content-dependent integers (kept boxes) may differ by rounding of what they depend on
    finite = torch.isfinite(a)
    if not bool((torch.isfinite(b) == finite).all()):
        return False
    allowed = tolerance.get(a.dtype, TOLERANCE[torch.float32])
    a, b = a[finite].double(), b[finite].double()
    scale = float(a.abs().max()) if a.numel() else 0.0
    return bool(((a - b).abs() <= allowed * max(scale, 1e-12)).all())
