"""Prune a LightningModule, or a network inside of one, while a Lightning Trainer trains it.

::

    from edgeprune.integrations.lightning import PruningCallback

    pruning = PruningCallback(example, network="net", target="flops=0.5", steps=4000)
    Trainer(max_epochs=30, callbacks=[pruning]).fit(module, loader)
    print(pruning.report)
"""

from typing import Any

try:
    import lightning.pytorch as pl
except ImportError:  # the same under its other name
    import pytorch_lightning as pl

from edgeprune.errors import TrainError
from edgeprune.pruner import Pruner
from edgeprune.pruner.report import Report


class PruningCallback(pl.Callback):
    """Follows the first optimizer of a training; `report` is there after it.

    Args:
        example: an input of the network's forward, batch included, or a tuple of its arguments.
        network: name of the submodule to prune; None for the LightningModule itself.
        options: of `edgeprune.Pruner`.

    Raises:
        TrainError: the training has no optimizer of its own, or the module no such network.
    """

    def __init__(self, example: Any, network: str | None = None, **options: Any) -> None:
        self.example, self.network, self.options = example, network, options
        self.pruner: Pruner | None = None
        self.report: Report | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin, once the optimizers are there."""
        if not trainer.optimizers:
            raise TrainError("this LightningModule has no optimizer: return one from configure_optimizers")
        try:
            network = pl_module if self.network is None else pl_module.get_submodule(self.network)
        except AttributeError as error:
            raise TrainError(f"{type(pl_module).__name__} has no submodule {self.network!r}") from error
        self.pruner = Pruner(network, self.example, optimizer=trainer.optimizers[0], **self.options)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Take a step where the optimizer did, and log how much is left."""
        if self.pruner is not None and self.pruner.stepped:
            numbers = self.pruner.step()
            pl_module.log("edgeprune/fraction", numbers["fraction"])

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Finish: the network is dense and smaller from now on."""
        if self.pruner is not None:
            self.pruner.finish()
            self.report = self.pruner.report
