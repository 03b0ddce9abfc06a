"""The state of a pruner in a checkpoint."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from edgeprune.errors import TrainError
from edgeprune.pruner.networks import Networks
from edgeprune.pruner.removals import Removals

SCHEMA = 1


class PrunerState:
    """Gives the state of a pruner, and takes back one of a pruner with the same arguments."""

    def __init__(self, networks: Networks, removals: Removals, method: str, target: str, steps: int) -> None:
        """Note the arguments that must be the same.

        Args:
            networks: of the pruner.
            removals: of it.
            method: its name.
            target: as the user wrote it.
            steps: of the pruning phase.
        """
        self._networks, self._removals = networks, removals
        self._same = {"schema": SCHEMA, "method": method, "target": target, "steps": steps}

    def of(self, taken: int, *, finished: bool) -> dict[str, Any]:
        """Return the state after ``taken`` steps, made of tensors, numbers and text alone."""
        return {
            **self._same,
            "taken": taken,
            "notes": [*self._networks.notes],
            "finished": finished,
            **self._removals.state(),
        }

    def check(self, state: Mapping[str, Any]) -> None:
        """Raise TrainError if a state is of a pruner with other arguments."""
        if any(state[name] != value for name, value in self._same.items()):
            raise TrainError(
                f"this state is of a pruner with method {state['method']!r}, target {state['target']!r} and "
                f"{state['steps']} steps: make this one with the same"
            )

    def take_back(self, state: Mapping[str, Any]) -> tuple[int, bool]:
        """Prune the network to its size then; return the steps taken, and whether the pruner had finished."""
        if state["plans"] or state["finished"]:
            self._removals.replay(state)
        taken, self._networks.notes = int(state["taken"]), [*state["notes"]]
        self._networks.link.steps = taken
        self._removals.restore_phase(state)
        return taken, bool(state["finished"])


@contextmanager
def reading_state() -> Iterator[None]:
    """Report what goes wrong in the block as a damaged state; raises TrainError."""
    try:
        yield
    except (KeyError, AttributeError, ValueError, IndexError, RuntimeError) as error:
        raise TrainError(
            f"this is not the state of a pruner, or it is damaged ({type(error).__name__}: "
            f"{(str(error).splitlines() or [''])[0]})"
        ) from error
