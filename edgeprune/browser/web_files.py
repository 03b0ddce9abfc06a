"""ONNX Runtime's files for browsers: which of them the page needs, and how they get beside it.

They are a part of the wheel, and not of the repository: 41 MB that npm has. In a clone, ``make web`` gets them;
elsewhere ``python -m edgeprune.browser.web_files``.
"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from edgeprune.errors import BenchError

PACKAGE, VERSION = "onnxruntime-web", "1.30.0"
SHA512 = (
    "ab4cbe26baedba45d2cec05610c71c55fa97db92d19a8b171c5f8269126683ca"
    "590a5cdc57bb2f35ce2b298de32f4d956fb42644c0ecd528a0a91e025c07ca61"
)  # of the package, as npm downloads it
PAGE = Path(__file__).parent / "page"
FOLDER = PAGE / "ort"
NEEDED = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
ABOUT = "package.json"  # name, version and licence of the package, kept beside its files
HOW = "get them by npm: make web in a clone, else python -m edgeprune.browser.web_files"


def version(folder: Path = FOLDER) -> str:
    """Return the version of the files.

    Raises:
        BenchError: they are not there.
    """
    missing = [name for name in (ABOUT, *NEEDED) if not (folder / name).is_file()]
    if missing:
        raise BenchError(f"ONNX Runtime's files for browsers are not installed ({missing[0]}): {HOW}")
    return str(json.loads((folder / ABOUT).read_text())["version"])


def fetch(folder: Path = FOLDER) -> None:
    """Get the package by npm, and put the needed files into ``folder``.

    Raises:
        BenchError: npm is missing or fails, or gives another package than the known one.
    """
    name = f"{PACKAGE}@{VERSION}"
    with tempfile.TemporaryDirectory() as place:
        command = ["npm", "pack", "--silent", "--pack-destination", place, name]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BenchError(f"npm cannot get {name} ({error}): install Node.js, which has npm") from error
        archives = list(Path(place).glob("*.tgz"))
        if done.returncode or len(archives) != 1:
            lines = done.stderr.strip().splitlines() or ["no reason given"]
            raise BenchError(f"npm cannot get {name}: {lines[-1]}")
        unpack(archives[0], folder)


def unpack(archive: Path, folder: Path, sha512: str = SHA512) -> None:
    """Put the needed files of the package into a folder.

    Args:
        archive: the package.
        folder: made where it is missing.
        sha512: that the package must have.

    Raises:
        BenchError: it is another package.
    """
    if hashlib.sha512(archive.read_bytes()).hexdigest() != sha512:
        raise BenchError(f"{archive.name} is not the known {PACKAGE} {VERSION}: its SHA-512 differs")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as package:
        for name, inside in [(ABOUT, ABOUT), *((name, f"dist/{name}") for name in NEEDED)]:
            content = package.extractfile(f"package/{inside}")
            assert content is not None, inside  # a regular file: the hash says so
            (folder / name).write_bytes(content.read())


if __name__ == "__main__":
    try:
        fetch()
    except BenchError as mistake:
        sys.exit(f"error: {mistake}")
