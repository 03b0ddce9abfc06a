"""Taylor criteria by hand and by autograd."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import edgeprune
from edgeprune.errors import PlanError
from edgeprune.graph.classes import build_graph
from edgeprune.importance import score


def summed(output: Tensor, labels: Tensor) -> Tensor:
    """Mean over images of the sum of the output."""
    return output.flatten(1).sum(1).mean()


def test_gate_by_hand() -> None:
    # z = (2x, -x); output 3 z_0 + 5 z_1, summed over positions and averaged over images.
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([2.0, -1.0]).view(2, 1, 1, 1))
        model[1].weight.copy_(torch.tensor([3.0, 5.0]).view(1, 2, 1, 1))
    graph = build_graph(model, torch.zeros(1, 1, 1, 2))
    batch = (torch.tensor([[[[1.0, 2.0]]], [[[0.0, 1.0]]]]), torch.zeros(2))
    # Sum of x: 3 and 1, mean 2. dL/dg = 3 * 2 * 2 = 12 and 5 * -1 * 2 = -10.
    np.testing.assert_allclose(score(graph, "taylor", batches=[batch], loss=summed), [144, 100])
    opposite = (-2 * batch[0], batch[1])  # squares do not cancel over batches: (144 + 576) / 2
    np.testing.assert_allclose(score(graph, "taylor", batches=[batch, opposite], loss=summed), [360, 250])


def test_map_by_hand() -> None:
    # After the ReLU z = (x, 2x) for x > 0; output z_0 - 3 z_1.
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.ReLU(), nn.Conv2d(2, 1, 1, bias=False)).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
        model[2].weight.copy_(torch.tensor([1.0, -3.0]).view(1, 2, 1, 1))
    graph = build_graph(model, torch.zeros(1, 1, 1, 2))
    batch = (torch.tensor([[[[1.0, 2.0]]], [[[-1.0, 4.0]]]]), torch.zeros(2))
    # Mean over 2 positions of z dL/dz: (3 / 2, 4 / 2) and -6 times as much; mean of absolutes 1.75, 10.5.
    options: dict[str, Any] = {"form": "map", "loss": summed, "batches": [batch]}
    np.testing.assert_allclose(score(graph, "taylor", normalise="none", **options), [1.75, 10.5])
    np.testing.assert_allclose(score(graph, "taylor", **options), np.array([1, 6]) / 37**0.5)


def test_the_gate_is_gamma_and_beta_of_the_batch_norm() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(True),
        nn.Conv2d(6, 5, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ).eval()
    norm = model[1]
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    batches = [(torch.randn(4, 3, 6, 6), torch.randint(5, (4,))) for _ in range(3)]
    expected = torch.zeros(6)
    for x, y in batches:
        by_gamma, by_beta = torch.autograd.grad(F.cross_entropy(model(x), y), [norm.weight, norm.bias])
        expected += (norm.weight * by_gamma + norm.bias * by_beta).detach() ** 2 / 3
    graph = build_graph(model, batches[0][0])
    np.testing.assert_allclose(score(graph, "taylor", batches=batches), expected.numpy(), rtol=1e-4)


def test_without_a_batch_norm_the_gate_is_weight_and_bias() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.ReLU(), nn.Linear(6, 5)).eval()
    x, y = torch.randn(8, 3), torch.randint(5, (8,))
    by_weight, by_bias = torch.autograd.grad(F.cross_entropy(model(x), y), [model[0].weight, model[0].bias])
    expected = ((model[0].weight * by_weight).sum(1) + model[0].bias * by_bias).detach() ** 2
    graph = build_graph(model, x)
    np.testing.assert_allclose(score(graph, "taylor", batches=[(x, y)]), expected.numpy(), rtol=1e-4)


def test_gates_of_coupled_layers_are_summed() -> None:
    class Residual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(1, 2, 1, bias=False)
            self.head = nn.Conv2d(2, 1, 1, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.a(x) + self.b(x))

    model = Residual().eval()
    with torch.no_grad():
        model.a.weight.copy_(torch.tensor([1.0, 2.0]).view(2, 1, 1, 1))
        model.b.weight.copy_(torch.tensor([3.0, -2.0]).view(2, 1, 1, 1))
        model.head.weight.fill_(1)
    graph = build_graph(model, torch.zeros(1, 1, 1, 1))
    batch = (torch.ones(1, 1, 1, 1), torch.zeros(1))
    np.testing.assert_allclose(score(graph, "taylor", batches=[batch], loss=summed), [1 + 9, 4 + 4])
    np.testing.assert_allclose(score(graph, "taylor", batches=[batch], loss=summed, reduction="max"), [9, 4])


def test_a_loss_that_does_not_see_the_model_scores_zero() -> None:
    model = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 5)).eval()
    graph = build_graph(model, torch.zeros(1, 3))
    batch = (torch.ones(1, 3), torch.zeros(1))
    scores = score(graph, "taylor", batches=[batch], loss=lambda output, y: torch.zeros(()))
    assert (scores == 0).all()


def test_frozen_parameters_and_no_grad_are_no_trouble() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.Linear(6, 5)).eval()
    graph = build_graph(model, torch.zeros(1, 3))
    batch = (torch.randn(4, 3), torch.tensor([0, 1, 2, 3]))
    free = score(graph, "taylor", batches=[batch])
    model.requires_grad_(False)
    with torch.no_grad():
        np.testing.assert_array_equal(score(graph, "taylor", batches=[batch]), free)


# --- any batch, any loss ---------------------------------------------------------------------------------------


class TwoInputs(nn.Module):
    """Output a(x) * scale; a has the channels 2x and -x, the head adds 3 and 5 times of them."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.head = nn.Linear(1, 2, bias=False), nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.a.weight.copy_(torch.tensor([[2.0], [-1.0]]))
            self.head.weight.copy_(torch.tensor([[3.0, 5.0]]))

    def forward(self, x: Tensor, scale: Tensor) -> dict[str, Tensor]:
        return {"out": self.head(self.a(x)) * scale}


def half_loss(output: dict[str, Tensor], y: Any) -> Tensor:
    return output["out"].mean() * y["factor"]


X, SCALE, FACTOR = torch.tensor([[1.0], [3.0]]), torch.ones(2, 1), torch.tensor(0.5)
# dL/dg = factor * weight of the head * mean of the channel: 0.5 * 3 * 4 = 6, and 0.5 * 5 * -2 = -5.
BY_HAND = [36, 25]


def with_model(model: nn.Module, batch: Any) -> Tensor:
    return model(batch["x"], batch["scale"])["out"].mean() * batch["factor"]


def called_twice(model: nn.Module, batch: Any) -> Tensor:
    halves = [model(batch["x"][i : i + 1], batch["scale"][i : i + 1])["out"].mean() for i in range(2)]
    return (halves[0] + halves[1]) / 2 * batch["factor"]


BATCH = {"x": X, "scale": SCALE, "factor": FACTOR}


@pytest.mark.parametrize(
    ("batch", "loss"),
    [
        (((X, SCALE), {"factor": FACTOR}), half_loss),
        ([[X, SCALE], {"factor": FACTOR}], half_loss),
        (BATCH, half_loss),
        (BATCH, with_model),
        (BATCH, called_twice),
        (((X, SCALE), [FACTOR]), lambda output, y: output["out"].mean() * y[0]),
        ("any object", lambda model, batch: with_model(model, BATCH)),
    ],
)
def test_any_batch_and_any_loss(batch: Any, loss: Any) -> None:
    model = TwoInputs().eval()
    graph = build_graph(model, (torch.zeros(1, 1), torch.zeros(1, 1)))
    np.testing.assert_allclose(score(graph, "taylor", batches=[batch], loss=loss), BY_HAND)
    if (
        batch != "any object"
    ):  # |z dL/dz| of each image: 0.5 * 3 * 2 * (1, 3) and 0.5 * 5 * -1 * (1, 3), on average
        maps = score(graph, "taylor", batches=[batch], loss=loss, form="map", normalise="none")
        np.testing.assert_allclose(maps, [6, 5])
    assert not model._forward_hooks and not model._forward_pre_hooks
    pruned = edgeprune.prune(
        model,
        (X, SCALE),
        criterion="taylor",
        batches=[batch],
        options={"loss": loss},
        target="params=0.5",
        floor=1,
    )
    assert pruned.plan.keep.tolist() == [True, False]


def test_a_dict_for_a_criterion_without_a_loss() -> None:
    graph = build_graph(TwoInputs().eval(), (torch.zeros(1, 1), torch.zeros(1, 1)))
    by_name = score(graph, "nisp", batches=[BATCH])
    np.testing.assert_array_equal(by_name, score(graph, "nisp", batches=[((X, SCALE), torch.zeros(2))]))


@pytest.mark.parametrize(
    ("batch", "loss", "message"),
    [
        (
            {"image": X},
            half_loss,
            "a batch is a dict without 'x', an argument of TwoInputs.forward .it has image.",
        ),
        (BATCH, None, "pass your own, loss="),
        (((X, SCALE), "label"), half_loss, "needs labels: .* or give loss=, a function of .model, batch."),
        ((X, SCALE, FACTOR), half_loss, "needs labels"),
        (BATCH, lambda model, batch: model(batch["x"]), "cannot be computed .*missing 1 required positional"),
        (BATCH, lambda model, batch: batch["y"], "cannot be computed .'y'."),
        (BATCH, lambda model, batch: model(batch["x"], batch["scale"])["out"], "not a scalar"),
    ],
)
def test_batches_and_losses_that_do_not_fit_are_one_line(batch: Any, loss: Any, message: str) -> None:
    graph = build_graph(TwoInputs().eval(), (torch.zeros(1, 1), torch.zeros(1, 1)))
    with pytest.raises(PlanError, match=message) as caught:
        score(graph, "taylor", batches=[batch], **({} if loss is None else {"loss": loss}))
    assert "\n" not in str(caught.value)
    assert not graph.model._forward_hooks
