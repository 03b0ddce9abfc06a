"""Tasks by name: what a network is for.

`names` lists them, `get` returns one, `register` adds one, as does an entry point of the group ``edgeprune.tasks`` (a
`Task`, or a subclass of it).
"""

from collections.abc import Mapping
from typing import Any

from edgeprune.errors import TrainError
from edgeprune.registry import ObjectRegistry
from edgeprune.tasks.base import Metric, MetricAverager, Task
from edgeprune.tasks.classification import ACCURACY, Classification
from edgeprune.tasks.detection import Detection
from edgeprune.tasks.segmentation import Segmentation

__all__ = [
    "TASKS",
    "Classification",
    "Detection",
    "Metric",
    "MetricAverager",
    "Segmentation",
    "Task",
    "get",
    "metric_of",
    "names",
    "register",
]


def _check_metrics(task: Task) -> None:
    if not task.metrics:
        raise TrainError(
            f"the task {task.name!r} has no metric: define the number by which models are compared"
        )


TASKS = ObjectRegistry("task", "edgeprune.tasks", TrainError, Task, _check_metrics)
register, get, names = TASKS.add, TASKS.__getitem__, TASKS.names

register(Classification())
register(Segmentation())
register(Detection())


def metric_of(summary: Mapping[str, Any]) -> Metric:
    """Return the metric by which a run's models were compared; accuracy for summaries of earlier versions."""
    stored = summary.get("metric")
    return Metric(**stored) if stored else ACCURACY
