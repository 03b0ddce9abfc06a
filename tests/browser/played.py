"""A browser played by Python: it talks to the page's server as the page does, and computes by ONNX Runtime here."""

import http.client
import json
import threading
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import onnxruntime

WORDS: dict[str, Any] = {
    "user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
    "Version/18.5 Mobile/15E148 Safari/604.1",
    "cores": 4,
    "secure": True,
    "isolated": True,
    "no_gpu": "this browser has no WebGPU",
    "clock_step_ms": 0.02,
}
ROUND: dict[str, Any] = {
    "load_ms": 5.0, "first_ms": 3.0, "warm_runs": 10, "warm_ms": 500.0, "runs_per_sample": 2,
    "samples_ms": [1.0, 1.1, 1.2], "window_ms": 6.7, "hidden_ms": 0.0,
}  # fmt: skip
Reply = tuple[int, Mapping[str, str], bytes]


class PlayedBrowser:
    """Speaks to a server by its link; a browser of its own has its own cookie.

    Attributes:
        cookie: that the server gave it.
        visit: number of its visit.
        outputs: change an output before it is sent.
        rounds: of each task "round", the reply.
        tasks: all tasks it was given.
    """

    def __init__(self, link: str) -> None:
        """Take the link; nothing is sent yet."""
        parts = urlsplit(link)
        self.address, self.base = (str(parts.hostname), parts.port), parts.path
        self.cookie = ""
        self.visit = 0
        self.outputs: Callable[[np.ndarray], np.ndarray] = lambda array: array
        self.rounds: Callable[[dict[str, Any]], Any] = lambda _task: ROUND
        self.tasks: list[dict[str, Any]] = []
        self.thread = threading.Thread(target=self.work, daemon=True)

    def send(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """Send a request below the link, or to an absolute path; return status, headers and body."""
        connection = http.client.HTTPConnection(*self.address, timeout=30)
        if self.cookie:
            headers["Cookie"] = self.cookie
        try:
            connection.request(method, path if path.startswith("/") else self.base + path, body, headers)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def hello(self, **words: Any) -> int:
        """Say hello; return the status."""
        status, headers, body = self.send("POST", "hello", json.dumps({**WORDS, **words}).encode())
        if status == 200:
            self.cookie, self.visit = headers["Set-Cookie"].split(";")[0], json.loads(body)["visit"]
        return status

    def start(self, **words: Any) -> "PlayedBrowser":
        """Say hello, and work in a thread of its own until the last task."""
        assert self.hello(**words) == 200
        self.thread.start()
        return self

    def work(self) -> None:
        """Do tasks until the last."""
        answered = 0
        while True:
            status, _, body = self.send("GET", f"task?visit={self.visit}&answered={answered}")
            if status != 200:
                return
            task = json.loads(body)
            if task["kind"] == "over":
                return
            if task["kind"] == "wait":
                continue
            self.tasks.append(task)
            reply = self.reply_to(task)
            path = "failure" if isinstance(reply, dict) and "error" in reply else "reply"
            content = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send("POST", f"{path}?visit={self.visit}&number={task['number']}", content)
            if task["kind"] == "end":
                return
            answered = task["number"]

    def reply_to(self, task: dict[str, Any]) -> Any:
        """Return the reply to a task: bytes, or what becomes JSON."""
        if task["kind"] == "round":
            return self.rounds(task)
        if task["kind"] == "outputs":
            return self.computed(task)
        return {}

    def computed(self, task: dict[str, Any]) -> bytes:
        """Return the outputs of the model that the task names, by ONNX Runtime here."""
        model, content = (self.send("GET", f"blob/{task[name]}")[2] for name in ("model", "feed"))
        feed, start = {}, 0
        for item in task["inputs"]:
            count = int(np.prod(item["dims"]))
            feed[item["name"]] = np.frombuffer(content, item["type"], count, start).reshape(item["dims"])
            start += feed[item["name"]].nbytes
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        return b"".join(self.outputs(array).tobytes() for array in session.run(task["outputs"], feed))
