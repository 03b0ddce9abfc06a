"""The recipe that `auto` stands for."""

from dataclasses import replace

import pytest

from edgeprune import methods
from edgeprune.data import load_data
from edgeprune.methods import MethodOptions
from edgeprune.methods.auto import FOR_BOXES, RECIPES, recipe_for
from edgeprune.pruner.arguments import method_options
from edgeprune.train_prune.defaults import resolve
from edgeprune.train_prune.options import SMALL, TrainPruneOptions


def test_every_recipe_is_of_a_method_and_the_first_needs_no_epochs() -> None:
    assert RECIPES[0].epochs == 0
    assert [recipe.epochs for recipe in RECIPES] == sorted({recipe.epochs for recipe in RECIPES})
    for recipe in (*RECIPES, FOR_BOXES):
        methods.get(recipe.method).check(MethodOptions(method=recipe.method, reconstruct=recipe.reconstruct))


@pytest.mark.parametrize(("epochs", "place"), [(0, 0), (19, 0), (20, 1), (300, -1), (None, -1)])
def test_the_recipe_follows_the_epochs(epochs: int | None, place: int) -> None:
    assert recipe_for(epochs) is RECIPES[place]
    assert recipe_for(epochs, "detect") is FOR_BOXES


def test_a_run_has_the_recipe_but_for_what_was_typed() -> None:
    data = load_data("digits")
    typed = TrainPruneOptions(method="auto", epochs=6)
    recipe = recipe_for(6)
    chosen = resolve(typed, data)
    assert (chosen.method, chosen.reconstruct, chosen.prune_schedule) == (
        recipe.method, recipe.reconstruct, "one-shot",
    )  # fmt: skip
    assert (chosen.lr, chosen.schedule) == (pytest.approx(recipe.rate * 0.1), recipe.schedule)
    own = resolve(replace(typed, lr=0.003, reconstruct="none", baseline_lr=0.2), data)
    assert (own.method, own.lr, own.reconstruct) == (recipe.method, 0.003, "none")
    assert resolve(replace(typed, baseline_lr=0.2), data).lr == pytest.approx(recipe.rate * 0.2)
    segmenting = resolve(replace(typed, task="segment"), data)
    assert (segmenting.method, segmenting.lr) == (recipe.method, SMALL["lr"])


def test_in_an_own_loop_it_is_the_method_and_its_fit() -> None:
    options = method_options("auto", 10, has_plan=False, opaque=(), more={})
    assert (options.method, options.reconstruct) == (RECIPES[-1].method, RECIPES[-1].reconstruct)
