"""What holds for all criteria alike."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgeprune
from edgeprune.errors import PlanError
from edgeprune.graph.classes import build_graph
from edgeprune.importance import CRITERIA, needs_batches, score

EVERY = [(name, {}) for name in CRITERIA] + [("taylor", {"form": "map"}), ("cop", {"iterative": False})]
LOOKING = [name for name in CRITERIA if needs_batches(name)]
WITHOUT_CHANCE = [(name, options) for name, options in EVERY if name != "random"]


def ids(pair: Any) -> str:
    return "-".join([pair[0], *map(str, pair[1].values())])


@pytest.mark.parametrize("pair", EVERY, ids=ids)
def test_scores_are_finite_and_the_model_is_left_alone(
    pair: Any, network: nn.Module, batches: list[Any]
) -> None:
    network.train()
    network.zero_grad()
    first = next(network.parameters())
    first.grad = torch.ones_like(first)
    before = copy.deepcopy(network.state_dict())
    random_before = torch.get_rng_state()
    graph = build_graph(network, batches[0][0])
    name, options = pair
    scores = score(graph, name, batches=batches, **options)
    assert scores.shape == (graph.classes,) and scores.dtype == np.float64
    assert np.isfinite(scores).all()
    assert len(np.unique(scores)) > 3
    assert all(torch.equal(before[k], v) for k, v in network.state_dict().items())
    assert all(m.training for m in network.modules())
    assert bool((first.grad == 1).all())
    assert all(p.grad is None for p in list(network.parameters())[1:])
    assert all(p.requires_grad for p in network.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())
    assert torch.equal(random_before, torch.get_rng_state())


@pytest.mark.parametrize("name", list(CRITERIA))
def test_prune_meets_its_target(name: str, network: nn.Module, batches: list[Any]) -> None:
    x = batches[0][0]
    result = edgeprune.prune(network.eval(), x, criterion=name, batches=batches, target="flops=0.6")
    assert 0.5 < result.report.fraction_got <= 0.606
    assert result.model(x).shape == network(x).shape


@pytest.mark.parametrize("pair", WITHOUT_CHANCE, ids=ids)
def test_scores_repeat(pair: Any, network: nn.Module, batches: list[Any]) -> None:
    graph = build_graph(network, batches[0][0])
    once, again = (score(graph, pair[0], batches=lambda: iter(batches), **pair[1]) for _ in range(2))
    np.testing.assert_array_equal(once, again)


def plain() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 5, 3, padding=1), nn.BatchNorm2d(5), nn.ReLU(),
        nn.Flatten(), nn.Linear(5 * 64, 5),
    ).eval()  # fmt: skip


def lively(model: nn.Sequential) -> nn.Sequential:
    for layer in model:
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.uniform_(layer.bias, -0.5, 0.5)
    return model


@pytest.mark.parametrize("pair", WITHOUT_CHANCE, ids=ids)
def test_permuting_filters_permutes_scores(pair: Any, batches: list[Any]) -> None:
    model = lively(plain())
    graph = build_graph(model, batches[0][0])
    scores = score(graph, pair[0], batches=batches, **pair[1])
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    with torch.no_grad():
        for tensor in (model[0].weight, model[0].bias, *model[1].parameters(), *model[1].buffers()):
            if tensor.dim():
                tensor.copy_(tensor[order].clone())
        model[3].weight.copy_(model[3].weight[:, order].clone())
    moved = score(build_graph(model, batches[0][0]), pair[0], batches=batches, **pair[1])
    first, second = (next(g for g in graph.groups if g.name == name).classes for name in ("0", "3"))
    np.testing.assert_allclose(moved[first], scores[first][order.numpy()], rtol=1e-4, atol=1e-8)
    np.testing.assert_allclose(moved[second], scores[second], rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", ["l1", "l2", "fpgm", "whc", "ssl"])
def test_scaling_a_layer_changes_nothing(name: str, batches: list[Any]) -> None:
    """Each layer is divided by its own mean: layers of large weights have no advantage."""
    model = plain()
    before = score(build_graph(model, batches[0][0]), name)
    with torch.no_grad():
        model[3].weight.mul_(7)
    np.testing.assert_allclose(score(build_graph(model, batches[0][0]), name), before)


@pytest.mark.parametrize("name", LOOKING)
def test_data_is_asked_for_by_name(name: str, batches: list[Any]) -> None:
    graph = build_graph(plain(), batches[0][0])
    for nothing, message in (
        (None, "pass batches="),
        ([], "batches is empty"),
        (3, "is a int"),
        (batches[0][0], "a tensor"),
    ):
        with pytest.raises(PlanError, match=message) as caught:
            score(graph, name, batches=nothing)
        assert "\n" not in str(caught.value)


def test_only_these_look_at_data() -> None:
    assert LOOKING == ["taylor", "hrank", "chip", "fma", "thinet", "lasso", "lindeps", "nisp"]


@pytest.mark.parametrize("name", [n for n in LOOKING if n != "taylor"])
def test_images_do_without_labels(name: str, batches: list[Any]) -> None:
    graph = build_graph(plain(), batches[0][0])
    images = [x for x, _ in batches]
    np.testing.assert_array_equal(score(graph, name, batches=images), score(graph, name, batches=batches))


@pytest.mark.parametrize("name", LOOKING)
def test_a_nan_in_the_data_names_the_layer(name: str, batches: list[Any]) -> None:
    graph = build_graph(plain(), batches[0][0])
    broken = [(torch.full_like(x, torch.nan), y) for x, y in batches]
    with pytest.raises(PlanError, match=r"the score of channel 0 of \d is nan"):
        score(graph, name, batches=broken)


@pytest.mark.parametrize("name", [n for n in CRITERIA if n not in ("random", "bn-scale", *LOOKING)])
def test_a_nan_in_the_weights_names_the_layer(name: str, batches: list[Any]) -> None:
    model = plain()
    with torch.no_grad():
        model[3].weight[2, 1] = torch.nan
    with pytest.raises(PlanError, match="the score of channel . of 3 is nan"):
        score(build_graph(model, batches[0][0]), name)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("l1", {"magnitude": 2}, "unknown option of l1 'magnitude'; known: normalise, reduction"),
        ("l1", {"reduction": "median"}, "unknown reduction 'median'"),
        ("fpgm", {"normalise": None}, "unknown normaliser 'None'"),
        ("taylor", {"form": "second"}, "unknown form of taylor 'second'"),
        ("taylor", {"loss": "mse"}, "loss is 'mse', which cannot be called"),
        ("taylor", {"loss": lambda out, y: out}, "the loss is not a scalar"),
        (
            "taylor",
            {"loss": lambda out, y: out @ y},
            "the loss of the model's output and these labels cannot be computed",
        ),
        ("taylor", {"limit": 0}, "limit is 0; it is a whole number of at least 1"),
        ("hrank", {"limit": "few"}, "limit is 'few'"),
        ("chip", {"images": 0}, "images is 0"),
        ("fma", {"share": 2}, "share is 2; it is a number from 0 to 1"),
        ("thinet", {"positions": 0}, "positions is 0"),
        ("lasso", {"seed": -1}, "seed is -1"),
        ("nisp", {"mix": float("nan")}, "mix is nan, not a finite number"),
        ("cop", {"top": 0}, "top is 0"),
        ("cop", {"alpha": -1.0}, "alpha is -1.0; it is a number of at least 0"),
        ("random", {"seed": 1.5}, "seed is 1.5"),
        ("hrnk", {}, "did you mean 'hrank'"),
    ],
)
def test_wrong_options(name: str, options: dict[str, Any], message: str, batches: list[Any]) -> None:
    with pytest.raises(PlanError) as caught:
        score(build_graph(plain(), batches[0][0]), name, batches=batches, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_users_own_criterion(batches: list[Any]) -> None:
    graph = build_graph(plain(), batches[0][0])

    def brightness(graph: Any, *, batches: Any, power: int = 1) -> Any:
        return np.full(graph.classes, sum(float(x.mean()) for x, _ in batches) ** power)

    assert (
        score(graph, brightness, batches=batches, power=2)[0] == sum(float(x.mean()) for x, _ in batches) ** 2
    )
    assert (score(graph, lambda g: np.ones(g.classes), batches=batches) == 1).all()
    with pytest.raises(PlanError, match=r"unknown option of brightness 'size'; known: power"):
        score(graph, brightness, batches=batches, size=2)
    with pytest.raises(PlanError, match="criterion is 3, which cannot be called"):
        score(graph, 3)  # type: ignore[arg-type]
    with pytest.raises(PlanError, match="the criterion's score of a channel of 0 is nan"):
        score(graph, lambda g: np.full(g.classes, np.nan))


def test_options_reach_the_criterion_through_prune(batches: list[Any]) -> None:
    model, x = plain(), batches[0][0]
    by_max = edgeprune.prune(model, x, criterion="ssl", options={"reduction": "max"}, target="flops=0.5")
    graph = edgeprune.trace(model, x)
    plan = edgeprune.select(graph, score(graph, "ssl", reduction="max"), "flops=0.5")
    np.testing.assert_array_equal(by_max.plan.keep, plan.keep)
    with pytest.raises(PlanError, match="unknown option of ssl"):
        edgeprune.prune(model, x, criterion="ssl", options={"p": 3})


class TwoInputs(nn.Module):
    """Convolution of one image plus convolution of another."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 6, 3), nn.Conv2d(2, 6, 3)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return self.head(torch.relu(self.a(x) + self.b(y)).mean((2, 3)))


@pytest.mark.parametrize("name", LOOKING)
def test_a_model_with_two_inputs(name: str) -> None:
    torch.manual_seed(0)
    x = (torch.randn(4, 1, 6, 6), torch.randn(4, 2, 6, 6))
    graph = build_graph(TwoInputs(), x)
    assert np.isfinite(score(graph, name, batches=[(x, torch.tensor([0, 1, 2, 0]))])).all()
    with pytest.raises(PlanError, match=r"takes 2 input\(s\), but a batch gave 1"):
        score(graph, name, batches=[(x[0], torch.tensor([0, 1, 2, 0]))])


def test_batches_of_another_shape_or_type_name_the_layer() -> None:
    graph = build_graph(plain(), torch.zeros(1, 3, 8, 8))
    with pytest.raises(
        PlanError, match=r"does not run on a batch of shape \(2, 1, 8, 8\): .* \(at 0\)"
    ) as caught:
        score(graph, "hrank", batches=[torch.zeros(2, 1, 8, 8)])
    assert "\n" not in str(caught.value)
    with pytest.raises(PlanError, match=r"shape \(2, 3, 9, 9\)"):
        score(graph, "hrank", batches=[torch.zeros(2, 3, 9, 9)])
    with pytest.raises(PlanError, match="a batch of no images"):
        score(graph, "hrank", batches=[torch.zeros(0, 3, 8, 8)])
    with pytest.raises(PlanError, match="criterion taylor needs labels"):
        score(graph, "taylor", batches=[torch.zeros(2, 3, 8, 8)])
    with pytest.raises(PlanError, match="these labels cannot be computed .*out of bounds"):
        score(graph, "taylor", batches=[(torch.zeros(1, 3, 8, 8), torch.tensor([7]))])
    ones, twos = torch.ones(2, 3, 8, 8, dtype=torch.float64), torch.zeros(2, dtype=torch.int32)
    assert np.isfinite(score(graph, "taylor", batches=[(ones, twos)])).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "model",
    [
        "shufflenet_v2_x0_5",
        "mobilenet_v3_small",
        "densenet121",
        "googlenet",
        "regnet_y_400mf",
        "squeezenet1_1",
    ],
)
def test_torchvision_models(model: str) -> None:
    from edgeprune.models import build

    torch.manual_seed(0)
    x = torch.randn(2, 3, 64, 64)
    graph = build_graph(build(f"torchvision:{model}", num_classes=5), x)
    for name in CRITERIA:
        if name in ("chip", "bn-scale"):
            continue
        assert np.isfinite(score(graph, name, batches=[(x, torch.tensor([0, 4]))])).all(), name


@pytest.mark.parametrize("name", list(CRITERIA))
def test_one_image_no_variance_and_a_layer_of_one_channel(name: str) -> None:
    torch.manual_seed(0)
    body = [
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 1, 3),
        nn.ReLU(),
        nn.Conv2d(1, 4, 1),
    ]
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    image, label = torch.randn(1, 3, 8, 8), torch.zeros(1, dtype=torch.int64)
    graph = build_graph(model, image)
    for x in (image, torch.zeros_like(image)):
        assert np.isfinite(score(graph, name, batches=[(x, label)])).all()
    for spoilt in (image * torch.nan, image[:0]) if needs_batches(name) else ():
        with pytest.raises(PlanError, match="not a finite number|a batch of no images") as caught:
            score(graph, name, batches=[(spoilt, label[: len(spoilt)])])
        assert "\n" not in str(caught.value)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert np.isfinite(score(graph, name, batches=[(image, label)])).all()
