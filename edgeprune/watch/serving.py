"""The HTTP server: the page of a run, what has changed of it, and steering, on this machine alone."""

import threading
from http import HTTPStatus
from pathlib import Path
from typing import Annotated

import msgspec

from edgeprune.browser.web_files import PAGE as BROWSER_PAGE
from edgeprune.errors import EdgePruneError
from edgeprune.report.rendering import SCRIPT, STYLE, page_text
from edgeprune.serving import LOOPBACK, NOTHING, LinkHandler, LinkServer
from edgeprune.watch.live import LivePage
from edgeprune.watch.state import WatchedRun

HERE = Path(__file__).parent
FILES = {
    "style.css": STYLE,
    "page.js": SCRIPT,
    "live.css": HERE / "page" / "live.css",
    "live.js": HERE / "page" / "live.js",
    "icon.svg": BROWSER_PAGE / "icon.svg",
}
MOST_BYTES = 1 << 10  # of a message that steers


class Steer(msgspec.Struct, forbid_unknown_fields=True):
    """What the page sends to steer: one of the three."""

    interacting: Annotated[str, msgspec.Meta(max_length=30)] | None = None
    target: Annotated[str, msgspec.Meta(max_length=200)] | None = None
    auto: bool = False


class WatchServer(LinkServer):
    """Serves the page of one run on loopback.

    Attributes:
        live: the page.
    """

    def __init__(self, path: str | Path, port: int = 0) -> None:
        """Make the page of a run, and bind to a port; nothing is served before `start`.

        Args:
            path: of the run folder, which may be yet to come.
            port: 0 for any that is free.

        Raises:
            EdgePruneError: the page cannot be made or served.
        """
        self.live = LivePage(WatchedRun(Path(path)))
        super().__init__(LOOPBACK, port, WatchHandler)

    def serve_until_stopped(self) -> None:
        """Serve until Ctrl-C, or a signal that ends the process."""
        self.start()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            self.close()


class WatchHandler(LinkHandler):
    """Answers the requests of one connection."""

    server: WatchServer

    def get(self, path: str) -> None:
        """Give the page, a file of its own, or what has changed since a version."""
        live = self.server.live
        if path == "":
            try:
                page, changes = live.page()
            except EdgePruneError as error:
                return self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))
            text = page_text(page, "live.html.jinja", "edgeprune.watch", changes=changes)
            return self.send(text.encode(), "text/html; charset=utf-8")
        if path == "changes":
            (seen,) = self.numbers("seen")
            return self.json(live.changes(seen))
        return self.send_file(FILES[path]) if path in FILES else self.refuse(HTTPStatus.NOT_FOUND, NOTHING)

    def post(self, path: str) -> None:
        """Take a steering command."""
        if path != "steer":
            return self.refuse(HTTPStatus.NOT_FOUND, NOTHING)
        if self.headers.get("Content-Type") != "application/json":  # what no form of another page can send
            return self.refuse(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "that is no message of this page")
        body = self.body(MOST_BYTES)
        if body is None:
            return None
        try:
            command = msgspec.json.decode(body, type=Steer)
        except msgspec.MsgspecError:
            return self.refuse(HTTPStatus.BAD_REQUEST, "that is no message of this page")
        if (command.interacting is not None) + (command.target is not None) + command.auto != 1:
            return self.refuse(HTTPStatus.BAD_REQUEST, "give `interacting`, `target` or `auto`")
        try:
            self.server.live.steer(command.interacting, command.target, command.auto)
        except EdgePruneError as error:
            return self.refuse(HTTPStatus.CONFLICT, str(error))
        return self.json({"taken": True})
