"""The page of a run: only what has changed is sent, only those with the link get it, and only steering is taken."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser.played import PlayedBrowser
from click.testing import CliRunner

from edgeprune.cli import main
from edgeprune.errors import ServeError
from edgeprune.files.locks import held
from edgeprune.train_prune.steering import send_command
from edgeprune.watch import live
from edgeprune.watch.serving import MOST_BYTES, WatchServer
from watch.unfinished import finish, log_steps, unfinished_run

JSON = {"Content-Type": "application/json"}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return unfinished_run(tmp_path / "mine")


@pytest.fixture
def server(run: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchServer]:
    monkeypatch.setattr(live, "FRESH_S", 0.0)
    server = WatchServer(run)
    server.start()
    yield server
    server.close()


@pytest.fixture
def page(server: WatchServer) -> PlayedBrowser:
    return PlayedBrowser(server.link)


def changes(page: PlayedBrowser, seen: int = 0) -> dict[str, Any]:
    status, _, body = page.send("GET", f"changes?seen={seen}")
    assert status == 200
    answer: dict[str, Any] = json.loads(body)
    return answer


def test_only_what_has_changed_is_sent(run: Path, page: PlayedBrowser, tmp_path: Path) -> None:
    with held(run):
        first = changes(page)
        assert first["sections"] == ["training", "settings"] and "training" in first["parts"]
        state = first["state"]
        assert (state["kind"], state["left"], state["later"]) == ("running", "10 s", "2 min")
        assert (state["done"], state["total"]) == (50, 150)
        same = changes(page, first["seen"])
        assert same["parts"] == {} and len(json.dumps(same)) < 1000
        log_steps(run, 100, flops_fraction=0.7)
        second = changes(page, first["seen"])
        assert set(second["parts"]) == {"head", "training"} and "70.0 %" in second["parts"]["head"]
        assert second["parts"]["training"].count("FLOPs: 70 at") == 2  # for broad and narrow windows
    assert changes(page)["state"]["kind"] == "stopped"
    finish(run, tmp_path / "other")
    third = changes(page, second["seen"])
    assert third["state"]["kind"] == "finished" and third["sections"][0] == "asked-and-reached"
    assert set(third["parts"]) == {"head", "links", "asked-and-reached", "widths"}
    assert set(changes(page, 10**8)["parts"]) >= {"head", "settings"}  # another server's version


def test_the_page_loads_nothing_from_elsewhere_and_has_no_code_in_it(page: PlayedBrowser) -> None:
    status, headers, body = page.send("GET", "")
    assert status == 200 and "unsafe-inline" not in headers["Content-Security-Policy"]
    text = body.decode()
    assert "<style>" not in text and "<script>" not in text and "http:" not in text and "style=" not in text
    for name in ("style.css", "page.js", "live.css", "live.js", "icon.svg"):
        assert f'"{name}"' in text
        status, _, content = page.send("GET", name)
        assert status == 200 and b"//" not in content.replace(b"http://www.w3.org/2000/svg", b"").replace(
            b"\n// ", b""
        )


def test_steering_is_written_as_the_command_writes_it(run: Path, page: PlayedBrowser, tmp_path: Path) -> None:
    for command in (
        {"interacting": "+200"},
        {"interacting": "500"},
        {"target": "flops=0.40"},
        {"auto": True},
    ):
        assert page.send("POST", "steer", json.dumps(command).encode(), **JSON)[0] == 200
    other = unfinished_run(tmp_path / "other")
    send_command(other, "+200")
    send_command(other, "500")
    send_command(other, target="flops=0.4")
    send_command(other, None, auto=True)
    assert (run / "steer.jsonl").read_text() == (other / "steer.jsonl").read_text()
    steering = changes(page)["state"]["steering"]
    assert steering["shown"] and steering["commands"] == 4
    assert steering["text"].startswith(
        "At step 50: interacting -20, set by the controller; 80.0 % of the FLOPs"
    )


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b'{"interacting": "fast"}', JSON, 409),
        (b'{"interacting": "+200", "auto": true}', JSON, 400),
        (b'{"interacting": "+200", "target": "flops=0.4"}', JSON, 400),
        (b'{"target": "latency=0.5"}', JSON, 409),
        (b'{"target": "fast"}', JSON, 409),
        (b"{}", JSON, 400),
        (b'{"interacting": 200}', JSON, 400),
        (b'{"auto": true, "more": 1}', JSON, 400),
        (b"\xff", JSON, 400),
        (b" " * (MOST_BYTES + 1), JSON, 413),
        (b'{"auto": true}', {"Content-Type": "text/plain"}, 415),
        (b'{"auto": true}', {**JSON, "Origin": "http://elsewhere.example"}, 404),
        (b'{"auto": true}', {**JSON, "Origin": "null"}, 404),
        (b'{"auto": true}', {**JSON, "Host": "elsewhere.example"}, 404),
    ],
)
def test_what_does_not_steer(
    run: Path, page: PlayedBrowser, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert page.send("POST", "steer", body, **headers)[0] == status
    assert not (run / "steer.jsonl").exists()


@pytest.mark.parametrize(
    "path", ["config.json", "../mine/config.json", "metrics.jsonl", "live.html.jinja", "steer", "x"]
)
def test_no_file_that_is_not_the_page_s(page: PlayedBrowser, path: str) -> None:
    assert page.send("GET", path)[0] == 404
    assert page.send("POST", path if path != "steer" else "", b"{}", **JSON)[0] == 404


def test_nothing_without_the_token_or_under_a_stranger_s_name(
    server: WatchServer, page: PlayedBrowser
) -> None:
    """A name that somebody else lets lead to this machine must not open the page, not even with the link."""
    for path in ("/", "/changes", "/live.js", f"/{server.token}"):
        assert page.send("GET", path)[0] == 404
    port = server.server_address[1]
    for host, status in (
        ("127.0.0.1", 200),
        (f"localhost:{port}", 200),
        ("elsewhere.example", 404),
        ("", 404),
    ):
        assert page.send("GET", "changes", Host=host)[0] == status
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD"):
        assert page.send(method, "")[0] == 501


def test_a_damaged_file_is_said_and_the_page_stays(run: Path, page: PlayedBrowser) -> None:
    before = changes(page)
    config = (run / "config.json").read_text()
    (run / "config.json").write_text("{")
    broken = changes(page, before["seen"])
    assert "config.json" in broken["state"]["problem"] and broken["parts"] == {}
    (run / "config.json").write_text(config)
    assert changes(page)["state"]["problem"] is None


def test_texts_are_escaped(run: Path, page: PlayedBrowser) -> None:
    config = json.loads((run / "config.json").read_text())
    config["options"]["model"] = '<script>alert("x")</script>'
    (run / "config.json").write_text(json.dumps(config))
    log_steps(run, 100)
    assert b"<script>alert" not in page.send("GET", "")[2]
    assert "<script>alert" not in json.dumps(changes(page)["parts"]).replace("\\u003c", "<")


def test_mistakes_are_one_line(run: Path, server: WatchServer, tmp_path: Path) -> None:
    with pytest.raises(ServeError, match="cannot serve the page"):
        WatchServer(run, server.server_address[1])
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "x").write_text("x")
    result = CliRunner().invoke(main, ["watch", str(tmp_path / "notes")])
    assert result.exit_code == 1 and "is not a run folder" in result.stderr and result.stderr.count("\n") == 1


def test_the_command_gives_the_link_and_ends_with_ctrl_c(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: WatchServer) -> None:
        self.start()
        page = PlayedBrowser(self.link)
        assert page.send("GET", "")[0] == 200
        self.close()

    monkeypatch.setattr(WatchServer, "serve_until_stopped", interrupted)
    result = CliRunner().invoke(main, ["watch", str(run), "--json"])
    assert result.exit_code == 0 and json.loads(result.stdout)["link"].startswith("http://127.0.0.1:")
