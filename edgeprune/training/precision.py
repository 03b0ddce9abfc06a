"""The precision that training computes in."""

import contextlib
from collections.abc import Iterator

import torch

PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def best_precision(device: str) -> str:
    """Return "bf16" if the hardware multiplies in it, else "fp32"."""
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if fast or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)() else "fp32"


@contextlib.contextmanager
def computing_in(precision: str, device: str) -> Iterator[None]:
    """Autocast to ``precision`` on ``device``; do nothing for fp32."""
    dtype = PRECISIONS[precision]
    with torch.autocast(device.split(":")[0], dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        yield
