"""The unpruned model of a run: from a weights file, by training, or with random weights."""

from dataclasses import dataclass, replace

import torch

from edgeprune.errors import WeightsError
from edgeprune.files.reading import sha256
from edgeprune.models import load_weights
from edgeprune.train_prune.stage_context import StageContext


@dataclass(frozen=True)
class BaselineStage:
    """Makes the baseline, if the run has none."""

    context: StageContext

    def execute(self) -> None:
        """Make the unpruned model, if the run has none: from a weights file, by training, or with random weights."""
        if self.context.run.has("baseline.safetensors"):
            return
        if self.context.options.weights:
            self._from_file()
        elif self.context.options.init == "random":
            self._untrained()
        else:
            self._trained()

    def _from_file(self) -> None:
        """Copy the user's weights into a run that was killed before that."""
        path = self.context.options.weights or ""
        model = self.context.run.build()
        load_weights(model, path, key=self.context.options.weights_key)
        if sha256(path) != self.context.run.config["weights_sha256"]:
            raise WeightsError(f"{path} has changed since this run began: restore it, or start the run anew")
        self.context.run.save_tensors("baseline", model.state_dict())

    def _untrained(self) -> None:
        """Save the untrained network, which is the baseline of a run that prunes during its first training."""
        torch.manual_seed(self.context.options.seed)
        self.context.run.save_tensors("baseline", self.context.run.build().state_dict())

    def _trained(self) -> None:
        torch.manual_seed(self.context.options.seed)
        model = self.context.run.build()
        options = replace(
            self.context.train_options(self.context.options.baseline_lr or 0.1, "cosine"),
            nesterov=True,
            weight_decay=max(self.context.options.weight_decay, 5e-4),  # the usual decay from scratch
        )
        stage = self.context.stage(
            "baseline", model, options, self.context.steps(self.context.options.baseline_epochs)
        )
        stage.train()
        self.context.run.save_tensors("baseline", model.state_dict())
