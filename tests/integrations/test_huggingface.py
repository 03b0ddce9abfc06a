"""A model is pruned by Hugging Face's own Trainer (in the environment of `make networks`)."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

transformers: Any = pytest.importorskip(
    "transformers", reason="transformers is not installed: see `make networks`"
)

from edgeprune.integrations.huggingface import PruningCallback  # noqa: E402


class Net(nn.Module):
    """Takes what the Trainer gives, and returns a loss where there are labels."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2),
        )  # fmt: skip

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """(N, 3, H, W) -> logits, and the loss."""
        logits = self.body(pixel_values)
        loss = {} if labels is None else {"loss": nn.functional.cross_entropy(logits, labels)}
        return {**loss, "logits": logits}


@pytest.mark.parametrize("method", ["l1", "learned"])
def test_a_model_is_pruned_by_its_trainer(method: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = [{"pixel_values": torch.randn(3, 12, 12), "labels": number % 2} for number in range(32)]
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path), num_train_epochs=2, per_device_train_batch_size=4, report_to=[], use_cpu=True,
        save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    model = Net()
    body = model.body
    pruning = PruningCallback(torch.zeros(1, 3, 12, 12), method=method, target="flops=0.6", steps=10)
    transformers.Trainer(model, arguments, train_dataset=data, callbacks=[pruning]).train()
    assert model.body is body and type(body[0]) is nn.Conv2d
    before, after = pruning.report.flops  # type: ignore[union-attr]
    assert after <= 0.6 * before and pruning.pruner.taken == 16  # type: ignore[union-attr]
