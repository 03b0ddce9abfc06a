"""Tasks by name: what a network is for.

`names` lists them, `get` gives one, `register` adds one, as does an entry point of the group ``edgeprune.tasks`` (a
`Task`, or a subclass of it).
"""

from collections.abc import Mapping
from typing import Any

from edgeprune.errors import TrainError, known
from edgeprune.registry import Registry
from edgeprune.tasks.base import Meter, Metric, Task
from edgeprune.tasks.classification import ACCURACY, Classification

__all__ = ["TASKS", "Classification", "Meter", "Metric", "Task", "get", "metric_of", "names", "register"]

TASKS: Registry[Task | type[Task]] = Registry("task", "edgeprune.tasks", TrainError)


def register(task: Task | type[Task], *, replace: bool = False) -> Task:
    """Add a task under its own name, and return it.

    Args:
        task: an object, or a class that is made without arguments.
        replace: whether it may take the place of another.

    Raises:
        TrainError: it is not a `Task`, has no name or no metric, or the name is taken.
    """
    made = _made(task)
    TASKS.register(made.name, made, replace=replace)
    return made


def _made(task: object) -> Task:
    made = task() if isinstance(task, type) and issubclass(task, Task) else task
    if not isinstance(made, Task):
        raise TrainError(f"{made!r} is not a task: derive it from edgeprune.tasks.Task")
    if not made.metrics:
        raise TrainError(f"the task {made.name!r} has no metric: say by which number models are compared")
    return made


register(Classification())


def names() -> tuple[str, ...]:
    """Return the names of all tasks."""
    return TASKS.names()


def get(name: str) -> Task:
    """Return the task of that name; raises TrainError for an unknown one."""
    if name not in TASKS:
        raise TrainError(known("task", name, list(names())))
    return _made(TASKS[name])


def metric_of(summary: Mapping[str, Any]) -> Metric:
    """Return the metric by which a run's models were compared; a summary of an earlier version is of accuracy."""
    stored = summary.get("metric")
    return Metric(**stored) if stored else ACCURACY
