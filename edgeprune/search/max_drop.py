"""The smallest network whose metric falls by at most so much without training: several searches from one baseline.

Each share that is tried is an ordinary search in points/N of the folder. Its best policy's network is compared with
the unpruned one on all held-out images. Which share is next follows from these comparisons alone, and workers that
share a storage take them from there, so that all of them try the same shares.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from msgspec import UnsetType, structs

from edgeprune import tasks, training
from edgeprune.budget import Target, parse_targets
from edgeprune.errors import StorageError, TargetError
from edgeprune.files.locks import held
from edgeprune.processes.progress import ProgressCallback
from edgeprune.records.max_drop import DropPoint, MaxDropRecord
from edgeprune.records.search import SearchResult
from edgeprune.resources import ENERGY, LATENCY
from edgeprune.runs.drop_limits import empty_record, is_within, next_target, smallest_within
from edgeprune.runs.points import adopt, read_max_drop, write_max_drop
from edgeprune.search.conclusion import next_command
from edgeprune.search.folder import OPTIONS_FILE, SearchFolder
from edgeprune.search.options import SearchOptions
from edgeprune.search.single import Finished, create, ensure_baseline, finish
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.stored import stored_options

COMPARED = "compared"  # name of a comparison that workers agree on
# Of the whole: the baseline is trained already, and each point has one target.
OF_THE_WHOLE = (
    "weights", "weights_key", "baseline_epochs", "baseline_lr", "max_drop", "drop_by", "points",
)  # fmt: skip


@dataclass(frozen=True)
class MaxDropSearch:
    """Searches for several shares from one baseline, and makes the smallest network that is good enough its own.

    Attributes:
        folder: of the whole.
        options: of the whole, with a ``max_drop``.
        storage: URL that workers share; None for a file in the folder of each search.
        heartbeat_s: interval at which this worker reports that it is alive, in seconds.
        progress: called with (done, total, text).
    """

    folder: SearchFolder
    options: SearchOptions
    storage: str | None
    heartbeat_s: float
    progress: ProgressCallback

    def execute(self) -> SearchResult:
        """Try shares until the limit is met closely, or as many as there may be; return the result of the best.

        Raises:
            TargetError: no network keeps to the limit; their searches stay.
            Interrupted: Ctrl-C, SIGTERM or SIGHUP; called again, it goes on.
        """
        known = read_max_drop(self.folder.path)
        if known is not None and known.chosen is not None and self.folder.result.is_file():
            return SearchResult.read(self.folder.result)
        ensure_baseline(self.folder, self.progress)
        record = known or self._begun()
        (first,) = parse_targets(self._training.target)
        while (target := next_target(record, first, self._training.points)) is not None:
            record = self._kept(self._tried(record, target))
        chosen = smallest_within(record, self.folder.path, advice="raise `max_drop` or `trials`")
        result = self._adopted(chosen)
        tested = None if isinstance(chosen.tested, UnsetType) else chosen.tested
        write_max_drop(self.folder.path, structs.replace(record, chosen=chosen.run, confirmed=tested))
        return result

    @cached_property
    def _training(self) -> TrainPruneOptions:
        """The options of the baseline, resolved for its data."""
        return stored_options(self.folder.run())

    def _begun(self) -> MaxDropRecord:
        notes = ["the held-out images chose the widths, too; the test images chose nothing"]
        if self._training.weights is not None:
            notes.append("the given weights may know the held-out training images")
        return empty_record(
            tasks.get(self._training.task).metric,
            self._training.max_drop or 0.0,
            self._training.drop_by,
            split="val",
            images=self.folder.run().data().sizes["val"],
            notes=notes,
        )

    def _kept(self, record: MaxDropRecord) -> MaxDropRecord:
        """Write a record, unless another worker in this folder is further; return the one that is kept."""
        known = read_max_drop(self.folder.path)
        if known is not None and _tried_so_far(known) >= _tried_so_far(record):
            return known
        write_max_drop(self.folder.path, record)
        return record

    def _tried(self, record: MaxDropRecord, target: Target) -> MaxDropRecord:
        """Return the record with the network of a target, or with its share among those that cannot be reached."""
        number = len(record.points) + 1
        place, most = self.folder.point(number), self._training.points
        self.progress(number - 1, most, f"network {number} of at most {most}: {target}")
        options = self._options_for(target)
        try:
            self._create(place, options)
        except TargetError:
            if number == 1:
                raise
            return structs.replace(record, too_small=(*record.too_small, target.fraction or 0.0))
        url = self.storage or place.storage
        finished = finish(SearchFolder.open(place.path), options, url, self.heartbeat_s, self.progress)
        self.progress(number - 1, most, f"comparing network {number} on the held-out images")
        noted = finished.store.agreed(COMPARED, lambda: self._compared(target, finished).to_dict())
        point = DropPoint.from_dict(noted, "the study", error=StorageError, hint="use another `study`")
        point = structs.replace(
            point,
            run=str(place.path.relative_to(self.folder.path)),
            within=is_within(record, point.baseline, point.pruned, point.drop),
        )
        return structs.replace(record, points=(*record.points, point))

    def _options_for(self, target: Target) -> SearchOptions:
        """Return the options of the search for one target, whose baseline is the folder's."""
        shared = {
            name: value for name, value in self.options.training.items() if name not in OF_THE_WHOLE
        } | {
            "target": str(target),
            "weights": str((self.folder.baseline / "baseline.safetensors").absolute()),
            "val_fraction": self._training.val_fraction,
        }
        study = None if self.options.study is None else f"{self.options.study} {target}"
        return replace(self.options, training=shared, study=study)

    def _create(self, place: SearchFolder, options: SearchOptions) -> None:
        """Create the folder of a network's search, unless it was begun."""

        def waiting(text: str) -> None:
            self.progress(0, 1, text)

        with held(self.folder.path, wait=waiting, sweep=False):
            if not (place.path / OPTIONS_FILE).is_file():
                create(place.path, options, self.storage, force=False, progress=self.progress)

    def _compared(self, target: Target, finished: Finished) -> DropPoint:
        """Return the point of a search's best network, compared with the unpruned one; the limit is not applied."""
        context, result = finished.context, finished.result
        evaluator, graph = context.evaluator, context.variables.graph
        widths = np.asarray(result.best.widths)
        networks = evaluator.unpruned, evaluator.finally_pruned(widths)
        held_out, tested = (
            training.evaluate_pair(*networks, evaluator.data, split, evaluator.task, evaluator.device)
            for split in ("val", "test")
        )
        keep, name = context.variables.plan(widths).keep, evaluator.task.metric.name
        return DropPoint(
            run=context.folder.path.name,
            target=str(target),
            got_fraction=_remaining(target.kind, result),
            flops_fraction=graph.flops(keep) / graph.flops(),
            params_fraction=graph.params(keep) / graph.params(),
            baseline=held_out.first[name],
            pruned=held_out.second[name],
            drop=held_out.drop,
            within=False,
            tested=tested.drop,
        )

    def _adopted(self, chosen: DropPoint) -> SearchResult:
        """Make the plan, the pictures and the result of a search those of the whole."""
        point = self.folder.path / chosen.run
        result = SearchResult.read(point / self.folder.result.name)
        adopt(self.folder.path, point, (self.folder.plan.name, *result.pictures))
        result = structs.replace(result, next=next_command(self._training, self.folder))
        result.write(self.folder.result)
        return result


def _tried_so_far(record: MaxDropRecord) -> tuple[bool, int]:
    return record.chosen is not None, len(record.points) + len(record.too_small)


def _remaining(kind: str, result: SearchResult) -> float:
    """Return the share of a resource that the best policy leaves: as measured, where it was."""
    if result.measured is not None and kind == LATENCY:
        return 1 / result.measured.speedup[0]
    if result.measured is not None and kind == ENERGY and not isinstance(result.measured.energy, UnsetType):
        return 1 / result.measured.energy.ratio[0]
    return result.best.fractions[kind]
