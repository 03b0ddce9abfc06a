"""What a browser and the measuring thread exchange: tasks one way, replies the other; one browser alone takes part."""

import hmac
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeprune.browser.messages import MOST_REPLY_BYTES, Hello
from edgeprune.errors import ConnectionLost

POLL_S = 20.0  # how long a request for a task is held open
LOOK_S = 0.5  # how often the measuring thread looks whether the browser still asks

Blob = bytes | Path


@dataclass(frozen=True)
class Task:
    """A task for the browser.

    Attributes:
        number: from 1 on.
        content: what to do, as JSON.
        blobs: name -> bytes or a file, which the browser may get while the task lasts.
        reply_bytes: the exact size of the reply; None for JSON of up to `MOST_REPLY_BYTES`.
    """

    number: int
    content: Mapping[str, Any]
    blobs: Mapping[str, Blob] = field(default_factory=dict)
    reply_bytes: int | None = None

    @property
    def most_bytes(self) -> int:
        """The largest reply."""
        return MOST_REPLY_BYTES if self.reply_bytes is None else self.reply_bytes


class Exchange:
    """The one conversation of a measurement. Requests come in threads of their own; the measuring thread asks.

    The first browser that says hello gets a secret and owns the conversation; it may come back with that secret
    after a reload, and is then given the task that it has not answered. Every hello begins a new visit, and what
    an earlier visit still sends is refused: two pages that measure at once would disturb each other.

    Attributes:
        hello: the browser's words; None before it came.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin without a browser; ``clock`` returns seconds."""
        self.hello: Hello | None = None
        self._clock = clock
        self._changed = threading.Condition()
        self._secret: str | None = None
        self._visit = 0
        self._last_word = clock()
        self._task = Task(0, {})
        self._reply: bytes | None = b""
        self._reply_is_failure = False
        self._progress: Mapping[str, Any] = {}

    # --- the browser's side ---------------------------------------------------------------------------------

    @property
    def claimed(self) -> bool:
        """Whether a browser owns the conversation."""
        return self._secret is not None

    def owns(self, secret: str | None) -> bool:
        """Return whether a browser's secret is that of the owner."""
        known = self._secret
        return (
            known is not None and secret is not None and hmac.compare_digest(known.encode(), secret.encode())
        )

    def welcome(self, hello: Hello, secret: str | None) -> tuple[str, int] | None:
        """Return the owner's secret and the number of this visit; None for a second browser.

        Args:
            hello: the browser's words.
            secret: that it has from an earlier visit.
        """
        with self._changed:
            if self._secret is None:
                self._secret = secrets.token_urlsafe(24)
            elif not self.owns(secret):
                return None
            self._visit += 1
            self.hello = hello
            self._heard()
            return self._secret, self._visit

    def next_task(self, visit: int, answered: int) -> dict[str, Any] | None:
        """Return the task after ``answered``, waiting a while for it; None where this visit is over.

        Without a new task the answer has the progress alone.

        Args:
            visit: its number.
            answered: number of the last task that this visit has answered.
        """
        until = self._clock() + POLL_S
        with self._changed:
            self._heard()
            while visit == self._visit and (left := until - self._clock()) > 0:
                if self._task.number > answered and self._reply is None:
                    return {"number": self._task.number, **self._task.content, "progress": self._progress}
                self._changed.wait(left)
            self._heard()
            return (
                {"number": answered, "kind": "wait", "progress": self._progress}
                if visit == self._visit
                else None
            )

    def blob(self, name: str) -> Blob | None:
        """Return what the present task has under a name."""
        with self._changed:
            self._heard()
            return self._task.blobs.get(name)

    def most_bytes(self, visit: int, number: int) -> int | None:
        """Return the largest reply to a task; None where none is due.

        Args:
            visit: its number.
            number: of the task.
        """
        with self._changed:
            due = visit == self._visit and number == self._task.number and self._reply is None
            return self._task.most_bytes if due else None

    def take(self, visit: int, number: int, body: bytes, *, failure: bool = False) -> bool:
        """Take a reply; return whether it was due.

        Args:
            visit: its number.
            number: of the task.
            body: of the reply.
            failure: whether it says why there is none.
        """
        with self._changed:
            if visit != self._visit or number != self._task.number or self._reply is not None:
                return False
            self._reply, self._reply_is_failure = body, failure
            self._heard()
            return True

    def _heard(self) -> None:
        self._last_word = self._clock()
        self._changed.notify_all()

    # --- the measuring thread's side ------------------------------------------------------------------------

    def show_progress(self, done: float, total: float, text: str) -> None:
        """Keep the progress for the page; the next answer takes it along.

        Args:
            done: amount of finished work.
            total: amount of all work.
            text: what is being done.
        """
        with self._changed:
            self._progress = {"done": done, "total": total, "text": text}

    def wait_for_browser(self, patience_s: float) -> Hello:
        """Return the browser's words, once it came.

        Raises:
            ConnectionLost: none came for ``patience_s`` seconds.
        """
        with self._changed:
            self._last_word = self._clock()
            while self.hello is None:
                self._wait(patience_s, "no browser opened the link")
            return self.hello

    def ask(
        self,
        content: Mapping[str, Any],
        blobs: Mapping[str, Blob] | None = None,
        *,
        patience_s: float,
        reply_bytes: int | None = None,
    ) -> tuple[bytes, bool]:
        """Give the browser a task; return its reply, and whether that says why there is none.

        Args:
            content: what to do.
            blobs: name -> what the browser may get for it.
            patience_s: seconds without a word from the browser after which it counts as gone.
            reply_bytes: the exact size of the reply; None for JSON.

        Raises:
            ConnectionLost: the browser is gone.
        """
        with self._changed:
            self._task = Task(self._task.number + 1, content, blobs or {}, reply_bytes)
            self._reply = None
            self._last_word = self._clock()
            self._changed.notify_all()
            while self._reply is None:
                self._wait(patience_s, "the browser has sent nothing")
            return self._reply, self._reply_is_failure

    def finish(self, content: Mapping[str, Any], wait_s: float) -> None:
        """Give the last task, which only shows something, and wait until the page has it, or a little while.

        Args:
            content: what to show.
            wait_s: seconds to wait.
        """
        if self.hello is None:
            return
        with self._changed:
            self._task = Task(self._task.number + 1, content)
            self._reply = None
            self._changed.notify_all()
            until = self._clock() + wait_s
            while self._reply is None and (left := until - self._clock()) > 0:
                self._changed.wait(left)

    def _wait(self, patience_s: float, what: str) -> None:
        self._changed.wait(LOOK_S)
        if self._clock() - self._last_word > patience_s:
            raise ConnectionLost(
                f"{what} for {patience_s:g} seconds: keep the page in front and the screen on, and give more time "
                "with `wait`"
            )
