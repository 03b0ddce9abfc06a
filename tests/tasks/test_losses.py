"""The loss of a step, by hand."""

import math

import pytest
import torch

from edgeprune.tasks import Classification

loss_of = Classification().total_loss

LOGITS, LABELS = torch.tensor([[1.0, 2.0, 0.5], [0.0, 0.0, 3.0]]), torch.tensor([1, 2])


def softmax(values: list[float]) -> list[float]:
    total = sum(math.exp(v) for v in values)
    return [math.exp(v) / total for v in values]


def hard() -> float:
    return -(math.log(softmax([1, 2, 0.5])[1]) + math.log(softmax([0, 0, 3])[2])) / 2


def test_cross_entropy_alone() -> None:
    assert float(loss_of(LOGITS, LABELS)) == pytest.approx(hard())


def test_a_teacher_by_hand() -> None:
    teacher = [[2.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    soft = 0.0
    for message, reference in zip(LOGITS.tolist(), teacher, strict=True):
        p, q = softmax([v / 4 for v in reference]), softmax([v / 4 for v in message])
        soft += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / 2
    expected = 0.1 * hard() + 0.9 * 16 * soft
    assert float(loss_of(LOGITS, LABELS, torch.tensor(teacher))) == pytest.approx(expected, rel=1e-5)


def test_a_network_that_says_what_the_teacher_says_has_nothing_to_learn_from_it() -> None:
    assert float(loss_of(LOGITS, LABELS, LOGITS)) == pytest.approx(0.1 * hard(), rel=1e-5)


def test_label_smoothing_by_hand() -> None:
    rows = [(softmax([1, 2, 0.5]), 1), (softmax([0, 0, 3]), 2)]
    expected = 0.0
    for p, label in rows:
        expected -= sum((0.9 * (k == label) + 0.1 / 3) * math.log(v) for k, v in enumerate(p)) / 2
    assert float(loss_of(LOGITS, LABELS, label_smoothing=0.1)) == pytest.approx(expected)
