"""How to train, and in which precision."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from edgeprune.errors import TrainError, known
from edgeprune.training.rates import SCHEDULES


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How to train. ``schedule`` names a factor on ``lr`` over the share of training done.

    ``ema`` is the decay of a running average of the weights, which is what a stage ends with (0: none).
    """

    batch_size: int = 128
    lr: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 1e-4
    schedule: str = "thesis"
    label_smoothing: float = 0.0
    ema: float = 0.0
    precision: str = "fp32"
    device: str = "cpu"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise TrainError(known("schedule", self.schedule, list(SCHEDULES)))
        if self.precision not in PRECISIONS:
            raise TrainError(known("precision", self.precision, list(PRECISIONS)))

    def rate_at(self, step: int, whole: int) -> float:
        """Return the learning rate at one of ``whole`` steps."""
        return self.lr * SCHEDULES[self.schedule](step / max(1, whole))


PRECISIONS: dict[str, torch.dtype | None] = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def best_precision(device: str) -> str:
    """bf16 where the hardware multiplies in it, else fp32."""
    if device.startswith("cuda"):
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    fast = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
    return "bf16" if fast or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)() else "fp32"


@contextlib.contextmanager
def computing_in(precision: str, device: str) -> Iterator[None]:
    """Autocast to ``precision`` on ``device``; nothing for fp32."""
    dtype = PRECISIONS[precision]
    with torch.autocast(device.split(":")[0], dtype=dtype or torch.bfloat16, enabled=dtype is not None):
        yield
