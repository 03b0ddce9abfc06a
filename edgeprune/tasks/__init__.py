"""Tasks by name: what a network is for.

`names` lists them, `get` gives one, `register` adds one, as does an entry point of the group ``edgeprune.tasks`` (a
`Task`, or a subclass of it).
"""

from collections.abc import Mapping
from typing import Any

from edgeprune.errors import TrainError
from edgeprune.registry import ObjectRegistry
from edgeprune.tasks.base import Meter, Metric, Task
from edgeprune.tasks.classification import ACCURACY, Classification

__all__ = ["TASKS", "Classification", "Meter", "Metric", "Task", "get", "metric_of", "names", "register"]


def _check_metrics(task: Task) -> None:
    if not task.metrics:
        raise TrainError(f"the task {task.name!r} has no metric: say by which number models are compared")


TASKS = ObjectRegistry("task", "edgeprune.tasks", TrainError, Task, _check_metrics)
register, get, names = TASKS.add, TASKS.__getitem__, TASKS.names

register(Classification())


def metric_of(summary: Mapping[str, Any]) -> Metric:
    """Return the metric by which a run's models were compared; a summary of an earlier version is of accuracy."""
    stored = summary.get("metric")
    return Metric(**stored) if stored else ACCURACY
