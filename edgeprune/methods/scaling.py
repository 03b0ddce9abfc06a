"""Sparse structure selection: a factor on every class, driven to zero by a proximal step."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from edgeprune.errors import ModelError
from edgeprune.graph.classes import Graph
from edgeprune.methods.penalties import SHRINK, along
from edgeprune.training import Callback


class ScaledInputs(nn.Module):
    """A weight times the factors of the classes it reads, along ``axis``; class -1 has factor 1."""

    def __init__(self, owner: "ScaleFactors", classes: NDArray[np.int64], axis: int, dims: int) -> None:
        super().__init__()
        self._owner = (owner,)  # in a tuple, so that it is not registered as a submodule
        self._classes, self._axis, self._dims = torch.from_numpy(classes.copy()), axis, dims

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight (…, C_in, …), scaled by the factors of its inputs."""
        factors = self._owner[0].factors
        every = torch.cat([factors, factors.new_ones(1)])
        return weight * along(every[self._classes.to(factors.device)], self._axis, self._dims)


class ScaleFactors(Callback):
    """One factor for each class, trained with the network; those at zero are removed.

    The factors multiply every weight that reads their class. Where something without weights reads it (a
    zero-padding shortcut), nothing is scaled, and fine-tuning compensates for a removed channel.

    Source: Huang & Wang, Data-Driven Sparse Structure Selection for Deep Neural Networks, 2018, as in its
    code (APG-NAG): z = S(f - eta g, eta gamma), v' = z - f + mu v, f' = max(0, z + mu v'), factors begin at 1
    and have no weight decay. gamma is what would take ``shrink`` off every factor over the whole phase.

    Args:
        graph: of the model in training; its reading layers are given the factors in place.
        lr_integral: see `penalties.lr_integral`.
        momentum: mu.
        shrink: share that an undefended factor loses over the phase.
        device: torch's, on which the factors lie.

    Raises:
        ModelError: no layer with weights reads any class.
    """

    def __init__(
        self,
        graph: Graph,
        lr_integral: float,
        momentum: float = 0.9,
        shrink: float = SHRINK,
        device: str = "cpu",
    ) -> None:
        self.graph, self.momentum, self.gamma = graph, momentum, shrink / max(lr_integral, 1e-12)
        self.factors = torch.ones(graph.classes, device=device, requires_grad=True)
        self.velocity = torch.zeros(graph.classes, device=device)
        self._rate = 0.0
        self._layers = self._attach()
        if not self._layers:
            raise ModelError(
                "no layer of this model reads channels that may be pruned: there is nothing to scale"
            )

    def _attach(self) -> list[nn.Module]:
        layers = []
        for (name, axis), classes in self.graph.param_axes.items():
            path, _, leaf = name.rpartition(".")
            layer = self.graph.model.get_submodule(path)
            weight = getattr(layer, leaf)
            writes = self.graph.flow.outputs.get(name, axis) == axis
            if not isinstance(weight, nn.Parameter) or weight.dim() < 2 or writes or not (classes >= 0).any():
                continue
            parametrize.register_parametrization(
                layer, leaf, ScaledInputs(self, classes, axis, weight.dim()), unsafe=True
            )
            layers.append(layer)
        return layers

    def fold(self) -> NDArray[np.float64]:
        """Multiply the factors into the weights for good; return the (classes,) factors, which are the scores."""
        for layer in self._layers:
            for name in list(layer.parametrizations):  # type: ignore[arg-type]
                parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
        return self.factors.detach().double().cpu().numpy()

    def leaves(self) -> list[Tensor]:
        """Return the factors."""
        return [self.factors]

    def before_update(self, rate: float) -> None:
        """Take the proximal step on the factors."""
        with torch.no_grad():
            gradient = torch.zeros_like(self.factors) if self.factors.grad is None else self.factors.grad
            moved = self.factors - rate * gradient
            shrunk = moved.sign() * (moved.abs() - rate * self.gamma).clamp(min=0)
            self.velocity = shrunk - self.factors + self.momentum * self.velocity
            self.factors.copy_((shrunk + self.momentum * self.velocity).clamp(min=0))
        self.factors.grad = None

    def after_step(self, step: int, loss: float = math.nan) -> dict[str, Any]:  # noqa: ARG002
        """Return the number of factors that are zero."""
        return {"zero_factors": int((self.factors == 0).sum())}

    def state(self) -> dict[str, Any]:
        """Return factors and velocities."""
        return {"factors": self.factors.detach(), "velocity": self.velocity}

    def restore(self, state: dict[str, Any]) -> None:
        """Restore what `state` returned."""
        with torch.no_grad():
            self.factors.copy_(torch.as_tensor(state["factors"]))  # lists in checkpoints of earlier versions
            self.velocity.copy_(torch.as_tensor(state["velocity"]))
