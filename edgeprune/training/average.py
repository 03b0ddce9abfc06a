"""Exponential moving average of a model's weights."""

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn


class Average:
    """w_avg <- d w_avg + (1 - d) w after each step, over parameters and floating buffers.

    d is ``decay``, or (1 + n) / (10 + n) while that is less, so that the first weights do not dominate a short
    training. Source: Polyak & Juditsky, 1992; the ramp is TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model, self.decay, self.taken = model, decay, 0
        self.tensors = {k: v.detach().clone() for k, v in self._own().items()}

    def _own(self) -> dict[str, Tensor]:
        return {k: v for k, v in self.model.state_dict(keep_vars=True).items() if v.is_floating_point()}

    def update(self) -> None:
        """Update the average with the model's weights."""
        self.taken += 1
        keep = min(self.decay, (1 + self.taken) / (10 + self.taken))
        with torch.no_grad():
            for name, value in self._own().items():
                self.tensors[name].lerp_(value.detach(), 1 - keep)

    @contextlib.contextmanager
    def in_model(self) -> Iterator[None]:
        """Put the averaged weights into the model, and restore its own afterwards."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    def swap(self) -> None:
        """Exchange the average and the model's weights."""
        with torch.no_grad():
            for name, value in self._own().items():
                model_value = value.detach().clone()
                value.copy_(self.tensors[name])
                self.tensors[name] = model_value
