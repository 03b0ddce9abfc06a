"""Answer the runner's verbs by a browser that has opened the page.

The browser measures and sends raw samples, and the outputs for parity; everything else is done here, as for any device.
"""

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import numpy as np
from edgeprune_target.__main__ import parser
from edgeprune_target.accuracy import score
from edgeprune_target.errors import TargetError
from edgeprune_target.scorers import make_scorer

from edgeprune.bench.browser import PROVIDERS, WASM, Browser
from edgeprune.bench.browser_model import IMAGES, MADE_UP, BrowserModel
from edgeprune.bench.browser_words import MOST_IMAGES, ONE_THREAD, described, in_runner_form
from edgeprune.bench.process import OnEvent, ignore_event, printable_line
from edgeprune.bench.reference import Arrays
from edgeprune.browser.exchange import Blob, Exchange
from edgeprune.browser.link import network_address, self_signed
from edgeprune.browser.messages import Hello, round_of
from edgeprune.browser.serving import PageServer
from edgeprune.browser.web_files import version
from edgeprune.errors import BenchError, EdgePruneError, ExportError
from edgeprune.records.bench import BenchResult
from edgeprune.serving import LOOPBACK

MOST_BYTES = 64 << 20  # of images and outputs of a model that cross the network
MOST_BATCH_BYTES = 8 << 20  # of them at a time
FAREWELL_S = 3.0  # that the page gets to fetch its last lines


@dataclass
class BrowserEngine:
    """A model in the browser, as the runner's scoring takes an engine; each call is compared with the reference.

    Attributes:
        transport: to the browser.
        model: that is run.
        task: the part of every task that says how.
    """

    transport: "BrowserTransport"
    model: BrowserModel
    task: Mapping[str, Any]

    @property
    def inputs(self) -> Mapping[str, Any]:
        """The model's inputs, in order."""
        return self.model.reference.inputs

    def infer(self, feed: Arrays, inputs: str = IMAGES) -> Arrays:
        """Return the outputs by name.

        Args:
            feed: arrays by input.
            inputs: what it is.

        Raises:
            BenchError: the browser cannot run the model, or gives outputs of another size.
        """
        expected = self.model.reference.outputs_of(feed)
        size = sum(array.nbytes for array in expected.values())
        images = max([1, *(array.shape[0] for array in feed.values() if array.ndim)])
        self.model.image_bytes = max(1, (size + sum(array.nbytes for array in feed.values())) // images)
        reply = self.transport.ask(
            {**self.task, "kind": "outputs", "outputs": list(expected)}, self.model, feed, reply_bytes=size
        )
        if len(reply) != size:
            raise BenchError(f"the browser's outputs have {len(reply):,} bytes, ONNX Runtime's here {size:,}")
        got, start = {}, 0
        for name, array in expected.items():
            got[name] = np.frombuffer(reply, array.dtype, array.size, start).reshape(array.shape)
            start += array.nbytes
        self.model.compared.add(inputs, expected, got)
        return got

    def synchronize(self) -> None:
        """Do nothing: the outputs are here."""


class BrowserTransport:
    """Answers the runner's verbs, as far as a browser can.

    Attributes:
        server: of the page.
        patience_s: seconds without a word from the browser after which it counts as gone.
    """

    def __init__(
        self, server: PageServer, patience_s: float, folder: "TemporaryDirectory[str] | None" = None
    ) -> None:
        """Take a server that has been started.

        Args:
            server: of the page.
            patience_s: seconds without a word from the browser.
            folder: with its certificate, removed in the end.
        """
        self.server = server
        self.patience_s = patience_s
        self._folder = folder
        self._models: dict[str, BrowserModel] = {}
        self._hello: Hello | None = None

    @classmethod
    def serving(cls, browser: Browser) -> "BrowserTransport":
        """Return one whose page is served.

        Raises:
            BenchError: ONNX Runtime's files for browsers are not installed. ServeError: the address cannot be served.
        """
        version()
        address = browser.address or (network_address() if browser.lan else LOOPBACK)
        folder = TemporaryDirectory(prefix="edgeprune-") if browser.https else None
        context = self_signed(address, Path(folder.name)) if folder else None
        server = PageServer(address, browser.port, Exchange(), context=context)
        server.start()
        return cls(server, browser.patience_s, folder)

    @property
    def link(self) -> str:
        """The link to the page."""
        return self.server.link

    def send(self, path: Path) -> str:
        """Return the path: the browser gets the file with the task that needs it."""
        return str(path.resolve())

    def remove(self, remote: str) -> None:
        """Do nothing: ``send`` created no file."""

    def call(self, verb: str, arguments: Sequence[str], on_event: OnEvent = ignore_event) -> Any:
        """Answer the verbs ``probe``, ``measure`` and ``accuracy``.

        Args:
            verb: of the runner's command line.
            arguments: after the verb.
            on_event: called with each progress event.

        Raises:
            BenchError: the browser is gone, fails, or cannot do what the verb needs.
        """
        if verb == "probe":
            return self.probe()
        if verb not in ("measure", "accuracy"):
            raise BenchError(f"a page measures the models alone: for {verb} take a device with the runner")
        options = parser().parse_args([verb, *arguments])
        try:
            return self.measure(options) if verb == "measure" else self.accuracy(options, on_event)
        except TargetError as error:
            raise BenchError(str(error)) from error

    # --- the verbs --------------------------------------------------------------------------------------------

    def probe(self) -> dict[str, Any]:
        """Wait for a browser, and return what it says of itself in the runner's form."""
        hello = self._hello = self.server.exchange.wait_for_browser(self.patience_s)
        return described(hello, version())

    def measure(self, options: Any) -> dict[str, Any]:
        """Measure one round, and return it in the runner's form."""
        if options.cool_to is not None:
            raise BenchError("a page can read no temperature: leave `cool_to` out")
        model, task = self._model(options.model), self._task(options)
        feed = model.reference.feed(options.batch, dict(options.shape))
        if not model.compared.got:
            BrowserEngine(self, model, task).infer(feed, MADE_UP)
        before = time.monotonic()
        reply = self.ask({**task, "kind": "round", "seconds": options.seconds}, model, feed)
        return {
            "model": options.model,
            "runtime": options.runtime,
            "versions": {WASM: version()},
            "feed": {name: list(array.shape) for name, array in feed.items()},
            **in_runner_form(round_of(reply), self._words.clock_step_ms),
            "before": {"monotonic_s": before},
            "after": {"monotonic_s": time.monotonic()},
        }

    def accuracy(self, options: Any, on_event: OnEvent) -> dict[str, Any]:
        """Score a model by the outputs that the browser sends; they are compared with the reference's, too."""
        model = self._model(options.model)
        images, labels = np.load(options.images, mmap_mode="r"), np.load(options.labels, mmap_mode="r")
        engine = BrowserEngine(self, model, self._task(options))
        batch = max(1, min(options.batch, MOST_BATCH_BYTES // model.image_bytes))
        counted: dict[str, Any] = score(engine, images, labels, make_scorer(options.scorer), batch, on_event)
        return counted

    @property
    def most_images(self) -> int:
        """How many test images are scored, so that a small part of them crosses a phone's network."""
        largest = max((model.image_bytes for model in self._models.values()), default=1)
        return max(1, min(MOST_IMAGES, MOST_BYTES // largest))

    def compared(self, path: Path) -> dict[str, Any]:
        """Return ``parity`` of a model with ONNX Runtime here, and ``parity_inputs``, what it is of."""
        model = self._models.get(self.send(path))
        if model is None or not model.compared.got:
            return {"parity": None, "parity_inputs": None}
        try:
            return {"parity": model.compared.parity(), "parity_inputs": model.compared.inputs}
        except ExportError as error:
            raise BenchError(str(error)) from error

    # --- the page ---------------------------------------------------------------------------------------------

    def show_progress(self, done: float, total: float, text: str) -> None:
        """Show the progress on the page.

        Args:
            done: amount of finished work.
            total: amount of all work.
            text: what is being done.
        """
        self.server.exchange.show_progress(done, total, text)

    def close(self, shown: BenchResult | BaseException) -> None:
        """Show how it ended on the page, and stop serving.

        Args:
            shown: the result, or what came in between.
        """
        if isinstance(shown, BenchResult):
            last: dict[str, Any] = {"result": page_of(shown)}
        else:
            plain = (
                str(shown)
                if isinstance(shown, EdgePruneError)
                else "The measurement was stopped on the computer."
            )
            last = {"error": plain}
        try:
            self.server.exchange.finish({"kind": "end", **last}, FAREWELL_S)
        finally:
            self.server.close()
            if self._folder:
                self._folder.cleanup()

    def ask(
        self, task: Mapping[str, Any], model: BrowserModel, feed: Arrays, *, reply_bytes: int | None = None
    ) -> bytes:
        """Let the browser do a task with a model; return its reply.

        Args:
            task: what to do, as JSON.
            model: with its files.
            feed: arrays by input.
            reply_bytes: the exact size of the reply; None for JSON.

        Raises:
            BenchError: the browser cannot do it, or is gone.
        """
        content = b"".join(np.ascontiguousarray(array).tobytes() for array in feed.values())
        name = hashlib.sha256(content).hexdigest()
        blobs: dict[str, Blob] = {**model.blobs, name: content}
        about = {
            "model": model.name,
            "external": list(model.external),
            "feed": name,
            "inputs": [
                {"name": key, "type": str(array.dtype), "dims": list(array.shape)}
                for key, array in feed.items()
            ],
            "keep": [blob for known in self._models.values() for blob in known.blobs],
        }
        reply, failed = self.server.exchange.ask(
            {**about, **task}, blobs, patience_s=self.patience_s, reply_bytes=reply_bytes
        )
        if failed:
            raise BenchError(f"the browser says: {printable_line(reply.decode(errors='replace'))}")
        return reply

    @property
    def _words(self) -> Hello:
        return self.server.exchange.wait_for_browser(self.patience_s)

    def _model(self, path: str) -> BrowserModel:
        if path not in self._models:
            self._models[path] = BrowserModel.of(Path(path))
        return self._models[path]

    def _task(self, options: Any) -> dict[str, Any]:
        """Return the part of every task that says how; the page may have been reloaded in another state meanwhile.

        Raises:
            BenchError: the browser has other threads than are asked for, or is another than at the beginning.
        """
        words = self._words
        if self._hello is not None and words.user_agent != self._hello.user_agent:
            raise BenchError("another browser has taken over the page: measure again")
        if options.threads > 1 and not words.isolated:
            raise BenchError(f"`threads={options.threads}` cannot be: {ONE_THREAD}")
        return {"provider": PROVIDERS[options.runtime], "threads": options.threads}


def page_of(result: BenchResult) -> dict[str, Any]:
    """Return what the page shows of a result: the speedup, a table of both models, remarks."""
    from edgeprune.reporting.rows import bench_rows, warning_lines

    speedup = result.speedup
    rows = [row for row in bench_rows(result) if "-" not in (row.baseline, row.pruned)]
    pair = len(result.models) > 1
    return {
        "title": "Measured",
        "headline": f"speedup {speedup.value:.2f}x" if speedup else "",
        "interval": f"{100 * speedup.confidence:.0f} % interval {speedup.low:.2f} to {speedup.high:.2f}"
        if speedup
        else "",
        "columns": ["", *result.models],
        "rows": [[row.what, row.baseline, *([row.pruned] if pair else [])] for row in rows],
        "remarks": [
            f"{result.settings.runtime}, {threads_text(result)}",
            *warning_lines(without_energy(result)),
        ],
    }


def without_energy(result: BenchResult) -> BenchResult:
    """Return a result without the warning that there is no energy: a page never has it."""
    kept = tuple(warning for warning in result.warnings if warning.code != "energy_unavailable")
    return msgspec.structs.replace(result, warnings=kept)


def threads_text(result: BenchResult) -> str:
    """Return the number of threads in words."""
    threads = result.settings.threads
    return f"{threads} thread{'s' if threads > 1 else ''}"
