"""Pages for a browser: an HTTP server below a secret path, bounded in all that it takes."""

import json
import secrets
import shutil
import socket
import ssl
import sys
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from edgeprune.errors import ServeError

LOOPBACK = "127.0.0.1"
OWN_NAMES = frozenset(("127.0.0.1", "localhost", "[::1]"))  # by which a browser calls this machine
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
NOTHING = "there is nothing here"
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


class LinkServer(ThreadingHTTPServer):
    """Serves a page to those who have its link, in threads that end with the process.

    Attributes:
        token: the secret part of the link.
        secure: whether it speaks TLS.
        own_names_only: whether requests must call this machine by a name of its own, as on loopback: another name that
            leads here is a trick to make a stranger's page one with this one (DNS rebinding).
    """

    daemon_threads = True
    block_on_close = False

    def __init__(
        self,
        address: str,
        port: int,
        handler: "type[LinkHandler]",
        context: ssl.SSLContext | None = None,
    ) -> None:
        """Bind to an address; nothing is served before `start`.

        Args:
            address: of this machine.
            port: 0 for any that is free.
            handler: answers the requests of a connection.
            context: to speak TLS by; None for plain HTTP.

        Raises:
            ServeError: the address or the port cannot be had.
        """
        self.token = secrets.token_urlsafe(24)
        self.secure = context is not None
        self.own_names_only = address in (LOOPBACK, "localhost", "::1")
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        if ":" in address:
            self.address_family = socket.AF_INET6
        try:
            super().__init__((address, port), handler)
        except (OSError, OverflowError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ServeError(
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


class LinkHandler(BaseHTTPRequestHandler):
    """Answers the requests of one connection, as far as they have the token; a subclass says what is below it."""

    server: LinkServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "edgeprune", ""
    timeout = QUIET_S

    def do_GET(self) -> None:
        """Answer a request below the token, or say that there is nothing."""
        path = self._path()
        return self.refuse(HTTPStatus.NOT_FOUND, NOTHING) if path is None else self.get(path)

    def do_POST(self) -> None:
        """Take a message below the token, or say that there is nothing."""
        path = self._path() if self._is_own_origin() else None
        return self.refuse(HTTPStatus.NOT_FOUND, NOTHING) if path is None else self.post(path)

    def get(self, path: str) -> None:
        """Answer a request for ``path``, below the token."""
        raise NotImplementedError

    def post(self, path: str) -> None:
        """Take a message to ``path``, below the token."""
        raise NotImplementedError

    # --- reading a request ----------------------------------------------------------------------------------

    def _path(self) -> str | None:
        """Return the path below the token; None without the right token, or under a name that is not this machine's."""
        try:
            path = urlsplit(self.path).path
        except ValueError:
            return None
        if self.server.own_names_only and _without_port(self.headers.get("Host", "")) not in OWN_NAMES:
            return None
        first, slash, rest = path.removeprefix("/").partition("/")
        right = secrets.compare_digest(first.encode(), self.server.token.encode())
        return rest if right and slash else None

    def _is_own_origin(self) -> bool:
        """Return whether a message comes from a page of this server, as far as the browser says where it comes from."""
        origin = self.headers.get("Origin")
        return origin is None or origin.partition("://")[2] == self.headers.get("Host")

    def numbers(self, *names: str) -> list[int]:
        """Return numbers of the query; -1 for what is none."""
        query = parse_qs(urlsplit(self.path).query, max_num_fields=4) if self.path.count("&") < 4 else {}
        texts = [query.get(name, [""])[0] for name in names]
        return [int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1 for text in texts]

    def body(self, most: int) -> bytes | None:
        """Return the body of at most so many bytes; None after it was refused."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit() and len(length) < 12):
            self.refuse(HTTPStatus.LENGTH_REQUIRED, "the length of the message is missing")
            return None
        if int(length) > most:
            self.refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "that is too long")
            return None
        content = self.rfile.read(int(length))
        return content if len(content) == int(length) else None

    # --- answering ------------------------------------------------------------------------------------------

    def json(self, value: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        """Answer with JSON, and further headers."""
        self.send(json.dumps(value).encode(), "application/json", headers)

    def refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer with a line of text, and end the connection: what is left of its message is not read."""
        self.close_connection = True
        body = f"{text}\n".encode()
        self._head(status, len(body), "text/plain; charset=utf-8", {"Connection": "close"})
        self.wfile.write(body)

    def send(self, body: bytes, kind: str, headers: Mapping[str, str] | None = None) -> None:
        """Answer with a body.

        Args:
            body: of the answer.
            kind: its media type.
            headers: further ones.
        """
        self._head(HTTPStatus.OK, len(body), kind, headers)
        self.wfile.write(body)

    def send_file(self, path: Path) -> None:
        """Answer with the content of a file."""
        try:
            handle = path.open("rb")
        except OSError:
            return self.refuse(HTTPStatus.NOT_FOUND, "that file is gone")
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
        self.refuse(HTTPStatus(code), message or HTTPStatus(code).phrase)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Write no log: the terminal belongs to the command."""


def _without_port(host: str) -> str:
    """Return the name in a Host header."""
    name, colon, port = host.rpartition(":")
    return name.lower() if colon and port.isdigit() else host.lower()
