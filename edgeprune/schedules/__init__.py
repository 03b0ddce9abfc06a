"""When and how channels go: one-shot, iterative, soft, after regularised training."""

from edgeprune.schedules.course import Course, Removal
from edgeprune.schedules.methods import METHODS, SCHEDULES, Method
from edgeprune.schedules.removal import Removed, remove

__all__ = ["METHODS", "SCHEDULES", "Course", "Method", "Removal", "Removed", "remove"]
