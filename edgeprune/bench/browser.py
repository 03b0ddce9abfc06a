"""A browser as the place of a measurement: how its page is served, and to whom. Nothing heavy is imported."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeprune.devices import BROWSER
from edgeprune.errors import BenchError
from edgeprune.options.checks import Count, Duration, Text, seconds_of
from edgeprune.options.fields import check_fields, option

if TYPE_CHECKING:
    from edgeprune.bench.browser_transport import BrowserTransport
    from edgeprune.bench.local import Transport
    from edgeprune.devices import Device

WASM, WEBGPU = "onnxruntime-web", "onnxruntime-webgpu"
PROVIDERS = {WASM: "wasm", WEBGPU: "webgpu"}  # runtime -> what ONNX Runtime calls it in a browser

Announce = Callable[[str], None]


def ignore_link(link: str) -> None:
    """Ignore the link to the page."""


@dataclass(frozen=True)
class Browser:
    """Where a browser finds the page; takes the place of a `Host`.

    Attributes:
        announce: called with the link, once it can be opened.

    Raises:
        BenchError: a number that makes no sense; names the field.
    """

    lan: bool = option(
        False,
        "With --device browser: serve the page in the network and not on this machine alone; whoever has the link "
        "can read the models.",
        "target",
    )
    https: bool = option(
        False,
        "With --device browser: serve the page by TLS with a certificate made now, of which the browser warns; "
        "in the network, threads and WebGPU need it.",
        "target",
    )
    address: str | None = option(
        None,
        "With --device browser: serve the page at this address of this machine.",
        "target",
        Text(),
        unset="127.0.0.1; with --lan the one in the network",
    )
    port: int = option(
        0,
        "With --device browser: serve the page at this port; 0 takes one that is free.",
        "target",
        Count(0, 65_535),
    )
    wait: str = option(
        "10m",
        "With --device browser: give up where no browser opens the page, or the one that did sends nothing, for so "
        "long, as 90s or 10m.",
        "target",
        Duration(1, 86_400),
        metavar="TIME",
    )
    announce: Announce = field(default=ignore_link, compare=False)

    def __post_init__(self) -> None:
        check_fields(self, BenchError)

    @property
    def name(self) -> str:
        """What a result says of the place."""
        return "a page in the network" if self.lan or self.address else "a page on this machine"

    def device(self, name: str | None) -> str:
        """Return the profile's name, which is that of a browser.

        Raises:
            BenchError: another device is named.
        """
        if name not in (None, BROWSER):
            raise BenchError(f"a page measures the browser that opens it, not `device={name}`")
        return BROWSER

    def connect(self) -> "BrowserTransport":
        """Serve the page, and announce its link.

        Raises:
            BenchError: ONNX Runtime's files for browsers are not installed. ServeError: the address cannot be served.
        """
        from edgeprune.bench.browser_transport import BrowserTransport

        transport = BrowserTransport.serving(self)
        self.announce(transport.link)
        return transport

    def leave_profile(self, device: "Device", transport: "Transport") -> None:
        """Do nothing: there is no runner to be started by hand."""

    @property
    def patience_s(self) -> float:
        """Seconds without a word from the browser after which it counts as gone."""
        return seconds_of(self.wait)
