"""`edgeprune compare --storage` over a real server: rows shared by processes of which one is killed."""

from pathlib import Path

import pytest
import torch
from comparison.sharing_workers import check_three_of_which_one_is_killed
from safetensors.torch import save_file

from edgeprune.models import build
from servers.programs import PASSWORD


@pytest.mark.usefixtures("here")
def test_three_workers_of_which_one_is_killed(url: str, place: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    weights = tmp_path / "w.safetensors"
    save_file(build("tiny_nets:tiny", num_classes=3).state_dict(), weights)
    check_three_of_which_one_is_killed(place, weights, url, tmp_path)
    contents = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(PASSWORD.encode() in content or b"p%40ss" in content for content in contents)
