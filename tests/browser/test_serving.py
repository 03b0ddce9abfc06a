"""The page's server gives nothing to whoever lacks the token, and takes nothing that it did not ask for."""

import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser.played import ROUND, WORDS, PlayedBrowser
from edgeprune.browser.exchange import Exchange
from edgeprune.browser.messages import MOST_HELLO_BYTES, MOST_REPLY_BYTES
from edgeprune.browser.serving import PAGE_FILES, PageServer, served_files
from edgeprune.browser.web_files import NEEDED, PAGE
from edgeprune.errors import ConnectionLost, ServeError

PATIENCE = {"patience_s": 20.0}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    (tmp_path / "index.html").write_text("<p>the page")
    server = PageServer("127.0.0.1", 0, Exchange(), files={"": tmp_path / "index.html"})
    server.start()
    yield server
    server.close()


@pytest.fixture
def phone(server: PageServer) -> PlayedBrowser:
    return PlayedBrowser(server.link)


def test_the_page_has_its_headers(phone: PlayedBrowser) -> None:
    status, headers, body = phone.send("GET", "")
    assert (status, body) == (200, b"<p>the page")
    assert headers["Content-Type"] == "text/html; charset=utf-8"
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe-inline" not in headers["Content-Security-Policy"]
    assert "http" not in headers["Content-Security-Policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/index.html",
        "/x" * 30 + "/",
        "/task",
        "//",
        "/%2e%2e/",
        "/[",
        "{token}",
        "{token}x/",
        "{TOKEN}/",
    ],
)
def test_nothing_without_the_token(server: PageServer, phone: PlayedBrowser, path: str) -> None:
    path = path.replace("{token}", f"/{server.token}").replace("{TOKEN}", f"/{server.token.swapcase()}")
    for method in ("GET", "POST"):
        assert phone.send(method, path, b"{}" if method == "POST" else None)[0] == 404


@pytest.mark.parametrize(
    "path",
    [
        "../",
        "..%2f",
        "style.css/..",
        "page/",
        "blob/",
        "blob/../index.html",
        "index.html",
        "task",
        "serving.py",
    ],
)
def test_no_file_that_is_not_listed(phone: PlayedBrowser, path: str) -> None:
    assert phone.send("GET", path)[0] == 404
    phone.hello()
    assert phone.send("GET", path)[0] == (200 if path == "task" else 404)


def test_other_methods_are_refused(phone: PlayedBrowser) -> None:
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
        assert phone.send(method, "")[0] == 501


def test_the_first_browser_owns_the_link_and_may_come_back(server: PageServer, phone: PlayedBrowser) -> None:
    assert phone.hello() == 200
    second = PlayedBrowser(server.link)
    for status, _, body in (second.send("GET", ""), second.send("POST", "hello", json.dumps(WORDS).encode())):
        assert status == 403 and b"used by another browser" in body
    second.cookie = "edgeprune=guessed"
    assert second.send("GET", "task?visit=1&answered=0")[0] == 403
    assert second.send("POST", "reply?visit=1&number=1", b"{}")[0] == 404
    assert phone.send("GET", "")[0] == 200
    assert phone.hello() == 200 and phone.visit == 2


def test_the_cookie_is_for_this_page_alone(server: PageServer, phone: PlayedBrowser) -> None:
    _, headers, _ = phone.send("POST", "hello", json.dumps(WORDS).encode())
    attributes = headers["Set-Cookie"].split("; ")[1:]
    assert {"HttpOnly", "SameSite=Strict", f"Path=/{server.token}/"} <= set(attributes)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400), (b"{", 400), (b"[1]", 400), (b"\xff\xfe", 400), (b"[" * 5000, 400),
        (json.dumps({**WORDS, "more": 1}).encode(), 400),
        (json.dumps({**WORDS, "cores": 0}).encode(), 400),
        (json.dumps({**WORDS, "clock_step_ms": 1e9}).encode(), 400),
        (json.dumps({**WORDS, "user_agent": "x" * 501}).encode(), 400),
        (b" " * (MOST_HELLO_BYTES + 1), 413),
    ],
)  # fmt: skip
def test_a_hello_that_is_none(server: PageServer, phone: PlayedBrowser, body: bytes, status: int) -> None:
    assert phone.send("POST", "hello", body)[0] == status
    assert not server.exchange.claimed


@pytest.mark.parametrize("length", ["-1", "x", "1e3", "9" * 30])
def test_a_length_that_is_none(phone: PlayedBrowser, length: str) -> None:
    assert phone.send("POST", "hello", b"{}", **{"Content-Length": length})[0] == 411


def test_what_is_no_http_ends_the_connection(server: PageServer) -> None:
    with socket.create_connection(server.server_address[:2], timeout=10) as line:
        line.sendall(b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
        assert b"the page" not in line.recv(4096)


def test_tasks_go_out_and_one_reply_comes_back(server: PageServer, phone: PlayedBrowser) -> None:
    phone.hello()
    replies: list[tuple[bytes, bool]] = []
    asking = threading.Thread(
        target=lambda: replies.append(
            server.exchange.ask({"kind": "round"}, {"a": b"abc", "page": PAGE / "style.css"}, **PATIENCE)
        )
    )
    asking.start()
    task = json.loads(phone.send("GET", "task?visit=1&answered=0")[2])
    assert (task["kind"], task["number"]) == ("round", 1)
    assert phone.send("GET", "blob/a")[2] == b"abc"
    assert phone.send("GET", "blob/page")[2] == (PAGE / "style.css").read_bytes()
    assert phone.send("GET", "blob/b")[0] == 404
    late = [
        phone.send("POST", f"reply?{query}", b"{}")[0]
        for query in ("visit=1&number=2", "visit=2&number=1", "")
    ]
    assert late == [409, 409, 409]
    too_long = {"Content-Length": str(MOST_REPLY_BYTES + 1)}
    assert phone.send("POST", "reply?visit=1&number=1", b"{}", **too_long)[0] == 413
    assert phone.send("POST", "failure?visit=1&number=1", b"{}")[0] == 400
    assert phone.send("POST", "reply?visit=1&number=1", json.dumps(ROUND).encode())[0] == 200
    asking.join(timeout=20)
    assert replies == [(json.dumps(ROUND).encode(), False)]
    assert phone.send("POST", "reply?visit=1&number=1", b"{}")[0] == 409
    assert phone.send("GET", "blob/b")[0] == 404


def test_a_reloaded_page_is_given_the_task_again_and_the_old_one_ends(
    server: PageServer, phone: PlayedBrowser
) -> None:
    phone.hello()
    asking = threading.Thread(target=lambda: server.exchange.ask({"kind": "round"}, **PATIENCE), daemon=True)
    asking.start()
    assert json.loads(phone.send("GET", "task?visit=1&answered=0")[2])["number"] == 1
    phone.hello()
    assert json.loads(phone.send("GET", "task?visit=1&answered=0")[2]) == {"kind": "over"}
    assert json.loads(phone.send("GET", "task?visit=2&answered=0")[2])["number"] == 1
    assert phone.send("POST", "reply?visit=2&number=1", b"{}")[0] == 200
    asking.join(timeout=20)
    assert not asking.is_alive()


def test_a_browser_that_is_gone_ends_the_waiting(server: PageServer, phone: PlayedBrowser) -> None:
    with pytest.raises(ConnectionLost, match="no browser opened the link for 0.1 seconds.*`wait`"):
        server.exchange.wait_for_browser(0.1)
    phone.hello()
    with pytest.raises(ConnectionLost, match="has sent nothing for 0.1 seconds"):
        server.exchange.ask({"kind": "round"}, patience_s=0.1)


def test_a_port_that_is_taken(server: PageServer) -> None:
    with pytest.raises(ServeError, match="cannot serve the page at 127.0.0.1 port .* another `port`"):
        PageServer("127.0.0.1", server.server_address[1], Exchange(), files={})


def test_every_file_that_is_served_is_in_the_package_or_npm_s() -> None:
    assert all((PAGE / name).is_file() for name in PAGE_FILES.values())
    assert set(served_files()) == {*PAGE_FILES, *(f"ort/{name}" for name in NEEDED)}


def test_the_page_names_no_other_place() -> None:
    for name in PAGE_FILES.values():
        text = (PAGE / name).read_text().replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text and "https:" not in text and "innerHTML" not in text
