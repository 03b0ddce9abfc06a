"""The HTTP server: the page's files below a secret path, one browser's questions and answers, and nothing else."""

import json
import secrets
import shutil
import socket
import ssl
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from edgeprune.browser.exchange import Exchange
from edgeprune.browser.messages import MOST_HELLO_BYTES, MOST_REPLY_BYTES, failure_of, hello_of
from edgeprune.browser.web_files import FOLDER, NEEDED, PAGE
from edgeprune.errors import BenchError

COOKIE = "edgeprune"
MOST_CONNECTIONS = 32
QUIET_S = 60.0  # of a connection that sends nothing
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
}
# Isolation gives WebAssembly its threads; the policy allows nothing from elsewhere, and no inline code.
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "connect-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
PAGE_FILES = {"": "index.html", **{name: name for name in ("style.css", "page.js", "runner.js", "icon.svg")}}


def served_files() -> dict[str, Path]:
    """Return path below the token -> file, of all files that are served before a task."""
    files = {path: PAGE / name for path, name in PAGE_FILES.items()}
    return {**files, **{f"ort/{name}": FOLDER / name for name in NEEDED}}


class PageServer(ThreadingHTTPServer):
    """Serves one page to one browser, in threads that end with the process.

    Attributes:
        exchange: the conversation with the browser.
        token: the secret part of the link.
        files: path below the token -> file.
        secure: whether it speaks TLS.
    """

    daemon_threads = True
    block_on_close = False

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
            BenchError: the address or the port cannot be had.
        """
        self.exchange = exchange
        self.token = secrets.token_urlsafe(24)
        self.files = served_files() if files is None else files
        self.secure = context is not None
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        if ":" in address:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((address, port), PageHandler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BenchError(
                f"cannot serve the page at {address} port {port}: {reason}; give another `port` or `address`"
            ) from error
        if context is not None:  # the handshake is made in the connection's own thread
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def link(self) -> str:
        """The link to the page, with its token."""
        host, port = self.server_address[:2]
        shown = f"[{host!s}]" if ":" in str(host) else str(host)
        return f"{'https' if self.secure else 'http'}://{shown}:{port}/{self.token}/"

    def start(self) -> None:
        """Begin to serve."""
        threading.Thread(target=self.serve_forever, args=(0.1,), daemon=True, name="page").start()

    def close(self) -> None:
        """Stop serving, and free the port."""
        self.shutdown()
        self.server_close()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Handle a connection in a thread of its own, unless there are too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Handle a connection, and make room for the next."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Let a connection end that was closed, spoke no HTTP, or trusts no certificate; anything else is a bug."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class PageHandler(BaseHTTPRequestHandler):
    """Answers the requests of one connection."""

    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "edgeprune", ""
    timeout = QUIET_S

    def do_GET(self) -> None:
        """Give a file, a task, or what belongs to a task."""
        path = self._path()
        if path is None:
            return self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        exchange = self.server.exchange
        if exchange.claimed and not self._is_owner():
            return self._refuse(
                HTTPStatus.FORBIDDEN, "this link has been used by another browser: it is good for one"
            )
        if path in self.server.files:
            return self._send_file(self.server.files[path])
        if not self._is_owner():
            return self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        if path == "task":
            visit, answered = self._numbers("visit", "answered")
            task = exchange.next_task(visit, answered)
            return self._json({"kind": "over"} if task is None else task)
        blob = exchange.blob(path.removeprefix("blob/")) if path.startswith("blob/") else None
        if isinstance(blob, bytes):
            return self._send(HTTPStatus.OK, blob, "application/octet-stream")
        if isinstance(blob, Path):
            return self._send_file(blob)
        return self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")

    def do_POST(self) -> None:
        """Take a browser's first words, or its reply to a task."""
        path = self._path()
        if path == "hello":
            return self._welcome()
        if path not in ("reply", "failure") or not self._is_owner():
            return self._refuse(HTTPStatus.NOT_FOUND, "there is nothing here")
        exchange = self.server.exchange
        visit, number = self._numbers("visit", "number")
        most = exchange.most_bytes(visit, number)
        if most is None:
            return self._refuse(HTTPStatus.CONFLICT, "no reply to that is due")
        failed = path == "failure"
        body = self._body(MOST_REPLY_BYTES if failed else most)
        if body is None:
            return None
        reason = failure_of(body) if failed else ""
        if reason is None:
            return self._refuse(HTTPStatus.BAD_REQUEST, "that is no message of this page")
        taken = exchange.take(visit, number, reason.encode() if failed else body, failure=failed)
        return self._json({"taken": taken})

    def _welcome(self) -> None:
        body = self._body(MOST_HELLO_BYTES)
        if body is None:
            return None
        try:
            hello = hello_of(body)
        except msgspec.MsgspecError:
            return self._refuse(HTTPStatus.BAD_REQUEST, "that is no message of this page")
        welcome = self.server.exchange.welcome(hello, self._cookie())
        if welcome is None:
            return self._refuse(
                HTTPStatus.FORBIDDEN, "this link has been used by another browser: it is good for one"
            )
        secret, visit = welcome
        cookie = f"{COOKIE}={secret}; Path=/{self.server.token}/; HttpOnly; SameSite=Strict; Max-Age=86400"
        return self._json(
            {"visit": visit}, {"Set-Cookie": cookie + ("; Secure" if self.server.secure else "")}
        )

    # --- reading a request ----------------------------------------------------------------------------------

    def _path(self) -> str | None:
        """Return the path below the token; None without the right token."""
        try:
            path = urlsplit(self.path).path
        except ValueError:
            return None
        first, slash, rest = path.removeprefix("/").partition("/")
        right = secrets.compare_digest(first.encode(), self.server.token.encode())
        return rest if right and slash else None

    def _numbers(self, *names: str) -> list[int]:
        """Return numbers of the query; -1 for what is none."""
        query = parse_qs(urlsplit(self.path).query, max_num_fields=4) if self.path.count("&") < 4 else {}
        texts = [query.get(name, [""])[0] for name in names]
        return [int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1 for text in texts]

    def _cookie(self) -> str | None:
        try:
            item = SimpleCookie(self.headers.get("Cookie", "")).get(COOKIE)
        except CookieError:
            return None
        return None if item is None else item.value

    def _is_owner(self) -> bool:
        return self.server.exchange.owns(self._cookie())

    def _body(self, most: int) -> bytes | None:
        """Return the body of at most so many bytes; None after it was refused."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 12):
            self._refuse(HTTPStatus.LENGTH_REQUIRED, "the length of the message is missing")
            return None
        if int(length) > most:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "that is too long")
            return None
        body = self.rfile.read(int(length))
        return body if len(body) == int(length) else None

    # --- answering ------------------------------------------------------------------------------------------

    def _json(self, value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        self._send(HTTPStatus.OK, json.dumps(value).encode(), "application/json", headers)

    def _refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer with a line of text, and end the connection: what is left of its message is not read."""
        self.close_connection = True
        self._send(status, f"{text}\n".encode(), "text/plain; charset=utf-8", {"Connection": "close"})

    def _send(
        self, status: HTTPStatus, body: bytes, kind: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self._head(status, len(body), kind, headers)
        self.wfile.write(body)

    def _send_file(self, path: Path) -> None:
        try:
            handle = path.open("rb")
        except OSError:
            return self._refuse(HTTPStatus.NOT_FOUND, "that file is gone")
        with handle:
            size = path.stat().st_size
            self._head(HTTPStatus.OK, size, KINDS.get(path.suffix, "application/octet-stream"))
            shutil.copyfileobj(handle, self.wfile, 1 << 18)
        return None

    def _head(
        self, status: HTTPStatus, size: int, kind: str, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {
            **HEADERS,
            "Content-Type": kind,
            "Content-Length": str(size),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer what is no HTTP, or a method that is not served, with a line.

        Args:
            code: of the answer.
            message: the line; None for the code's own words.
            explain: ignored.
        """
        self._refuse(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Write no log: the terminal belongs to the measurement."""
