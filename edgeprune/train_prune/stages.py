"""The stages of a run: baseline, pruning, fine-tuning, int8's rounding, one evaluation on the test images.

Each is resumable.
"""

from dataclasses import dataclass, replace

from torch import Tensor

from edgeprune import training
from edgeprune.methods.compensation import compensated, removed_filters, renamed
from edgeprune.records.runs import Summary
from edgeprune.train_prune.baseline import BaselineStage
from edgeprune.train_prune.quantizing import QuantizeStage
from edgeprune.train_prune.removals import RemovalStages
from edgeprune.train_prune.stage_context import StageContext
from edgeprune.train_prune.summary import summarize


@dataclass(frozen=True)
class Stages:
    """The stages of one run."""

    context: StageContext

    def execute(self) -> Summary:
        """Run every stage that is not done yet, and return the summary."""
        BaselineStage(self.context).execute()
        self.context.check_stop()
        if not self.context.run.has("settled.safetensors"):
            RemovalStages(self.context).execute()
        self.context.check_stop()
        if not self.context.run.has("pruned.safetensors"):
            self._finetune()
        self.context.check_stop()
        QuantizeStage(self.context).execute()
        self.context.check_stop()
        self.context.progress(0, 1, "test images")
        summary = summarize(self.context.run, self.context.data, self.context.options)
        self.context.run.finish(summary)
        return summary

    def _finetune(self) -> None:
        o = self.context.options
        model = self.context.run.load("settled")
        _, momentum = self.context.run.removals.load() if o.optimizer_state == "slice" else (None, {})
        before, total = self.context.run.removals.plans_and_steps()[1][-1], self.context.steps(o.epochs)
        options = replace(self.context.train_options(o.lr or 0.01, o.schedule or "thesis"), ema=o.ema)
        teacher = self.context.run.load("baseline") if o.distill else None
        with compensated(model, self._removed_filters()):
            stage = self.context.stage(
                "finetune",
                model,
                options,
                total - before,
                span=(before, total),
                teacher=teacher,
                momentum=renamed(model, momentum),
            )
            stage.train()
        model.cpu()
        training.recalibrate(model, self.context.data, batch_size=o.batch_size or 128)
        self.context.run.save_tensors("pruned", model.state_dict())
        self.context.run.removals.drop()

    def _removed_filters(self) -> dict[str, Tensor]:
        """Return what compensation takes from: the unpruned network's filters that were removed."""
        if not self.context.options.compensate:
            return {}
        weights = self.context.run.load("baseline").state_dict()
        return removed_filters(self.context.run.removals.graphs(), weights)
