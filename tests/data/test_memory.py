from pathlib import Path
from types import SimpleNamespace

import pytest

from edgeprune.data import memory


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 1000),
        ({"memory.max": "max", "memory.current": "10", "memory.stat": ""}, 1000),
        ({"memory.max": "700", "memory.current": "500", "memory.stat": "anon 1\ninactive_file 90\n"}, 290),
        ({"memory.max": "700", "memory.current": "800", "memory.stat": ""}, 0),
        ({"memory.max": "5000", "memory.current": "800", "memory.stat": ""}, 1000),
    ],
)
def test_free_memory_is_within_the_container_s_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], free: int
) -> None:
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: SimpleNamespace(available=1000))
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    assert memory.free_memory() == free
