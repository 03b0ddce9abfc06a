"""The recipe for the epochs there are, in place of a choice among methods, fits and rates."""

from dataclasses import dataclass
from typing import Any

from edgeprune import tasks
from edgeprune.methods.base import Method
from edgeprune.methods.options import MethodOptions


@dataclass(frozen=True)
class Recipe:
    """A method, its fit and the training after it.

    Attributes:
        epochs: fewest that it is for.
        method: a name in `edgeprune.methods`.
        reconstruct: the fit of the next layers after the removal.
        rate: that fine-tuning begins at, as a share of the rate that the baseline was trained at.
        schedule: of the rate, in `edgeprune.training.rates`.
    """

    epochs: int
    method: str
    reconstruct: str
    rate: float
    schedule: str


# The fewer epochs come first. docs/methods.md, "How auto chooses", says what these rest on, and what was not measured.
RECIPES = (
    Recipe(0, "sensitivity", "sequential", 0.2, "cosine"),
    Recipe(20, "sensitivity", "sequential", 0.5, "cosine"),
)


# Boxes cannot be compared one by one, as `sensitivity` compares outputs; nothing was measured for them yet.
FOR_BOXES = Recipe(0, "l1", "none", 0.1, "cosine")


def recipe_for(epochs: int | None, task: str = "classification") -> Recipe:
    """Return the recipe for a training.

    Args:
        epochs: of it; None, where they are unknown, is as for the most.
        task: a name in `edgeprune.tasks`.
    """
    if tasks.get(task).loss_in_model:
        return FOR_BOXES
    return [recipe for recipe in RECIPES if epochs is None or recipe.epochs <= epochs][-1]


def recipe_rates(options: MethodOptions) -> dict[str, Any]:
    """Return the rate and its schedule for the epochs there are; nothing but for trained classifiers.

    Args:
        options: of `train-prune`, with the defaults of its data.
    """
    baseline_lr = getattr(options, "baseline_lr", None)
    if getattr(options, "task", None) != "classification" or baseline_lr is None:
        return {}
    if getattr(options, "init", None) == "random":
        return {}
    recipe = recipe_for(getattr(options, "epochs", None))
    return {"lr": round(recipe.rate * baseline_lr, 12), "schedule": recipe.schedule}


class Auto(Method):
    """Stands for the method of a recipe: options that name it are filled in with that method's own name."""

    name = "auto"
    help = "a recipe for the epochs there are: method, fit, rate and its schedule"

    def defaults(self, options: MethodOptions) -> dict[str, Any]:
        """Return the recipe's method and fit, and that method's schedule of removals."""
        from edgeprune import methods

        recipe = recipe_for(getattr(options, "epochs", None), getattr(options, "task", "classification"))
        own = methods.get(recipe.method).defaults(options)
        return {
            **own,
            "method": recipe.method,
            "reconstruct": options.reconstruct or recipe.reconstruct,
        }

    def training_defaults(self, options: MethodOptions) -> dict[str, Any]:
        """Return the recipe's rate and schedule, which are for trained classifiers alone."""
        return recipe_rates(options)

    @property
    def needs_data(self) -> bool:
        """Whether a recipe's method needs training images: some does."""
        return True
