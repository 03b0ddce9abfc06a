"""The end of a training that was asked to stop; torch is not imported."""


class Interrupted(Exception):
    """Training was interrupted, and has left a checkpoint if it has a run folder."""
