from dataclasses import fields

import pytest

from edgeprune.comparison.options import CompareOptions
from edgeprune.comparison.rows import PlannedRow, planned_rows
from edgeprune.methods import METHODS
from edgeprune.train_prune.options import TrainPruneOptions


def test_every_method_comes_once_before_the_next_seed() -> None:
    options = CompareOptions(source="resnet8", methods=("all",), seeds=2)
    rows = planned_rows(options)
    assert [row.method for row in rows] == [*METHODS, *METHODS]
    assert [row.seed for row in rows] == [0] * len(METHODS) + [1] * len(METHODS)
    assert {row.moment for row in rows} == {None}


def test_moments() -> None:
    options = CompareOptions(source="resnet8", methods=("learned",), moments=("start", "epoch:4"), seeds=1)
    rows = planned_rows(options)
    assert [row.name for row in rows] == ["learned-start-seed0", "learned-epoch4-seed0"]
    assert [row.label for row in rows] == ["learned at start", "learned at epoch 4"]
    assert rows[1].own_training() == {
        "method": "learned", "seed": 0, "moment": "epoch:4", "init": "random", "prune_schedule": "one-shot",
    }  # fmt: skip


def test_rows_of_methods_differ_in_method_and_seed_alone() -> None:
    row = PlannedRow("bn-scale", 3)
    assert (row.name, row.label) == ("bn-scale-seed3", "bn-scale")
    assert row.own_training() == {"method": "bn-scale", "seed": 3}


@pytest.mark.skipif(
    "moment" not in {field.name for field in fields(TrainPruneOptions)},
    reason="train-prune has no moments yet",
)
def test_what_a_row_sets_train_prune_knows() -> None:
    made = TrainPruneOptions(**PlannedRow("l1", 1, "plateau").own_training())
    assert (made.method, made.seed, made.moment, made.init) == ("l1", 1, "plateau", "random")
