"""Taylor criteria: the first-order change of the loss if a channel were zero."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeprune.errors import PlanError
from edgeprune.graph.classes import Graph
from edgeprune.importance.batches import Batches, each_batch, images_in, map_tensors, pair_of, tensors_among
from edgeprune.importance.combine import LayerScores, Scores, check_combining, combine
from edgeprune.importance.options import choice, count_or_all, function
from edgeprune.importance.sites import Site, moved_to, run_calls, run_network, written_sites
from edgeprune.recording.taps import Tap

Loss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class _Form:
    """Place of the gates, whether each image has its own, and how the source combines the scores."""

    through: str
    by_image: bool
    reduction: str
    normalise: str


_FORMS = {"gate": _Form("norm", False, "sum", "none"), "map": _Form("activation", True, "mean", "l2")}


def taylor(
    graph: Graph,
    *,
    batches: Batches | None = None,
    form: str = "gate",
    loss: Loss = F.cross_entropy,
    limit: int | None = None,
    reduction: str | None = None,
    normalise: str | None = None,
) -> Scores:
    """Estimate the first-order change of the loss from gradients. Needs images and labels.

    ``form='gate'``: Molchanov et al., Importance Estimation for Neural Network Pruning, 2019. A gate g = 1 on
    each channel, after the BatchNorm where one follows: (g dL/dg)^2, which is (gamma dL/dgamma + beta
    dL/dbeta)^2 of that BatchNorm, mean over batches, summed over coupled layers, not normalised.

    ``form='map'``: Molchanov et al., Pruning Convolutional Neural Networks for Resource Efficient
    Inference, 2017. With z the feature map after the activation, |mean over positions of z dL/dz|, mean
    over images; each layer divided by its l2 norm. Its FLOPs term is left to the budget.

    Both sources use the gradients of training; here the model is in evaluation mode and is not updated.
    Channels in parts that the model itself runs without gradients are pruned last.

    Args:
        graph: the traced model.
        batches: (x, y) pairs, y a tensor or a dict or list of them; dicts of forward's arguments by name; or anything
            that ``loss`` takes.
        form: 'gate' or 'map'.
        loss: (the model's output, y) -> the mean loss over the batch, a scalar; of a batch that is a dict y is the
            batch itself. A function whose first parameter is called ``model`` is given the network and the batch
            instead, whatever that is: it calls the network, and returns the loss.
        limit: largest number of batches; None for all.
        reduction: see `combine`; None for the source's.
        normalise: see `combine`; None for the source's.

    Raises:
        PlanError: no batches or labels; the loss cannot be computed, or is not a scalar.
    """
    chosen: _Form = choice("form of taylor", form, _FORMS)
    reduction, normalise = reduction or chosen.reduction, normalise or chosen.normalise
    check_combining(reduction, normalise)
    function("loss", loss)
    gates = [_Gate(site, chosen.by_image) for site in written_sites(graph, chosen.through)]
    for batch in each_batch(batches, "taylor", count_or_all("limit", limit)):
        _add_gradients(graph, gates, batch, loss)
    rows = [gate.scores() for gate in _with_gradients(gates)]
    return combine(graph, rows, reduction=reduction, normalise=normalise)


class _Gate:
    """Ones that multiply a site's channels, and the sum of their gradients."""

    def __init__(self, site: Site, by_image: bool) -> None:
        self.site, self._by_image = site, by_image and site.axis > 0
        self._total: Tensor | float = 0.0
        self._count = 0
        self._places = 1
        self.leaves: list[Tensor] = []
        self.has_gradient = True

    def tap(self, value: Tensor) -> Tensor:
        channels = value.shape[self.site.axis]
        shape = (len(value), channels) if self._by_image else (channels,)
        if self._by_image or not self.leaves:  # a loss may call the network more than once
            ones = torch.ones(shape, dtype=value.dtype, device=value.device, requires_grad=True)
            self.leaves.append(ones)
        self._places = value.numel() // (len(value) * channels) if self._by_image else 1
        gated = value * self.site.along(self.leaves[-1], value.dim())
        self.has_gradient = gated.requires_grad
        return gated

    def add(self, leaf: Tensor, gradient: Tensor | None, images: int) -> None:
        """Add the gradient of one batch's mean loss; None where the loss does not depend on this site.

        Args:
            leaf: the ones of a call of the network.
            gradient: of the loss by them.
            images: in the batch, which the loss is the mean over.
        """
        self._count += len(leaf) if self._by_image else 1
        if gradient is None:
            importance = torch.zeros(len(self.site.classes), dtype=torch.float64)
        elif self._by_image:
            importance = (gradient.double() * images / self._places).abs().sum(0)
        else:
            importance = gradient.double().square()
        self._total = self._total + importance.cpu()

    def scores(self) -> LayerScores:
        mean = torch.as_tensor(self._total / max(1, self._count))
        return LayerScores(self.site.layer, mean.numpy(), self.site.classes)


def _add_gradients(graph: Graph, gates: list[_Gate], batch: Any, loss: Loss) -> None:
    taps: dict[torch.fx.Node, Tap] = {gate.site.node: gate.tap for gate in gates}
    with torch.enable_grad():
        if takes_model(loss):
            value = _loss_of(partial(_of_model, graph, taps, loss), None, batch)
            images = images_in((batch,))
        else:
            inputs, labels = pair_of(batch, "taylor")
            value, images = _loss_of(loss, run_network(graph, inputs, after=taps), labels), images_in(inputs)
        leaves = [leaf for gate in gates for leaf in gate.leaves]
        gradients = (
            iter(torch.autograd.grad(value, leaves, allow_unused=True))
            if value.requires_grad and leaves
            else iter([None] * len(leaves))
        )
    for gate in gates:
        for leaf in gate.leaves:
            gate.add(leaf, next(gradients), images)
        gate.leaves = []


def takes_model(loss: Loss) -> bool:
    """Return whether a loss is a function of (model, batch): its first parameter is called ``model``."""
    try:
        parameters = [*inspect.signature(loss).parameters]
    except (TypeError, ValueError):  # a builtin without a signature
        return False
    return parameters[:1] == ["model"]


def _of_model(graph: Graph, taps: dict[torch.fx.Node, Tap], loss: Loss, _: Any, batch: Any) -> Tensor:
    batch = moved_to(graph.model, batch)
    return run_calls(graph, lambda model: loss(model, batch), after=taps)


def _with_gradients(gates: list[_Gate]) -> list[_Gate]:
    """Return the gates in those parts of the network that run with gradients."""
    with_gradients = [gate for gate in gates if gate.has_gradient]
    if gates and not with_gradients:
        raise PlanError(
            "criterion taylor needs gradients, but the model's forward runs without (torch.no_grad): "
            "use another criterion"
        )
    return with_gradients


def _loss_of(loss: Loss, output: Any, labels: Any) -> Tensor:
    device = next((tensor.device for tensor in tensors_among(output)), None)
    if device is not None:
        labels = map_tensors(labels, lambda tensor: tensor.to(device))
    if isinstance(labels, Tensor) and not labels.is_floating_point():
        labels = labels.long()
    try:
        value = loss(output, labels)
    except (RuntimeError, ValueError, IndexError, TypeError, KeyError, AttributeError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise PlanError(
            f"the loss of the model's output and these labels cannot be computed ({first}); pass your own, loss="
        ) from error
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise PlanError(
            "the loss is not a scalar: pass loss=, a function (output, y) or (model, batch) -> the mean over the batch"
        )
    return value.reshape(())
