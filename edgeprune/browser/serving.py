"""The page's server: its files below a secret path, one browser's questions and answers, and nothing else."""

import ssl
from collections.abc import Mapping
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from pathlib import Path

import msgspec

from edgeprune.browser.exchange import Exchange
from edgeprune.browser.messages import MOST_HELLO_BYTES, MOST_REPLY_BYTES, failure_of, hello_of
from edgeprune.browser.web_files import FOLDER, NEEDED, PAGE
from edgeprune.serving import NOTHING, LinkHandler, LinkServer

COOKIE = "edgeprune"
PAGE_FILES = {"": "index.html", **{name: name for name in ("style.css", "page.js", "runner.js", "icon.svg")}}


def served_files() -> dict[str, Path]:
    """Return path below the token -> file, of all files that are served before a task."""
    files = {path: PAGE / name for path, name in PAGE_FILES.items()}
    return {**files, **{f"ort/{name}": FOLDER / name for name in NEEDED}}


class PageServer(LinkServer):
    """Serves one page to one browser.

    Attributes:
        exchange: the conversation with the browser.
        files: path below the token -> file.
    """

    def __init__(
        self,
        address: str,
        port: int,
        exchange: Exchange,
        *,
        files: Mapping[str, Path] | None = None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Bind to an address; nothing is served before `start`.

        Args:
            address: of this machine.
            port: 0 for any that is free.
            exchange: the conversation.
            files: path below the token -> file; None for `served_files`.
            context: to speak TLS by; None for plain HTTP.

        Raises:
            ServeError: the address or the port cannot be had.
        """
        self.exchange = exchange
        self.files = served_files() if files is None else files
        super().__init__(address, port, PageHandler, context)


class PageHandler(LinkHandler):
    """Answers the requests of one connection."""

    server: PageServer

    def get(self, path: str) -> None:
        """Give a file, a task, or what belongs to a task."""
        exchange = self.server.exchange
        if exchange.claimed and not self._is_owner():
            return self.refuse(
                HTTPStatus.FORBIDDEN, "this link has been used by another browser: it is good for one"
            )
        if path in self.server.files:
            return self.send_file(self.server.files[path])
        if not self._is_owner():
            return self.refuse(HTTPStatus.NOT_FOUND, NOTHING)
        if path == "task":
            visit, answered = self.numbers("visit", "answered")
            task = exchange.next_task(visit, answered)
            return self.json({"kind": "over"} if task is None else task)
        blob = exchange.blob(path.removeprefix("blob/")) if path.startswith("blob/") else None
        if isinstance(blob, bytes):
            return self.send(blob, "application/octet-stream")
        if isinstance(blob, Path):
            return self.send_file(blob)
        return self.refuse(HTTPStatus.NOT_FOUND, NOTHING)

    def post(self, path: str) -> None:
        """Take a browser's first words, or its reply to a task."""
        if path == "hello":
            return self._welcome()
        if path not in ("reply", "failure") or not self._is_owner():
            return self.refuse(HTTPStatus.NOT_FOUND, NOTHING)
        exchange = self.server.exchange
        visit, number = self.numbers("visit", "number")
        most = exchange.most_bytes(visit, number)
        if most is None:
            return self.refuse(HTTPStatus.CONFLICT, "no reply to that is due")
        failed = path == "failure"
        body = self.body(MOST_REPLY_BYTES if failed else most)
        if body is None:
            return None
        reason = failure_of(body) if failed else ""
        if reason is None:
            return self.refuse(HTTPStatus.BAD_REQUEST, "that is no message of this page")
        taken = exchange.take(visit, number, reason.encode() if failed else body, failure=failed)
        return self.json({"taken": taken})

    def _welcome(self) -> None:
        body = self.body(MOST_HELLO_BYTES)
        if body is None:
            return None
        try:
            hello = hello_of(body)
        except msgspec.MsgspecError:
            return self.refuse(HTTPStatus.BAD_REQUEST, "that is no message of this page")
        welcome = self.server.exchange.welcome(hello, self._cookie())
        if welcome is None:
            return self.refuse(
                HTTPStatus.FORBIDDEN, "this link has been used by another browser: it is good for one"
            )
        secret, visit = welcome
        cookie = f"{COOKIE}={secret}; Path=/{self.server.token}/; HttpOnly; SameSite=Strict; Max-Age=86400"
        return self.json(
            {"visit": visit}, {"Set-Cookie": cookie + ("; Secure" if self.server.secure else "")}
        )

    def _cookie(self) -> str | None:
        try:
            item = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        except CookieError:
            return None
        return None if item is None else item.value

    def _is_owner(self) -> bool:
        return self.server.exchange.owns(self._cookie())
