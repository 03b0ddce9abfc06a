"""The running average of the weights."""

import pytest
import torch
from torch import nn

from edgeprune.training.average import Average


def test_the_average_by_hand() -> None:
    model = nn.BatchNorm1d(1)
    average = Average(model, 0.25)
    values, expected = [1.0], 1.0
    for step, weight in enumerate([5.0, -2.0, 3.0], 1):
        with torch.no_grad():
            model.weight.fill_(weight)
            model.running_mean.fill_(2 * weight)
        average.update()
        keep = min(0.25, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * weight
        values.append(expected)
    assert float(average.tensors["weight"]) == pytest.approx(expected)
    assert float(average.tensors["running_mean"]) != 0
    assert "num_batches_tracked" not in average.tensors


def test_it_stands_in_the_model_for_a_while() -> None:
    model = nn.Linear(1, 1)
    average = Average(model, 0.9)
    with torch.no_grad():
        model.weight.fill_(4.0)
    average.update()
    held = float(average.tensors["weight"])
    with average.in_model():
        assert float(model.weight) == held
    assert float(model.weight) == 4.0 and float(average.tensors["weight"]) == held
