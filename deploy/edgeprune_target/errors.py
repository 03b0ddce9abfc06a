"""The runner's error, with a one-line message that says what to do next."""


class TargetError(Exception):
    """A request that this machine cannot fulfil; the message is shown to the user unchanged."""
