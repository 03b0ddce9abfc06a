"""Boxes follow what is done to their image."""

import torch

from edgeprune.data.augment import generator_for
from edgeprune.data.boxes import mirrored_boxes, random_window, rescaled, seen_through, windowed


def test_resized_and_mirrored_by_hand() -> None:
    boxes = torch.tensor([[2.0, 4.0, 10.0, 8.0]])
    assert rescaled(boxes, (20, 40), (40, 20)).tolist() == [[1.0, 8.0, 5.0, 16.0]]
    assert mirrored_boxes(boxes, 40).tolist() == [[30.0, 4.0, 38.0, 8.0]]


def test_a_window_shows_boxes_whose_centre_is_in_it_cut_at_its_edges() -> None:
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0], [5.0, 5.0, 25.0, 15.0], [30.0, 30.0, 34.0, 34.0]])
    shown, labels = seen_through(boxes, torch.tensor([1, 2, 3]), (6, 4, 26, 12))
    assert shown.tolist() == [[0.0, 1.0, 19.0, 8.0]] and labels.tolist() == [2]


def test_a_box_of_which_less_than_a_pixel_is_left_goes() -> None:
    shown, labels = seen_through(torch.tensor([[5.0, 0.0, 5.5, 9.0]]), torch.tensor([0]), (0, 0, 10, 10))
    assert shown.shape == (0, 4) and labels.shape == (0,)


def test_boxes_stay_around_the_ink_in_every_window() -> None:
    image = torch.zeros(1, 40, 60, dtype=torch.uint8)
    image[:, 10:20, 20:30] = 255
    windows = [random_window((40, 60), generator_for(number)) for number in range(40)]
    assert 10 < sum(window is None for window in windows) < 30
    seen = 0
    for window in windows:
        left, top, right, bottom = window or (0, 0, 60, 40)
        assert 0 <= left < right <= 60 and 0 <= top < bottom <= 40
        boxes, _ = seen_through(
            torch.tensor([[20.0, 10.0, 30.0, 20.0]]), torch.tensor([0]), (left, top, right, bottom)
        )
        shown = windowed(image, window, (80, 120))
        assert shown.shape == (1, 80, 120)
        for x1, y1, x2, y2 in rescaled(boxes, (bottom - top, right - left), (80, 120)).round().int().tolist():
            inside = shown[0, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
            assert bool((inside == 255).all())
            seen += 1
    assert seen > 30


def test_windows_are_functions_of_their_generator() -> None:
    assert random_window((40, 60), generator_for(3)) == random_window((40, 60), generator_for(3))
