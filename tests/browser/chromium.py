"""A headless Chromium that tests drive over a pipe, by its DevTools protocol."""

import base64
import json
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

PROGRAM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None
)


class Chromium:
    """One browser with one page; a context manager that ends it with all of its processes."""

    def __init__(self, profile: Path, *flags: str) -> None:
        """Start it with a profile's folder and further flags."""
        assert PROGRAM is not None
        ours, theirs = os.pipe(), os.pipe()  # it reads commands from 3 and writes answers to 4
        command = [
            PROGRAM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
            f"--user-data-dir={profile}", "--remote-debugging-pipe", *flags, "about:blank",
        ]  # fmt: skip
        shell = ["bash", "-c", f'exec 3<&{ours[0]} 4>&{theirs[1]}; exec "$@"', "bash", *command]
        self.process = subprocess.Popen(
            shell, pass_fds=(ours[0], theirs[1]), start_new_session=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(ours[0])
        os.close(theirs[1])
        self._commands, self._answers = os.fdopen(ours[1], "wb"), os.fdopen(theirs[0], "rb")
        self._number = 0
        self._session = ""
        self.console: list[str] = []
        targets = self.send("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self.send("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def __enter__(self) -> "Chromium":
        return self

    def __exit__(self, *_error: object) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._commands.close()
        self._answers.close()

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Run a command of the protocol; return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            answer = json.loads(self._read())
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def open(self, url: str) -> None:
        """Go to a page."""
        self.send("Page.navigate", url=url)

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression in the page; a promise is awaited."""
        answer = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def resize(self, width: int, height: int, scheme: str = "light") -> None:
        """Make the page as wide as a phone's."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=2, mobile=True
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.send("Emulation.setEmulatedMedia", features=features)

    def screenshot(self, path: Path) -> None:
        """Write a picture of the page, PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))

    def _read(self) -> bytes:
        parts = bytearray()
        while (byte := self._answers.read(1)) not in (b"\0", b""):
            parts += byte
        assert parts, "the browser has ended"
        return bytes(parts)

    def _note(self, event: dict[str, Any]) -> None:
        """Keep what the page writes to its console."""
        parameters = event.get("params", {})
        if event.get("method") == "Runtime.consoleAPICalled":
            self.console += [str(item.get("value", item.get("description"))) for item in parameters["args"]]
        if event.get("method") == "Log.entryAdded":
            self.console.append(parameters["entry"]["text"])
