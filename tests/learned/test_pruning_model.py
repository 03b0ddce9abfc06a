"""The pruning-models: shapes, and many computed as one."""

import pytest
import torch
from torch import Tensor, nn

from edgeprune.learned.pruning_model import PruningModel, PruningModelBank, multiply_adds, own_side, resize


@pytest.mark.parametrize("side", [(32, 32), (16, 16), (8, 8), (1, 1), (7, 5), (33, 48), (64, 32)])
def test_resize_gives_16_by_16_and_keeps_a_constant(side: tuple[int, int]) -> None:
    x = torch.tensor([3.0, -1.0]).view(1, 2, 1, 1).expand(2, 2, *side)
    out = resize(x)
    assert out.shape == (2, 2, 16, 16)
    assert torch.allclose(out, torch.tensor([3.0, -1.0]).view(1, 2, 1, 1).expand_as(out))


def test_resize_averages_where_it_divides() -> None:
    x = torch.arange(32.0 * 32).view(1, 1, 32, 32)
    assert float(resize(x)[0, 0, 0, 0]) == (0 + 1 + 32 + 33) / 4
    assert resize(x).mean() == x.mean()
    same = torch.randn(1, 1, 16, 16)
    assert resize(same) is same


def test_one_channel_of_a_pruning_model_sees_its_own_map_only() -> None:
    torch.manual_seed(0)
    model = PruningModel(3).eval()
    model.linear.weight.data.copy_(torch.eye(3).repeat_interleave(2, 1))
    x = torch.randn(4, 3, 8, 8)
    changed = x.clone()
    changed[:, 1] += 1
    difference = (model(x) - model(changed)).abs().sum(0)
    assert model(x).shape == (4, 3)
    assert difference[1] > 1e-4 and difference[0] == difference[2] == 0


def test_four_blocks_take_the_map_to_one_pixel() -> None:
    model = PruningModel(2)
    assert [type(m).__name__ for m in model.blocks] == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"] * 4
    assert all(
        c.groups == 2 and c.weight.shape[:2] == (4, 2) for c in model.blocks if isinstance(c, nn.Conv2d)
    )
    assert model.blocks(model.depthwise(torch.randn(2, 2, 16, 16))).shape == (2, 4, 1, 1)


def singles_and_bank(channels: int, copies: int = 3) -> tuple[list[PruningModel], PruningModelBank, Tensor]:
    torch.manual_seed(channels)
    singles = [PruningModel(channels) for _ in range(copies)]
    bank = PruningModelBank(copies, channels)
    bank.load(singles)
    return singles, bank, torch.randn(6, copies * channels, 16, 16)


@pytest.mark.parametrize("channels", [4, 8, 16, 5, 1])
def test_a_bank_computes_what_single_ones_do(channels: int) -> None:
    singles, bank, x = singles_and_bank(channels)
    with torch.no_grad():
        together = bank(x)
    assert together.shape == (3, 6, channels)
    for index, single in enumerate(singles):
        alone = single(x[:, index * channels : (index + 1) * channels]).detach()
        assert torch.allclose(together[index], alone, rtol=1e-5, atol=1e-5 * float(alone.abs().max()))


@pytest.mark.parametrize("channels", [4, 5])
def test_a_bank_learns_what_single_ones_do(channels: int) -> None:
    singles, bank, x = singles_and_bank(channels)
    (bank(x) ** 2).sum().backward()
    for index, single in enumerate(singles):
        (single(x[:, index * channels : (index + 1) * channels]) ** 2).sum().backward()
    for block in range(4):
        alone = torch.cat([s.blocks[4 * block].weight.grad for s in singles])
        together = bank.conv_weights[block].grad
        assert torch.allclose(together, alone, rtol=1e-3, atol=1e-5 * float(alone.abs().max()))
    alone = torch.cat([s.depthwise.weight.grad for s in singles])
    assert torch.allclose(bank.stem_weight.grad, alone, rtol=1e-3, atol=1e-4 * float(alone.abs().max()))


def test_copies_of_a_bank_do_not_see_each_other() -> None:
    _, bank, x = singles_and_bank(4)
    changed = x.clone()
    changed[:, :4] += 1
    difference = (bank(x) - bank(changed)).abs().amax((1, 2))
    assert difference[0] > 1e-4 and difference[1] == difference[2] == 0


def test_a_map_is_judged_at_the_power_of_two_that_holds_it() -> None:
    assert [own_side((2, 7, side, 1)) for side in (1, 2, 3, 4, 5, 8, 9, 16, 17, 96)] == [
        2, 2, 4, 4, 8, 8, 16, 16, 16, 16,
    ]  # fmt: skip
    assert own_side((2, 7, 1, 5)) == 8


@pytest.mark.parametrize("side", [2, 4, 8, 16])
def test_a_bank_of_small_maps_pools_to_one_pixel_at_its_end(side: int) -> None:
    """By a single pruning-model whose first pools are left out; its multiply-adds by torch's own counter."""
    from torch.utils.flop_counter import FlopCounterMode

    torch.manual_seed(side)
    single = PruningModel(2)
    bank = PruningModelBank(1, 2, side)
    bank.load([single])
    x = torch.randn(3, 2, side, side)
    maps = single.depthwise(x)
    for number, layer in enumerate(single.blocks):
        if not isinstance(layer, nn.MaxPool2d) or number // 4 >= 4 - side.bit_length() + 1:
            maps = layer(maps)
    assert torch.allclose(bank(x)[0], single.linear(maps.flatten(1)), rtol=1e-4, atol=1e-5)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        maps = single.depthwise(x[:1])
        for number, layer in enumerate(single.blocks):
            if not isinstance(layer, nn.MaxPool2d) or number // 4 >= 4 - side.bit_length() + 1:
                maps = layer(maps)
    assert counter.get_total_flops() == 2 * multiply_adds(2, side)
