"""The page of a run in a real Chromium: it follows the run, and steers it."""

import json
import time
from pathlib import Path

import pytest
from browser.chromium import PROGRAM, Chromium

from edgeprune.files.locks import held
from edgeprune.watch.serving import WatchServer
from watch.unfinished import finish, log_steps, unfinished_run

DOTS = "document.querySelectorAll('#training .dot').length"
TEXT = "document.body.innerText"


def waited(page: Chromium, expression: str, seconds: float = 20) -> None:
    """Wait until an expression is true in the page."""
    until = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < until, (expression, page.evaluate(TEXT), page.console)
        time.sleep(0.1)


@pytest.mark.skipif(PROGRAM is None, reason="no Chromium here")
def test_it_follows_the_run_and_steers_it(tmp_path: Path) -> None:
    """Curves grow, the keyboard's place and what is opened stay, a command arrives, the report comes in the end."""
    place = unfinished_run(tmp_path / "mine")
    server = WatchServer(place)
    server.start()
    with Chromium(tmp_path / "profile") as page:
        with held(place):
            page.resize(420, 900, "dark")
            page.open(server.link)
            waited(page, "document.getElementById('left')?.textContent.includes('about 10 s left')")
            assert "Prune epoch 3/8" in page.evaluate(TEXT)
            page.evaluate("document.querySelector('#settings summary').click()")
            dots = page.evaluate(DOTS)
            log_steps(place, 100)
            waited(page, f"{DOTS} > {dots}")
            assert page.evaluate("document.querySelector('#settings details').open")
            page.evaluate("document.getElementById('amount').value = '150'")
            page.evaluate("document.getElementById('more').click()")
            waited(page, "document.getElementById('answer').textContent.startsWith('Written.')")
            page.evaluate("document.getElementById('target').value = 'flops=0.4'")
            enter = "new KeyboardEvent('keydown', {key: 'Enter', bubbles: true})"
            page.evaluate(f"document.getElementById('target').dispatchEvent({enter})")
            waited(page, "document.getElementById('answer').textContent.startsWith('Written.')")
            page.evaluate(
                "document.getElementById('value').value = 'x'; document.getElementById('set').click()"
            )
            waited(page, "document.getElementById('answer').textContent.includes('is not a number')")
            wide = page.evaluate("document.documentElement.scrollWidth > innerWidth")
            page.evaluate("document.querySelector('#links a').focus()")
        finish(place, tmp_path / "other")
        waited(page, "document.querySelector('#links a').hash === '#asked-and-reached'")
        assert page.evaluate("document.activeElement === document.querySelector('#links a')")
        assert page.evaluate("document.getElementById('steer').hidden")
        server.close()
    commands = [{"interacting": 150.0, "relative": True}, {"target": "flops=0.4"}]
    assert [json.loads(line) for line in (place / "steer.jsonl").read_text().splitlines()] == commands
    assert not wide and [line for line in page.console if "409" not in line] == []
