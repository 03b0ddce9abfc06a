"""What stays constant during a search: the network, its groups, the budget, and the evaluation of policies."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from optuna.trial import FrozenTrial, TrialState

from edgeprune import tasks
from edgeprune.budget import Budget
from edgeprune.errors import StorageError
from edgeprune.files.reading import sha256
from edgeprune.graph.classes import Graph, Ints, build_graph
from edgeprune.importance import score
from edgeprune.processes.progress import ProgressCallback
from edgeprune.records.checking import converted
from edgeprune.records.search import TrialAttributes
from edgeprune.search.baselines import probes
from edgeprune.search.clusters import Dendrogram
from edgeprune.search.evaluate import Evaluator
from edgeprune.search.folder import SearchFolder
from edgeprune.search.options import STUDIED, SearchOptions
from edgeprune.search.projection import BudgetProjection
from edgeprune.search.sampler import PolicySampler
from edgeprune.search.strategy import Strategy
from edgeprune.search.variables import Variables
from edgeprune.train_prune.budgets import make_budget
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.stored import stored_options

NEAR_BY, STRAY = 20, 0.02  # tries to find a new policy, and by how much more each moves away
SCORE_IMAGES = 640  # training images for a criterion that needs data


def variables_of(
    graph: Graph, scores: Any, options: SearchOptions, training: TrainPruneOptions, budget: Budget
) -> Variables:
    """Return the groups that a search may prune.

    Args:
        graph: of the unpruned model.
        scores: (classes,), higher is more important.
        options: of the search.
        training: options of the baseline's run.
        budget: of the search; it has the steps of the widths.
    """
    return Variables.of(graph, scores, share=options.lowest, floor=training.floor, steps=budget.steps(graph))


def projection_of(variables: Variables, budget: Budget, options: SearchOptions) -> BudgetProjection:
    """Return the projection onto a budget.

    Args:
        variables: the groups that may be pruned.
        budget: of the search.
        options: of the search, with the mode of the projection.
    """
    by_widths = budget.by_widths(variables.graph)

    def of_searched(cost: Any) -> Any:
        return lambda widths: float(cost(variables.everywhere(widths)))

    return BudgetProjection(
        {kind: of_searched(cost) for kind, cost in by_widths.items()},
        budget.goals,
        variables.lowest,
        variables.sizes,
        variables.steps,
        options.wall,
    )


@dataclass(frozen=True)
class SearchContext:
    """What stays constant during a search."""

    folder: SearchFolder
    options: SearchOptions
    training: TrainPruneOptions
    budget: Budget
    variables: Variables
    projection: BudgetProjection
    dendrogram: Dendrogram
    evaluator: Evaluator

    @classmethod
    def of(cls, folder: SearchFolder, options: SearchOptions, progress: ProgressCallback) -> "SearchContext":
        """Prepare a search from the folder's baseline and data.

        Args:
            folder: with the trained baseline.
            options: of the search.
            progress: called with (done, total, text).
        """
        run = folder.run()
        training, data = stored_options(run), run.data()
        model = run.load("baseline")
        graph = build_graph(model, torch.zeros(1, *data.shape), opaque=training.opaque or ())
        progress(0, 1, f"scoring channels by {options.criterion}")
        scores = score(
            graph,
            options.criterion,
            batches=lambda: data.batches("train", batch_size=64, limit=SCORE_IMAGES),
        )
        budget = make_budget(model, graph, training, progress=progress)
        variables = variables_of(graph, scores, options, training, budget)
        progress(0, 1, "collecting activations")
        evaluator = Evaluator(
            variables,
            data,
            images=options.images,
            calibration=options.calibration,
            final=options.final_calibration,
            reconstruct=options.reconstruct,
            device=training.device,
            precision=training.precision,
            task=tasks.get(training.task),
        )
        projection = projection_of(variables, budget, options)
        projection.check()
        dendrogram = Dendrogram.of(variables, options.distance)
        return cls(folder, options, training, budget, variables, projection, dendrogram, evaluator)

    @property
    def trials(self) -> int:
        """Number of evaluations that this search takes."""
        if self.options.sampler == "sensitivity":
            return len(probes(len(self.variables))) + 1
        return 1 if self.options.sampler == "uniform" else self.options.trials

    @property
    def sampler(self) -> PolicySampler | None:
        """The sampler of policies; None for strategies that do not sample."""
        if self.options.sampler not in STUDIED:
            return None
        return PolicySampler(Strategy(self.options, self.dendrogram), self.options.sampler, self.options.seed)

    @property
    def study_name(self) -> str:
        """The study's name in a shared storage."""
        training = self.training
        return f"{training.model}-{Path(training.data).name}-{training.target}"

    def check_trial(self, trial: FrozenTrial) -> None:
        """Check what a shared study holds of a policy.

        Raises:
            StorageError: it is not of this search, or was edited.
        """
        where, hint = (
            f"trial {trial.number} of the study",
            "it was edited, or is of other work: use another `study`",
        )
        attributes = converted(trial.user_attrs, TrialAttributes, where, error=StorageError, hint=hint)
        sizes = self.variables.sizes
        for values, most in ((attributes.widths, sizes), (attributes.ratios, np.ones(len(sizes)))):
            if values is not None and (len(values) != len(most) or bool((np.asarray(values) > most).any())):
                raise StorageError(f"{where} has other groups than the network: {hint}")
        if trial.state == TrialState.COMPLETE:
            parts = (attributes.stage, attributes.widths, attributes.ratios, attributes.seconds)
            if None in parts or trial.value is None or not np.isfinite(trial.value):
                raise StorageError(f"{where} lacks its policy or its reward: {hint}")

    @property
    def identity(self) -> dict[str, Any]:
        """Settings that identify this search."""
        options = asdict(self.options)
        own = {name: value for name, value in options.items() if name not in ("training", "source", "study")}
        return {
            "model": f"{self.training.model} ({self.variables.graph.fingerprint})",
            "weights": sha256(self.folder.baseline / "baseline.safetensors")[:16],
            "data": self.evaluator.data.spec()["fingerprint"],
            "target": self.training.target,
            **({"boards": 1 + len(more)} if (more := self.training.more_hosts) else {}),
            **own,
        }

    @property
    def uniform(self) -> Ints:
        """The same share of every group, on the budget."""
        return self.projection.project(np.ones(len(self.variables)))
