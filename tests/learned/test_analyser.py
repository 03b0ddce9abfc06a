"""OutputAnalyser: the model's own forward, masks that agree, and an exact end."""

import contextlib
import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgeprune.budget import Budget
from edgeprune.errors import ModelError
from edgeprune.learned.analyser import OutputAnalyser
from edgeprune.learned.mask import FLOOR_VALUE, OFFSET
from edgeprune.learned.pruning_layer import PruningLayer

EXAMPLE = torch.zeros(1, 3, 16, 16)


def analysed(model: nn.Module, **more: object) -> OutputAnalyser:
    torch.manual_seed(1)
    return OutputAnalyser(model, EXAMPLE, **more)  # type: ignore[arg-type]


def train(analyser: OutputAnalyser, images: Tensor, steps: int, *, lr: float = 0.01) -> None:
    optimizer = torch.optim.SGD(analyser.parameters(), lr=lr)
    labels = torch.arange(len(images)) % 5
    analyser.train()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(analyser(images), labels).backward()
        optimizer.step()


def masks(analyser: OutputAnalyser) -> dict[str, Tensor]:
    return {n: m.mask.detach() for n, m in analyser.model.named_modules() if isinstance(m, PruningLayer)}


def flops(analyser: OutputAnalyser, fraction: float) -> Budget:
    return Budget.of(f"flops={fraction!r}", analyser.graph)


def put(analyser: OutputAnalyser, cm: Tensor) -> None:
    """Set the masks by hand."""
    analyser.cm = cm
    analyser.restore()


def close(a: Tensor, b: Tensor) -> bool:
    a, b = a.detach(), b.detach()
    return float((a - b).abs().max()) <= 1e-5 * max(1.0, float(b.abs().max()))


# --- what it is -----------------------------------------------------------------------------------


def evidence_of(analyser: OutputAnalyser, images: Tensor) -> Tensor:
    """Return what the pruning-models say of the maps that some images give now."""
    maps = analyser.masked_layers.probe((images,), {}, analyser.images)
    return analyser.banks.evidence(maps, analyser.autocast)


def test_before_any_step_forward_is_the_models_own(model: nn.Module, images: Tensor) -> None:
    analyser = analysed(model).eval()
    assert torch.equal(analyser(images), model(images))
    assert analyser.iteration == 0
    assert analyser.active()["flops_fraction"] == analyser.active()["params_fraction"] == 1


def test_every_convolution_that_reads_removable_channels_is_masked(small_resnet: nn.Module) -> None:
    convolutions = {n for n, m in small_resnet.named_modules() if isinstance(m, nn.Conv2d)}
    assert set(masks(analysed(small_resnet))) == convolutions - {"conv1"}  # that one reads the image


def test_the_users_model_is_left_alone(model: nn.Module, images: Tensor) -> None:
    before = copy.deepcopy(model.state_dict())
    structure = str(model)
    analyser = analysed(model, max_iter=4)
    train(analyser, images, 4, lr=0.1)
    analyser.finish(analyser.freeze(flops(analyser, 0.6)))
    assert str(model) == structure and not model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_a_model_without_layers_to_mask_is_refused() -> None:
    with pytest.raises(ModelError, match="no convolution and no linear layer"):
        analysed(nn.Sequential(nn.Flatten(), nn.Linear(3 * 256, 5)))


# --- one step -------------------------------------------------------------------------------------


def test_first_masks_by_hand(plain: nn.Module, images: Tensor) -> None:
    analyser = analysed(plain, max_iter=100).train()
    analyser.interacting = 25.0
    result = evidence_of(analyser, images).detach()
    with torch.no_grad():
        analyser(images)
    # Nothing learned yet: the old mask stands at 2 * 1.15, progress at 25 / 100.
    expected = torch.relu(2 * OFFSET / 2 + result + OFFSET - 0.25)
    assert torch.allclose(masks(analyser)["conv2"], expected[:8], atol=1e-6)
    assert torch.allclose(
        masks(analyser)["linear"], expected[8:].repeat_interleave(4), atol=1e-6
    )  # 2x2 positions
    assert analyser.iteration == 1 and analyser.progress == pytest.approx(0.26)
    assert torch.allclose(analyser.recent[:8], 0.9 + 0.1 * analyser.cm[:8])


def test_eval_and_a_finished_phase_leave_the_masks_alone(plain: nn.Module, images: Tensor) -> None:
    analyser = analysed(plain)
    train(analyser, images, 2)
    before = {k: v.clone() for k, v in masks(analyser).items()}
    analyser.eval()(images)
    analyser.pruning = False
    analyser.train()(images)
    assert analyser.iteration == 2
    assert all(torch.equal(before[k], v) for k, v in masks(analyser).items())


def test_readers_of_a_stream_share_one_mask(small_resnet: nn.Module, images: Tensor) -> None:
    analyser = analysed(small_resnet, max_iter=20)
    train(analyser, images, 12, lr=0.1)
    result = masks(analyser)
    streams = [
        ["layer1.0.conv1", "layer1.1.conv1", "layer1.2.conv1", "layer2.0.conv1"],
        ["layer2.1.conv1", "layer2.2.conv1", "layer3.0.conv1"],
        ["layer3.1.conv1", "layer3.2.conv1"],
    ]
    for stream in streams:
        assert all(torch.equal(result[name], result[stream[0]]) for name in stream)
        assert result[stream[0]].unique().numel() > 1
    assert not torch.equal(result["layer1.0.conv2"], result["layer1.1.conv2"])  # insides are each their own


def test_the_shared_mask_by_hand(small_resnet: nn.Module, images: Tensor) -> None:
    analyser = analysed(small_resnet).train()
    with torch.no_grad():
        analyser(images)
    starts = np.cumsum([0, *[len(r.classes) for r in analyser.masked_layers]])
    own = {
        r.name: analyser.last[s : s + len(r.classes)]
        for r, s in zip(analyser.masked_layers, starts, strict=False)
    }
    stream = torch.stack([own["layer3.1.conv1"], own["layer3.2.conv1"]])
    expected = torch.relu(stream.mean(0) - 0.7 * stream.mean())
    assert torch.allclose(masks(analyser)["layer3.1.conv1"], expected, atol=1e-6)


def test_the_sides_of_a_padding_shortcut_may_keep_different_channels(small_resnet: nn.Module) -> None:
    graph = analysed(small_resnet).graph
    before = next(g for g in graph.groups if "layer2.0.conv1" in g.consumers)
    after = next(g for g in graph.groups if "layer2.1.conv1" in g.consumers)
    assert before.index != after.index
    assert (before.size, after.size) == (4, 8)
    assert not set(before.classes) & set(after.classes)


def test_masks_can_go_off_and_come_back(plain: nn.Module, images: Tensor) -> None:
    analyser = analysed(plain, max_iter=100).train()
    with torch.no_grad():
        analyser.interacting = 150.0
        for _ in range(8):
            analyser(images)
        assert (masks(analyser)["conv2"] > 0).sum() == 2  # the floor
        assert analyser.active()["flops_fraction"] < 0.5
        analyser.interacting = -100.0
        for _ in range(8):
            analyser(images)
    assert bool((masks(analyser)["conv2"] > 0).all())
    assert analyser.active()["flops_fraction"] == 1


def test_the_floor_holds_for_every_group(model: nn.Module, images: Tensor) -> None:
    analyser = analysed(model, max_iter=10, floor=3).train()
    analyser.interacting = 1000.0
    with torch.no_grad():
        for _ in range(5):
            analyser(images)
    judged = analyser.masked_layers.scored
    for group in analyser.graph.groups:
        kept = analyser.keep[group.classes]
        least = group.least(3)
        assert kept.sum() == (least if judged[group.classes].any() else group.size)
        if judged[group.classes].any():
            assert analyser.cm[group.classes][kept].tolist() == pytest.approx([FLOOR_VALUE] * least)


def test_active_counts_are_those_of_the_smaller_model(small_resnet: nn.Module) -> None:
    analyser = analysed(small_resnet)
    cm = torch.ones(analyser.graph.classes)
    inside = next(g for g in analyser.graph.groups if g.consumers == ("layer1.0.conv2",))
    cm[inside.classes[:1]] = 0
    put(analyser, cm)
    # One of four channels between conv1 and conv2: a filter and an input slice of 4 x 9, and BatchNorm's two.
    original = sum(p.numel() for p in small_resnet.parameters())
    assert analyser.active()["params"] == original - (4 * 9 + 4 * 9 + 2)
    assert analyser.active()["params_fraction"] == pytest.approx((original - 74) / original)


def test_the_probe_leaves_batch_norm_untouched(small_resnet: nn.Module, images: Tensor) -> None:
    analyser = analysed(small_resnet).train()
    norms = {n: m for n, m in analyser.model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    before = {
        n: (m.running_mean.clone(), m.running_var.clone(), int(m.num_batches_tracked))
        for n, m in norms.items()
    }
    analyser.advance(images)
    for name, norm in norms.items():
        mean, var, seen = before[name]
        assert torch.equal(norm.running_mean, mean) and torch.equal(norm.running_var, var)
        assert int(norm.num_batches_tracked) == seen and norm.momentum == 0.1
    analyser.model(images)  # and a plain step does move them, once
    assert all(int(m.num_batches_tracked) == before[n][2] + 1 for n, m in norms.items())
    assert not any(torch.equal(m.running_mean, before[n][0]) for n, m in norms.items())


def test_the_pruning_models_see_the_first_images_only(plain: nn.Module, images: Tensor) -> None:
    analyser = analysed(plain, images=4).train()
    maps = analyser.masked_layers.probe((images,), {}, 4)
    assert [tuple(m.shape) for m in maps] == [(4, 8, 16, 16), (4, 12, 2, 2)]
    changed = images.clone()
    changed[4:] = 0
    assert torch.equal(analyser.masked_layers.probe((changed,), {}, 4)[0], maps[0])


def test_the_tasks_loss_trains_both_networks(model: nn.Module, images: Tensor) -> None:
    analyser = analysed(model)
    train(analyser, images, 1, lr=0.0)
    own = analyser.model_parameters()
    pruning = analyser.pruning_parameters()
    assert len(own) == len(list(model.parameters()))
    assert all(p.grad is not None for p in own)
    assert pruning and all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in pruning)
    assert sum(float(p.grad.abs().sum()) for p in pruning) > 0
    assert {id(p) for p in own} | {id(p) for p in pruning} == {id(p) for p in analyser.parameters()}


@pytest.mark.parametrize("outer", [True, False])
def test_mixed_precision_trains_both_networks(plain: nn.Module, images: Tensor, outer: bool) -> None:
    analyser = analysed(plain, autocast=torch.bfloat16 if not outer else None).train()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=True):
        out = analyser(images)
    F.cross_entropy(out.float(), torch.zeros(8, dtype=torch.long)).backward()
    for name, parameter in analyser.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.dtype == torch.float32


# --- a user's own pruning-model -------------------------------------------------------------------


class Means(nn.Module):
    """A tiny pruning-model: a linear layer on the channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.mean((2, 3)))


def test_a_pruning_model_of_ones_own_learns_and_leaves_nothing_behind(
    model: nn.Module, images: Tensor
) -> None:
    analyser = analysed(model, pruning_model=Means, max_iter=20)
    before = [p.detach().clone() for p in analyser.pruning_parameters()]
    assert len(before) == 2 * len(analyser.masked_layers)
    train(analyser, images, 3, lr=0.1)
    moved = [not torch.equal(a, b) for a, b in zip(before, analyser.pruning_parameters(), strict=True)]
    assert any(moved)
    plan = analyser.freeze(flops(analyser, 0.7))
    masked = analyser.eval()(images)
    dense = analyser.finish(plan).model
    assert not any("pruning" in name or "gate" in name for name, _ in dense.named_modules())
    assert close(dense.eval()(images), masked)


# --- gates ----------------------------------------------------------------------------------------


def test_other_readers_see_dropped_channels_as_zero(small_resnet: nn.Module, images: Tensor) -> None:
    analyser = analysed(small_resnet).eval()
    cm = torch.ones(analyser.graph.classes)
    last = next(g for g in analyser.graph.groups if "linear" in g.consumers)
    first = next(g for g in analyser.graph.groups if "layer2.0.conv1" in g.consumers)
    cm[last.classes[[0, 3]]] = 0
    cm[first.classes[1]] = 0
    put(analyser, cm)
    seen: dict[str, Tensor] = {}
    for name, group in (("padded", first), ("linear", last)):
        gate = next(
            g for g, classes in analyser.gates.items if set(classes.tolist()) & set(group.classes.tolist())
        )
        gate.register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    analyser(images)
    assert (seen["linear"].abs().sum(0) == 0).nonzero()[:, 0].tolist() == [0, 3]
    assert (seen["padded"].abs().sum((0, 2, 3)) == 0).nonzero()[:, 0].tolist() == [1]


# --- the end --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["flops", "params"])
@pytest.mark.parametrize("fraction", [0.8, 0.5, 0.3])
def test_freeze_meets_the_target(kind: str, fraction: float, images: Tensor) -> None:
    from edgeprune.models import build

    torch.manual_seed(0)
    analyser = analysed(build("resnet20", num_classes=5), max_iter=30)
    analyser.interacting = 12.0
    with torch.no_grad():
        analyser.train()
        for _ in range(3):
            analyser(images)
    plan = analyser.freeze(Budget.of(f"{kind}={fraction}", analyser.graph))
    assert analyser.active()[f"{kind}_fraction"] == pytest.approx(fraction, rel=0.01)
    assert analyser.active()[f"{kind}_fraction"] <= fraction
    assert np.array_equal(plan.keep, analyser.keep)
    assert not analyser.pruning
    done = analyser.finish(plan)
    assert sum(p.numel() for p in done.model.parameters()) == analyser.active()["params"]


def test_freeze_without_a_target_keeps_what_is_on(plain: nn.Module) -> None:
    analyser = analysed(plain)
    cm = torch.ones(analyser.graph.classes)
    cm[[1, 5]] = 0
    put(analyser, cm)
    plan = analyser.freeze()
    assert np.flatnonzero(~plan.keep).tolist() == [1, 5]


def test_freeze_drops_what_is_off_first_then_the_smallest(plain: nn.Module) -> None:
    analyser = analysed(plain)
    group = next(g for g in analyser.graph.groups if g.consumers == ("conv2",))
    cm = torch.ones(analyser.graph.classes)
    cm[group.classes] = torch.tensor([0.9, 0.0, 0.2, 0.8, 0.0, 0.1, 0.7, 0.6])
    analyser.recent = torch.full_like(analyser.cm, 0.5)
    analyser.recent[group.classes[4]] = 0.4
    put(analyser, cm)
    shares = {n: (analyser.graph.flops(keep_first(analyser, group.classes, n))) for n in (4, 7)}
    original = analyser.graph.flops()
    item = copy.deepcopy(analyser)
    assert np.flatnonzero(~item.freeze(flops(analyser, shares[7] / original)).keep).tolist() == [
        group.classes[4]
    ]
    # Held up although it is off: it passes what it passed on average.
    assert float(item.cm[group.classes[1]]) == pytest.approx(0.5)
    dropped = analyser.freeze(flops(analyser, shares[4] / original)).keep
    assert np.flatnonzero(~dropped).tolist() == sorted(group.classes[[1, 2, 4, 5]].tolist())


def keep_first(analyser: OutputAnalyser, classes: np.ndarray, count: int) -> np.ndarray:
    keep = np.ones(analyser.graph.classes, dtype=bool)
    keep[classes[count:]] = False
    return keep


class Ungated(nn.Module):
    """A grouped convolution, which judges nothing, is all that reads the last channels but one."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inside = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 12, 3, padding=1)
        self.pairs = nn.Conv2d(12, 6, 1, groups=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.pairs(F.relu(self.inside(F.relu(self.stem(x))))).mean((2, 3))


def test_channels_that_nothing_judged_go_last() -> None:
    torch.manual_seed(0)
    analyser = analysed(Ungated().eval())
    judged = analyser.masked_layers.scored
    assert judged.sum() == 8 and (~judged).sum() == 6  # pairs of channels
    put(analyser, torch.where(torch.from_numpy(judged), 3.0, 1.0))
    plan = analyser.freeze(flops(analyser, 0.5))
    assert plan.keep[~judged].all() and not plan.keep[judged].all()


@pytest.mark.parametrize("fraction", [None, 0.7, 0.4])
def test_the_dense_model_is_the_analyser(model: nn.Module, images: Tensor, fraction: float | None) -> None:
    analyser = analysed(model, max_iter=12)
    train(analyser, images, 9, lr=0.05)
    plan = analyser.freeze(None if fraction is None else flops(analyser, fraction))
    masked = analyser.eval()(images)
    dense = analyser.finish(plan).model.eval()
    assert close(dense(images), masked)
    assert not torch.allclose(masked, model(images), atol=1e-3)  # something did happen
    assert not any(isinstance(m, PruningLayer) for m in dense.modules())
    own = {n for n, _ in model.named_parameters()}
    assert {n for n, _ in dense.named_parameters()} <= own
    if fraction is not None:
        assert sum(p.numel() for p in dense.parameters()) < sum(p.numel() for p in model.parameters())


def test_finish_on_random_masks_and_statistics(small_resnet: nn.Module, images: Tensor) -> None:
    for seed in range(4):
        analyser = analysed(small_resnet)
        generator = torch.Generator().manual_seed(seed)
        cm = torch.rand(analyser.graph.classes, generator=generator) * 2
        cm = torch.where(torch.rand(cm.shape, generator=generator) < 0.5, torch.zeros(()), cm)
        for group in analyser.graph.groups:
            cm[group.classes[0]] = 0.5
        put(analyser, cm)
        plan = analyser.freeze()
        masked = analyser.eval()(images)
        assert close(analyser.finish(plan).model.eval()(images), masked)
        assert (cm == 0).sum() == (~plan.keep).sum()


# --- odd consumers ----------------------------------------------------------------------------------


def test_a_reader_of_several_groups_has_each_groups_mask(concat: nn.Module, images: Tensor) -> None:
    analyser = analysed(concat, max_iter=10)
    train(analyser, images, 4, lr=0.1)
    joined, left = masks(analyser)["joined"], masks(analyser)["left"]
    assert torch.equal(joined[:6], left)  # both read the stem
    assert torch.equal(joined[6:10], joined[10:])  # the same channels, read twice


def test_a_class_read_twice_counts_with_its_mean(concat: nn.Module, images: Tensor) -> None:
    analyser = analysed(concat).train()
    with torch.no_grad():
        result = evidence_of(analyser, images)
        analyser(images)
    start = len(next(r for r in analyser.masked_layers if r.name == "left").classes)
    assert [r.name for r in analyser.masked_layers][:2] == ["left", "joined"]
    before = 2 * OFFSET + result[start + 6 : start + 14]
    expected = torch.relu((before[:4] + before[4:]) / 2)
    assert torch.allclose(masks(analyser)["joined"][6:10], expected, atol=1e-6)


# --- state ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("factory", [None, Means])
def test_state_dict_and_restore_bring_back_the_masks(
    small_resnet: nn.Module, images: Tensor, factory: Callable[[int], nn.Module] | None
) -> None:
    analyser = analysed(small_resnet, pruning_model=factory)
    train(analyser, images, 3, lr=0.1)
    other = analysed(small_resnet, pruning_model=factory)
    other.load_state_dict(analyser.state_dict())
    other.restore()
    assert all(torch.equal(v, masks(other)[k]) for k, v in masks(analyser).items())
    assert torch.equal(other.last, analyser.last)
    assert torch.equal(other.eval()(images), analyser.eval()(images))


def test_every_tensor_moves_with_the_module(concat: nn.Module, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `.to` does not reach would stay on the CPU when the model goes to a GPU."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())  # meta has none
    analyser = analysed(concat).to("meta")
    tensors = {**dict(analyser.named_parameters()), **dict(analyser.named_buffers())}
    assert all(t.device.type == "meta" for t in tensors.values())
    assert {"_columns", "gates.columns", "coupled_masks.0.index_0", "coupled_masks.0.classes"} <= set(tensors)
    assert analyser(torch.zeros(2, 3, 16, 16, device="meta")).shape == (2, 5)  # no tensor of the CPU comes in


# --- equal pieces ---------------------------------------------------------------------------------


def halves(analyser: OutputAnalyser) -> list[np.ndarray]:
    (tied,) = [t for t in analyser.graph.tied_groups if len(t.groups) > 1]
    return [part for parts in tied.parts for part in parts]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("budgeted", [True, False], ids=["budget", "steered"])
def test_equal_halves_end_with_equal_counts(
    split: nn.Module, images: Tensor, seed: int, *, budgeted: bool
) -> None:
    analyser = analysed(split)
    torch.manual_seed(seed)
    put(analyser, torch.relu(torch.rand(analyser.graph.classes) - 0.35))
    first, second = halves(analyser)
    on = analyser.keep.copy()
    plan = analyser.freeze(flops(analyser, 0.6) if budgeted else None)
    assert plan.keep[first].sum() == plan.keep[second].sum()
    if budgeted:
        assert analyser.graph.flops(plan.keep) <= 0.6 * analyser.graph.flops()
    else:  # nothing that the masks keep is lost
        assert plan.keep[on].all() and plan.keep.sum() - on.sum() == abs(on[first].sum() - on[second].sum())
    analyser.eval()
    masked = analyser(images)
    done = analyser.finish(plan)
    assert done.rewritten == ()
    assert close(done.model.eval()(images), masked)


def test_equal_halves_after_a_phase(split: nn.Module, images: Tensor) -> None:
    analyser = analysed(split, max_iter=8)
    train(analyser, images, 8, lr=0.1)
    done = analyser.finish(analyser.freeze(flops(analyser, 0.5)))
    assert done.rewritten == () and done.model.stem.out_channels < 16


class Wide(nn.Module):
    """Many channels on maps of 3x3: what the deep layers of a detector are on a small image."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=16)
        self.up, self.down, self.linear = nn.Conv2d(8, 96, 1), nn.Conv2d(96, 24, 1), nn.Linear(24, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(F.relu(self.down(F.relu(self.up(F.relu(self.stem(x)))))).mean((2, 3)))


def test_small_maps_are_judged_at_their_own_size_where_pruning_models_would_cost_most() -> None:
    torch.manual_seed(0)
    images = torch.randn(4, 3, 48, 48)
    analyser = OutputAnalyser(Wide().eval(), images[:1], max_iter=10)
    assert [masked.side for masked in analyser.masked_layers] == [4, 4, 2]
    assert sorted(analyser.banks) == ["24 at 2", "8 at 4", "96 at 4"]
    twice = OutputAnalyser(Wide().eval(), images[:2], max_iter=10)  # the example's batch makes no difference
    assert [masked.side for masked in twice.masked_layers] == [4, 4, 2]
    analyser.train()(images).square().sum().backward()
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in analyser.banks["96 at 4"].conv_weights)
    analyser.pruning = False
    with analyser.set_aside():
        pass
    assert analyser.masked_layers.layer(analyser.masked_layers[0]).maps.side == 4


def test_maps_of_a_network_that_can_afford_it_are_of_16_by_16() -> None:
    from edgeprune.models import build

    analyser = OutputAnalyser(build("resnet20", num_classes=10), torch.zeros(1, 3, 32, 32))
    assert {masked.side for masked in analyser.masked_layers} == {16}
