"""The link to the page: this machine's address in the network, a QR code, a certificate."""

import io
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

from edgeprune.errors import BenchError

ELSEWHERE = ("192.0.2.1", 9)  # an address for documentation (RFC 5737): choosing a route to it sends nothing


def network_address() -> str:
    """Return the address by which this machine reaches its network; nothing is sent.

    Raises:
        BenchError: it has no network.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(ELSEWHERE)
            return str(probe.getsockname()[0])
        except OSError as error:
            raise BenchError(
                f"this machine has no route to a network ({error.strerror or error}): name its own `address` there"
            ) from error


def qr_code(text: str) -> str | None:
    """Return a text as a QR code for a terminal; None without the package that draws it."""
    try:
        import segno
    except ImportError:
        return None
    drawing = io.StringIO()
    segno.make(text, error="l").terminal(drawing, border=2, compact=True)
    return drawing.getvalue()


def self_signed(address: str, folder: Path) -> ssl.SSLContext:
    """Return a context for TLS with a certificate made for two days, by the program openssl.

    A browser warns of it once. It makes the page a secure context all the same, which threads, a fine clock and
    WebGPU need.

    Args:
        address: that the certificate is for.
        folder: for the certificate and its key, which nobody else can read.

    Raises:
        BenchError: openssl is missing or fails.
    """
    program = shutil.which("openssl")
    if program is None:
        raise BenchError(
            "`https` needs the program openssl to make a certificate: install it, or leave it out"
        )
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    command = [
        program, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=edgeprune", "-addext", f"subjectAltName=IP:{address}", "-keyout", str(key),
        "-out", str(certificate),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise BenchError(
            f"openssl cannot make a certificate: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
        )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context
