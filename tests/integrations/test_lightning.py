"""A LightningModule is pruned by Lightning's own Trainer (in the environment of `make networks`)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

pl: Any = pytest.importorskip("pytorch_lightning", reason="Lightning is not installed: see `make networks`")

from edgeprune.errors import TrainError  # noqa: E402
from edgeprune.integrations.lightning import PruningCallback  # noqa: E402


class Module(pl.LightningModule):  # type: ignore[misc]
    """A network inside of a LightningModule."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2),
        )  # fmt: skip

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """Return the loss."""
        return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return AdamW."""
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def fit(module: Module, pruning: PruningCallback, folder: Path, **more: Any) -> None:
    batches = [(torch.randn(4, 3, 12, 12), torch.randint(0, 2, (4,))) for _ in range(8)]
    trainer = pl.Trainer(
        max_epochs=2, callbacks=[pruning], accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, default_root_dir=folder, **more,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))


@pytest.mark.parametrize("method", ["learned", "l1"])
def test_a_network_in_a_module_is_pruned(method: str, tmp_path: Path) -> None:
    module, network = Module(), None
    network = module.net
    pruning = PruningCallback(
        torch.zeros(1, 3, 12, 12), network="net", method=method, target="flops=0.6", steps=10
    )
    fit(module, pruning, tmp_path)
    assert module.net is network and type(network[0]) is nn.Conv2d
    before, after = pruning.report.flops  # type: ignore[union-attr]
    assert after <= 0.6 * before and pruning.pruner.taken == 16  # type: ignore[union-attr]


def test_accumulated_gradients_are_one_step(tmp_path: Path) -> None:
    pruning = PruningCallback(
        torch.zeros(1, 3, 12, 12), network="net", method="learned", target="flops=0.6", steps=3
    )
    fit(Module(), pruning, tmp_path, accumulate_grad_batches=4)
    assert pruning.pruner.taken == 4  # type: ignore[union-attr]


def test_a_network_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainError, match="Module has no submodule 'body'"):
        fit(Module(), PruningCallback(torch.zeros(1, 3, 12, 12), network="body"), tmp_path)
