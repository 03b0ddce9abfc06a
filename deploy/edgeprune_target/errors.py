"""What the runner cannot do, in one line that says what to do next."""


class TargetError(Exception):
    """A request that this machine cannot carry out; the message is shown to the user as it stands."""
