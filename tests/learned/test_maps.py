"""Square maps of the channels that reach a layer."""

import pytest
import torch

from edgeprune.learned.maps import ChannelMaps, per_image, square_shape, to_squares


def test_an_image_is_resized_as_ever() -> None:
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert to_squares(x, 2).flatten().tolist() == [2.5, 4.5, 10.5, 12.5]  # means of 2x2


def test_a_sequence_is_laid_in_rows() -> None:
    x = torch.arange(8.0).view(1, 1, 8)  # means of two neighbours
    assert to_squares(x, 2).tolist() == [[[[0.5, 2.5], [4.5, 6.5]]]]
    assert to_squares(torch.arange(4.0).view(1, 1, 4), 2).tolist() == [[[[0, 1], [2, 3]]]]


def test_a_volume_is_four_slices_side_by_side() -> None:
    x = torch.arange(4.0).view(1, 1, 4, 1, 1).expand(1, 1, 4, 2, 2)
    rows = to_squares(x, 4)[0, 0].tolist()
    assert rows == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


def test_a_vector_makes_a_constant_map() -> None:
    assert to_squares(torch.tensor([[1.0, 2.0]]), 2).tolist() == [[[[1, 1], [1, 1]], [[2, 2], [2, 2]]]]


def test_more_axes_than_three_count_as_a_sequence() -> None:
    x = torch.arange(16.0).view(1, 1, 2, 2, 2, 2)
    assert to_squares(x, 4).flatten().tolist() == list(range(16))


@pytest.mark.parametrize(
    ("positions", "shape"),
    [
        ((), (1, 1)),
        ((9,), (3, 3)),
        ((10,), (4, 4)),
        ((7, 5), (7, 5)),
        ((8, 6, 5), (12, 10)),
        ((2, 2, 2, 2), (4, 4)),
    ],
)
def test_square_shape(positions: tuple[int, ...], shape: tuple[int, int]) -> None:
    assert square_shape(positions) == shape


def test_channels_along_the_last_axis() -> None:
    x = torch.randn(2, 5, 3, 4)
    assert torch.equal(ChannelMaps(axis=3, side=2)(x), to_squares(x.permute(0, 3, 1, 2), 2))
    assert torch.equal(ChannelMaps(axis=2, side=2)(x[:, :, :, 0]), to_squares(x[..., 0].transpose(1, 2), 2))


def test_a_sample_without_a_batch() -> None:
    x = torch.randn(3, 4, 4)
    assert torch.equal(ChannelMaps(axis=0, side=4)(x), x[None])


def test_a_flattened_map_has_its_positions_again() -> None:
    x = torch.randn(2, 3, 2, 2)
    picks = torch.tensor([[0, 1, 2, 3], [8, 9, 10, 11]])  # the second channel is not judged
    assert torch.equal(ChannelMaps(1, 2, picks)(x.flatten(1)), x[:, [0, 2]])
    apart = torch.tensor([[0], [5]])
    assert ChannelMaps(1, 2, apart)(x.flatten(1))[:, :, 0, 0].tolist() == x.flatten(1)[:, [0, 5]].tolist()


def test_maps_per_image() -> None:
    maps = torch.arange(6.0).view(6, 1, 1, 1)
    assert per_image(maps, 6) is maps
    assert per_image(maps, 3).flatten().tolist() == [0.5, 2.5, 4.5]  # two windows each
    assert per_image(maps, 4).flatten().tolist() == [2.5] * 4  # boxes
    assert per_image(maps[:0], 2).flatten().tolist() == [0, 0]  # no box at all
