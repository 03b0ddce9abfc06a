"""A pruner for any training loop: methods and schedules act on the user's own network, optimizer and steps."""

from edgeprune.pruner.pruner import Pruner

__all__ = ["Pruner"]
