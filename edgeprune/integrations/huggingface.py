"""Prune a model while Hugging Face's Trainer trains it.

::

    from edgeprune.integrations.huggingface import PruningCallback

    pruning = PruningCallback(torch.zeros(1, 3, 224, 224), target="flops=0.5", method="l1", steps=2000)
    Trainer(model, args, train_dataset=data, callbacks=[pruning]).train()
    print(pruning.report)
"""

from typing import Any

from transformers import TrainerCallback

from edgeprune.errors import TrainError
from edgeprune.pruner import Pruner
from edgeprune.pruner.report import Report


class PruningCallback(TrainerCallback):
    """Follows the Trainer's optimizer; `report` is there after the training.

    Args:
        example: an input of the model's forward, batch included, or a tuple of its arguments.
        options: of `edgeprune.Pruner`.

    Raises:
        TrainError: the Trainer gave no optimizer.
    """

    def __init__(self, example: Any, **options: Any) -> None:
        self.example, self.options = example, options
        self.pruner: Pruner | None = None
        self.report: Report | None = None

    def on_train_begin(
        self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None, **_: Any
    ) -> None:
        """Begin with the Trainer's model and optimizer.

        Args:
            args: the Trainer's arguments.
            state: its state.
            control: its control.
            model: that is trained.
            optimizer: that trains it, which the Trainer has made by now.
        """
        if optimizer is None:
            raise TrainError(
                "the Trainer gave no optimizer: update transformers, or use edgeprune.Pruner in a loop"
            )
        self.pruner = Pruner(model, self.example, optimizer=optimizer, **self.options)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Take a step after the optimizer's.

        Args:
            args: the Trainer's arguments.
            state: its state.
            control: its control.
        """
        if self.pruner is not None and self.pruner.stepped:
            self.pruner.step()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Finish: the model is dense and smaller from now on.

        Args:
            args: the Trainer's arguments.
            state: its state.
            control: its control.
        """
        if self.pruner is not None:
            self.pruner.finish()
            self.report = self.pruner.report
