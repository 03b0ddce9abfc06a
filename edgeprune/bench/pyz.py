"""Pack the runner into one file that any Python 3.8 runs: equal sources always give equal bytes."""

import io
import zipfile
from pathlib import Path

from edgeprune.bench.local import runner_folder
from edgeprune.files.writing import write_bytes

PACKAGE = "edgeprune_target"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip file knows

# Runs on any Python 3, so that an old one gets a message: the package itself does not even compile there.
START = """\
import sys

if sys.version_info < (3, 8):
    import json

    version = ".".join(map(str, sys.version_info[:3]))
    message = "Python " + version + " is too old on this machine: the runner needs 3.8 or newer; "
    message += "install one there, and name it with --host-python, as in --host-python python3.8"
    print(json.dumps({"event": "error", "message": message}))
    sys.exit(1)

from edgeprune_target.__main__ import run

run()
"""


def runner_bytes() -> bytes:
    """Pack the package ``edgeprune_target`` into a zip that Python runs.

    Files are in the order of their names, uncompressed (compressors differ by version) and of one time, so
    that equal sources give equal bytes and a device that has the file need not be sent it again.
    """
    package = runner_folder() / PACKAGE
    content = {
        path.relative_to(package.parent).as_posix(): path.read_bytes()
        for path in package.rglob("*.py")
        if path.is_file()
    }
    content["__main__.py"] = START.encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(content):
            entry = zipfile.ZipInfo(name, LONG_AGO)
            entry.create_system = 3  # Unix, wherever this runs
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content[name])
    return packed.getvalue()


def write_runner(folder: Path) -> Path:
    """Write the runner to ``folder/edgeprune_target.pyz``; return its path."""
    path = folder / f"{PACKAGE}.pyz"
    write_bytes(path, runner_bytes())
    return path
