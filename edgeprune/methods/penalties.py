"""Regularised training: penalties that shrink channels before they are removed."""

import math
from collections import Counter
from collections.abc import Callable

from torch import Tensor, nn

from edgeprune.graph.classes import Graph
from edgeprune.training import Callback

SHRINK = 0.66  # fraction by which the penalty shrinks a weight without a loss gradient, over the phase


class Slimming(Callback):
    """Adds s sign(gamma) to the gradient of every BatchNorm scale that belongs to a class.

    Source: Liu et al., Learning Efficient Convolutional Networks through Network Slimming, 2017: s = 1e-4 for
    160 epochs. A phase of another length wants another s: here, for each layer, what takes ``shrink`` of its
    mean scale over the whole phase from a scale that the loss does not defend.

    Args:
        graph: of the model in training.
        lr_integral: distance by which a constant gradient of 1 moves a weight over the phase; see `lr_integral`.
        shrink: share of its mean scale that an undefended scale loses over the phase.
    """

    def __init__(self, graph: Graph, lr_integral: float, shrink: float = SHRINK) -> None:
        norms = [m for m in graph.model.modules() if isinstance(m, nn.modules.batchnorm._NormBase)]
        self.scales = [m.weight for m in norms if isinstance(m.weight, nn.Parameter)]
        means = [float(w.detach().abs().mean()) for w in self.scales]
        self.strengths = [shrink * mean / max(lr_integral, 1e-12) for mean in means]

    def before_update(self, rate: float) -> None:  # noqa: ARG002
        """Add the penalty's gradient."""
        for scale, strength in zip(self.scales, self.strengths, strict=True):
            if scale.grad is not None:
                scale.grad.add_(scale.detach().sign(), alpha=strength)


class GroupLasso(Callback):
    """Adds the gradient of lambda (sum ||W[n]||_2 + sum ||W[:, c]||_2) over filters and input channels.

    Source: Wen et al., Learning Structured Sparsity in Deep Neural Networks, 2016. Its lambdas are set by
    hand for each net; here lambda of a layer is what takes ``shrink`` of its mean group norm over the phase.
    A weight that stands in groups of two axes is pulled by both, each then by half.

    Args:
        graph: of the model in training.
        lr_integral: as for `Slimming`.
        shrink: share of its mean group norm that an undefended group loses over the phase.
    """

    def __init__(self, graph: Graph, lr_integral: float, shrink: float = SHRINK) -> None:
        named = dict(graph.model.named_parameters())
        grouped = [
            (name, axis)
            for (name, axis), classes in graph.param_axes.items()
            if name in named and named[name].dim() > 1 and (classes >= 0).any()
        ]
        axes = Counter(name for name, _ in grouped)
        self.groups: list[tuple[nn.Parameter, int, float]] = []
        for name, axis in grouped:
            mean = float(_norms(named[name].detach(), axis).mean())
            self.groups.append((named[name], axis, shrink * mean / axes[name] / max(lr_integral, 1e-12)))

    def before_update(self, rate: float) -> None:
        """Add the penalty's gradient; a step never takes more than a group's whole norm."""
        for parameter, axis, strength in self.groups:
            if parameter.grad is None:
                continue
            norms = _norms(parameter.detach(), axis)
            share = (strength / norms.clamp(min=1e-12)).clamp(max=1 / max(rate, 1e-12))
            parameter.grad.add_(parameter.detach() * along(share, axis, parameter.dim()))


def _norms(weight: Tensor, axis: int) -> Tensor:
    """(channels along ``axis``,) Euclidean norms."""
    return weight.movedim(axis, 0).flatten(1).norm(dim=1)


def along(vector: Tensor, axis: int, dims: int) -> Tensor:
    """Reshape a vector so that it multiplies a tensor along one axis.

    Args:
        vector: (n,).
        axis: of the tensor, which has length n there.
        dims: number of axes of the tensor.

    Returns:
        A view of ``vector`` with length 1 along all other axes.
    """
    view = [1] * dims
    view[axis] = -1
    return vector.view(view)


def lr_integral(rate_at: Callable[[int], float], steps: int, momentum: float) -> float:
    """Return the distance by which SGD moves a weight whose gradient is always 1: sum of rates / (1 - mu).

    Args:
        rate_at: learning rate at a step, numbered from 0.
        steps: length of the phase.
        momentum: mu, below 1.
    """
    return math.fsum(rate_at(step) for step in range(steps)) / (1 - momentum)
