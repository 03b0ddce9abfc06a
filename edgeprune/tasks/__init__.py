"""Tasks by name: what a network is for.

`names` lists them, `get` returns one, `register` adds one, as does an entry point of the group ``edgeprune.tasks`` (a
`Task`, or a subclass of it). A user's own needs no registration where it is named ``package.module:Task``.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from msgspec import UNSET

from edgeprune.errors import ModelError, TrainError, one_line
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
    "for_targets",
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
register, names = TASKS.add, TASKS.names


@cache
def _own(name: str) -> Task:
    """Import a user's own task, once."""
    from edgeprune.models.factory import attribute_of

    try:
        entry = attribute_of(name)
    except ModelError as error:
        raise TrainError(f"`task`: {error}") from error
    try:
        task = entry() if isinstance(entry, type) and issubclass(entry, Task) else entry
    except Exception as error:  # the user's own code
        raise TrainError(f"`task`: {name} cannot be made without arguments: {one_line(error)}") from error
    if not isinstance(task, Task):
        raise TrainError(f"`task`: {name} is a {type(entry).__name__}: derive it from edgeprune.tasks.Task")
    _check_metrics(task)
    return task


def get(name: str) -> Task:
    """Return a task by its name, or by the ``package.module:Task`` of a user's own.

    A file's name of it is used only where the user trusts the package; see `edgeprune.records.trust`.

    Raises:
        TrainError: there is none.
    """
    return _own(name) if ":" in name else TASKS[name]


def for_targets(kind: str) -> Task:
    """Return the first task that takes targets of a kind, such as "masks".

    Raises:
        TrainError: there is none.
    """
    for name in names():
        if get(name).target_kind == kind:
            return get(name)
    raise TrainError(f"no task takes {kind}: register one")


register(Classification())
register(Segmentation())
register(Detection())


def metric_of(result: Any) -> Metric:
    """Return the metric by which models were compared; accuracy for results of earlier versions.

    Args:
        result: a record with a ``metric``, which may be missing, or its JSON form.
    """
    stored = result.get("metric") if isinstance(result, Mapping) else result.metric
    if not stored or stored is UNSET:
        return ACCURACY
    if isinstance(stored, Mapping):
        return Metric(**stored)
    return Metric(stored.name, stored.unit, stored.scale, stored.higher_is_better)
