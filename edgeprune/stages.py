"""The stages of one run: baseline, pruning, fine-tuning, one look at the test images; each resumable."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import nn

from edgeprune import training
from edgeprune.budget import Budget
from edgeprune.data import Batch, DataBundle
from edgeprune.errors import WeightsError
from edgeprune.files import sha256
from edgeprune.goals import make_budget
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.importance import needs_batches, score
from edgeprune.judging import judge
from edgeprune.latency.device import DeviceBudget
from edgeprune.learned.analyser import OutputAnalyser
from edgeprune.learned.phase import PruningPhase
from edgeprune.learned.scale import restore_scale
from edgeprune.models import load_weights
from edgeprune.ranks import ranks
from edgeprune.recipe import TrainPruneOptions, course_of
from edgeprune.reconstruct import SEQUENTIAL_IMAGES
from edgeprune.runs import Run
from edgeprune.schedules.course import Course, Removal
from edgeprune.schedules.methods import PLAN
from edgeprune.schedules.penalties import GroupLasso, Slimming, travel
from edgeprune.schedules.removal import Removed, Scorer, Scores, keep_all, remove
from edgeprune.schedules.scaling import ScaleFactors
from edgeprune.schedules.soft import SoftPruning
from edgeprune.training import Extra, Plateau, Progress, Stage, TrainOptions

HELD_OUT = 2000  # images on which two models are compared


@dataclass
class Stages:
    """The stages of one run. ``progress(stage share...)`` and ``stop`` come from whoever calls."""

    run: Run
    data: DataBundle
    options: TrainPruneOptions
    progress: Progress
    stop: Callable[[], bool]
    scalars: Callable[[str, float, int], None]

    @cached_property
    def budget(self) -> Budget:
        """What may remain of the baseline."""
        baseline = self.run.load("baseline")
        graph = build_graph(baseline, torch.zeros(1, *self.data.shape), opaque=self.options.opaque or ())
        plan = self.run.config.get("plan")
        return make_budget(baseline, graph, self.options, plan=plan, progress=self.progress)

    def execute(self) -> dict[str, Any]:
        """Every stage that is not done yet; returns the summary."""
        self.baseline()
        self._check_stop()
        if not self.run.has("settled.safetensors"):
            course = course_of(self.options, self.data)
            if course is None:
                self._prune_learned()
            else:
                self._prune_by(course)
        self._check_stop()
        if not self.run.has("pruned.safetensors"):
            self._finetune()
        self._check_stop()
        self.progress(0, 1, "test images")
        summary = judge(self.run, self.data, self.options)
        self.run.finish(summary)
        return summary

    def _check_stop(self) -> None:
        """Stop between two stages where a signal came after the last step of one: its result is kept.

        Processes that train together would have to agree first; there, a later step does.
        """
        if ranks().world == 1 and self.stop():
            raise training.Interrupted

    def baseline(self) -> None:
        """The unpruned model: the given weights, trained ones, or random ones; nothing if it is there."""
        if self.run.has("baseline.safetensors"):
            return
        if self.options.weights:
            self._given_baseline()
        elif self.options.init == "random":
            self._untrained_baseline()
        else:
            self._trained_baseline()

    def _train_options(self, lr: float, schedule: str) -> TrainOptions:
        o = self.options
        return TrainOptions(
            batch_size=o.batch_size or 128,
            lr=lr,
            momentum=o.momentum,
            weight_decay=o.weight_decay,
            schedule=schedule,
            nesterov=o.nesterov,
            label_smoothing=o.label_smoothing,
            precision=o.precision,
            device=o.device,
            seed=o.seed,
        )

    def _stage(self, name: str, model: nn.Module, options: TrainOptions, steps: int, **more: Any) -> Stage:
        return Stage(
            name, model, self.data, options, steps, run=self.run, progress=self.progress, stop=self.stop,
            scalars=self.scalars, **more,
        )  # fmt: skip

    def _steps(self, epochs: int | None) -> int:
        return self.data.steps(self.options.batch_size or 1) * (epochs or 0)

    def _given_baseline(self) -> None:
        """The run was killed before the given weights were copied into it."""
        path = self.options.weights or ""
        model = self.run.build()
        load_weights(model, path, key=self.options.weights_key)
        if sha256(path) != self.run.config["weights_sha256"]:
            raise WeightsError(f"{path} has changed since this run began: restore it, or start the run anew")
        self.run.save_tensors("baseline", model.state_dict())

    def _untrained_baseline(self) -> None:
        """Where pruning happens in the first training, the network it starts from is the baseline."""
        torch.manual_seed(self.options.seed)
        self.run.save_tensors("baseline", self.run.build().state_dict())

    def _trained_baseline(self) -> None:
        torch.manual_seed(self.options.seed)
        model = self.run.build()
        options = replace(
            self._train_options(self.options.baseline_lr or 0.1, "cosine"),
            nesterov=True,
            weight_decay=max(self.options.weight_decay, 5e-4),  # from scratch: the field's usual decay
        )
        stage = self._stage("baseline", model, options, self._steps(self.options.baseline_epochs))
        stage.train()
        self.run.save_tensors("baseline", model.state_dict())

    def _prune_learned(self) -> None:
        """The learned method's phase, from the baseline to the settled model."""
        o = self.options
        torch.manual_seed(o.seed + 1)
        baseline = self.run.load("baseline")
        analyser = OutputAnalyser(
            baseline,
            torch.zeros(1, *self.data.shape),
            max_iter=o.prune_iterations or 1,
            offset=o.offset,
            images=o.mask_images,
            floor=o.floor,
            autocast=training.PRECISIONS[o.precision],
            opaque=o.opaque or (),
        )
        pace = self.budget.pace(analyser.graph, score(analyser.graph, "l2"))
        phase = PruningPhase(analyser, pace, self.run)
        whole = self._steps(o.epochs)
        stage = self._stage(
            "prune",
            analyser,
            self._train_options(o.lr or 0.01, o.schedule or "thesis"),
            o.prune_iterations or 1,
            span=(0, whole),
            extra=phase,
            recalibrate_for_evaluation=True,
        )
        stage.train()
        analyser.cpu()
        plan = analyser.settle(None if phase.manual else self.budget)
        if phase.manual:
            note = f"steered by hand to the end: the masks are as they came out, {o.target} was not enforced"
            plan = replace(plan, notes=(*plan.notes, note))
        self._keep_times()
        done = analyser.finish(plan)
        restore_scale(done.model, torch.zeros(1, *self.data.shape), baseline.state_dict())
        training.recalibrate(done.model, self.data, batch_size=o.batch_size or 128)
        self.run.save_plans([done.plan.to_dict(analyser.graph)], [o.prune_iterations or 1])
        self.run.save_tensors("settled", done.model.state_dict())

    def _prune_by(self, course: Course) -> None:
        """A criterion's removals, from the baseline to the settled model; each leaves its own state."""
        while not self._removed_all(course):
            self._check_stop()
            self._next_removal(course)
        model, _ = self.run.load_removal()
        self.run.save_tensors("settled", model.state_dict())

    def _keep_times(self) -> None:
        """Keep what was measured when widths were settled for a device."""
        if isinstance(self.budget, DeviceBudget) and self.budget.attempts:
            self.run.save_times(self.budget.record())

    def _removed_all(self, course: Course) -> bool:
        return self.run.has("model.json") and self._next_of(course) is None

    def _next_of(self, course: Course) -> Removal | None:
        """The removal that comes next; None after the last. A plateau's lead-in counts as one of nothing."""
        plans, steps = self.run.removals()
        done = len(plans)
        moment = course.moment_step
        if moment is None:
            if done == 0:
                return Removal(course.longest_lead, 0.0, course.method.criterion)
            moment, done = steps[0], done - 1
        removals = course.removals(moment)
        return removals[done] if done < len(removals) else None

    def _next_removal(self, course: Course) -> None:
        """Train up to the next removal, and make it."""
        removal = self._next_of(course)
        assert removal is not None
        plans, steps = self.run.removals()
        start = steps[-1] if steps else 0
        model, momentum = self.run.load_removal()
        graph = build_graph(model, torch.zeros(1, *self.data.shape), opaque=self.options.opaque or ())
        options = self._train_options(self.options.lr or 0.01, self.options.schedule or "thesis")
        stage = self._stage(
            f"prune {len(plans) + 1}" if plans else "prune",
            graph.model,
            options,
            removal.step - start,
            span=(start, course.whole),
            momentum=momentum,
        )
        extra = self._extra_of(course, removal, graph, stage)
        stage.extra = extra
        stage.train()
        momenta = {
            k.replace("parametrizations.", "").removesuffix(".original"): v
            for k, v in stage.momenta().items()
        }
        graph.model.cpu()
        scores = extra.fold() if isinstance(extra, ScaleFactors) else None
        small: nn.Module
        if removal.way == 0:
            plan, small, kept = keep_all(graph), graph.model, momenta
        else:
            done = self._remove(graph, removal, scores, momenta)
            self._keep_times()
            plan, small, kept = done.plan.to_dict(graph), done.model, done.momentum
            if course.schedule == "regularised":  # shrunk weights would learn faster than they did before
                restore_scale(small, torch.zeros(1, *self.data.shape), self.run.load("baseline").state_dict())
            small = self._recalibrated(small)
        kept = kept if self.options.optimizer_state == "slice" or removal.way == 0 else {}
        self.run.save_removal(small.state_dict(), kept, plan, start + stage.step)

    def _recalibrated(self, fitted: nn.Module) -> nn.Module:
        """With BatchNorm's statistics measured anew, unless fits in sequence left them good as they were."""

        def recalibrate(model: nn.Module) -> None:
            training.recalibrate(model, self.data, batch_size=self.options.batch_size or 128)

        if self.options.reconstruct != "sequential" or not self.data.sizes["val"]:
            recalibrate(fitted)
            return fitted

        def held_out(model: nn.Module) -> float:
            return training.accuracy(model, self.data.batches("val", limit=HELD_OUT))

        return training.recalibrated_if_better(fitted, recalibrate, held_out)

    def _extra_of(self, course: Course, removal: Removal, graph: Graph, stage: Stage) -> Extra:
        """What training up to this removal does besides."""
        o = self.options
        if removal.way == 0:
            return Plateau(course.per_epoch)
        if course.schedule == "soft":
            scorer = self._scorer(removal.criterion)
            return SoftPruning(graph, scorer, self.budget, course.per_epoch)
        if course.schedule != "regularised":
            return Extra()
        far = travel(stage.learning_rate, stage.steps, o.momentum)
        if removal.criterion == "sss":
            return ScaleFactors(graph, far, o.momentum, o.shrink, o.device)
        return (Slimming if removal.criterion == "bn-scale" else GroupLasso)(graph, far, o.shrink)

    def _scorer(self, criterion: str) -> Scorer:
        """The criterion with this run's options, on images of the training split."""
        o = self.options
        given = {
            name: getattr(o, name) for name in ("reduction", "normalise") if getattr(o, name) is not None
        }
        if criterion == "random":
            given["seed"] = o.seed
        data = self._batches if needs_batches(criterion) else None
        return lambda graph: score(graph, criterion, batches=data, **given)

    def _batches(self) -> Iterator[Batch]:
        """Plain training images to score by, in the fixed mixed order."""
        size = min(64, self.options.batch_size or 64)
        return self.data.batches("train", batch_size=size, limit=size * self.options.score_batches)

    def _fitted_on(self) -> Iterator[Batch]:
        """To reconstruct from; fits in sequence learn by heart from few."""
        if self.options.reconstruct != "sequential":
            return self._batches()
        return self.data.batches("train", batch_size=64, limit=SEQUENTIAL_IMAGES)

    def _remove(
        self, graph: Graph, removal: Removal, scores: Scores | None, momenta: dict[str, torch.Tensor]
    ) -> Removed:
        if removal.criterion == PLAN:
            scores = np.zeros(graph.classes)
        elif scores is None:
            self.progress(0, 1, f"scoring channels by {removal.criterion}")
            scores = self._scorer(removal.criterion)(graph)
        return remove(
            graph, scores, self.budget.at(removal.way), ways=self.options.reconstruct or "none",
            batches=self._fitted_on, momentum=momenta,
        )  # fmt: skip

    def _finetune(self) -> None:
        o = self.options
        model = self.run.load("settled")
        _, momentum = ({}, {}) if o.method == "learned" else self.run.load_removal()
        before, whole = self.run.removals()[1][-1], self._steps(o.epochs)
        options = replace(self._train_options(o.lr or 0.01, o.schedule or "thesis"), ema=o.ema)
        teacher = self.run.load("baseline") if o.distill else None
        stage = self._stage(
            "finetune",
            model,
            options,
            whole - before,
            span=(before, whole),
            teacher=teacher,
            momentum=momentum,
        )
        stage.train()
        model.cpu()
        training.recalibrate(model, self.data, batch_size=o.batch_size or 128)
        self.run.save_tensors("pruned", model.state_dict())
        self.run.drop_removals()
