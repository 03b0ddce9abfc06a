import os
import pickle
from pathlib import Path

import pytest

from edgeprune.data.paths import PackedPaths


def test_paths_come_back_whatever_their_bytes() -> None:
    paths = [Path("a/b.png"), Path(os.fsdecode(b"a/\xff\xc3.png")), Path("/größe/ç.jpg"), Path("x")]
    packed = PackedPaths(paths)
    assert list(packed) == paths and len(packed) == 4
    assert packed[-1] == Path("x") and list(packed[1:3]) == paths[1:3]
    assert list(pickle.loads(pickle.dumps(packed))) == paths
    with pytest.raises(IndexError):
        packed[4]
    assert list(PackedPaths([])) == []
