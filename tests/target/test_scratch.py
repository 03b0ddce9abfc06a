import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import edgeprune_target
import pytest
from edgeprune_target.scratch import LOCK, ScratchFolder, scratch_folder, sweep

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(edgeprune_target.__file__).parent.parent)}
HOLD = """
import sys, time
from edgeprune_target.scratch import scratch_folder
with scratch_folder(sys.argv[1]) as folder:
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_folder_is_gone_afterwards(tmp_path: Path) -> None:
    with scratch_folder(str(tmp_path)) as folder:
        assert Path(folder).name.startswith(f"edgeprune-{os.getpid()}-")
        assert sweep(str(tmp_path)) == []  # it is in use
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_an_object_goes_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = ScratchFolder()
    assert Path(folder.name).is_dir()
    del folder
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_process_is_swept_by_the_next(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT
    ) as child:
        assert child.stdout is not None
        left = Path(child.stdout.readline().strip())
        with scratch_folder(str(tmp_path)):
            assert left.is_dir()  # its process lives
        child.send_signal(signal.SIGKILL)
    assert left.is_dir()
    with scratch_folder(str(tmp_path)):
        assert not left.exists()


def test_what_is_not_swept(tmp_path: Path) -> None:
    (tmp_path / "edgeprune-file").write_text("")
    (tmp_path / "other").mkdir()
    (tmp_path / "edgeprune-1-being-made").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / LOCK).write_text("")
    (tmp_path / "edgeprune-link").symlink_to(tmp_path / "target")
    assert sweep(str(tmp_path)) == []
    old = tmp_path / "edgeprune-of-an-older-version"
    old.mkdir()
    os.utime(old, (time.time() - 1e6,) * 2)
    assert sweep(str(tmp_path)) == [old.name]
