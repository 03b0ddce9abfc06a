"""Tensors in a file: every changed bit is found, and a model takes only what fits it."""

import json
import random
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from edgeprune.errors import WeightsError
from edgeprune.files.tensors import load_exactly, read_tensor_file, read_tensors, save_tensors

TENSORS = {
    "a": torch.arange(6.0).view(2, 3),
    "b": torch.tensor(3),
    "empty": torch.zeros(0, 4),
    "bf16": torch.ones(2, dtype=torch.bfloat16),
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "t.safetensors"
    save_tensors(path, TENSORS, {"state": '{"step": 1}'})
    return path


def test_there_and_back(path: Path) -> None:
    tensors, texts = read_tensor_file(path)
    assert texts == {"state": '{"step": 1}'}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[k], v) and tensors[k].dtype == v.dtype for k, v in TENSORS.items())


def test_a_file_without_a_digest_is_read(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "old.safetensors", {"state": "x"})
    assert read_tensor_file(tmp_path / "old.safetensors")[1] == {"state": "x"}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        v.dtype == second[k].dtype and torch.equal(v, second[k]) for k, v in first.items()
    )


def test_every_flipped_bit_is_found_or_changes_nothing(path: Path) -> None:
    content, silent = path.read_bytes(), 0
    for place in range(8 * len(content)):
        changed = bytearray(content)
        changed[place // 8] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            tensors, _ = read_tensor_file(path)
        except WeightsError as error:
            assert "\n" not in str(error)
        else:  # the digest's own key, or white space
            assert same(tensors, TENSORS)
            silent += 1
    assert silent < 200


def test_tensors_that_were_exchanged_are_found(path: Path) -> None:
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    digest = header["__metadata__"]["sha256"]
    path.write_bytes(save({**TENSORS, "a": TENSORS["a"].flip(0)}, {"state": '{"step": 1}', "sha256": digest}))
    with pytest.raises(WeightsError, match="is damaged .its content is not what was written"):
        read_tensors(path)


def test_garbage_never_passes(tmp_path: Path) -> None:
    rng, path = random.Random(0), tmp_path / "g.safetensors"
    for content in (b"", b"\xff" * 8, struct.pack("<Q", 2) + b"{}", rng.randbytes(100)):
        path.write_bytes(content)
        try:
            assert read_tensors(path) == {}
        except WeightsError as error:
            assert "is not a whole safetensors file" in str(error)
    with pytest.raises(WeightsError, match="no such file"):
        read_tensors(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": None}, "it lacks weight"),
        ({"more": torch.ones(1)}, "it has 'more', which the model does not"),
        ({"weight": torch.ones(3, 2)}, r"weight has shape \(3, 2\), the model's has \(2, 3\)"),
        (
            {"weight": torch.ones(2, 3).half()},
            "weight is of type torch.float16, the model's of torch.float32",
        ),
        ({"bias": torch.tensor([1.0, float("nan")])}, "bias has values that are not finite"),
        ({"bias": torch.tensor([1.0, float("inf")])}, "bias has values that are not finite"),
    ],
)
def test_a_model_takes_only_what_fits(change: dict, message: str) -> None:
    model = nn.Linear(3, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    tensors = {k: v for k, v in {**before, **change}.items() if v is not None}
    with pytest.raises(WeightsError, match=f"f.safetensors does not fit model.json: {message}"):
        load_exactly(model, tensors, Path("f.safetensors"), "model.json")
    assert same(model.state_dict(), before)


def test_infinite_values_that_the_model_has_itself() -> None:
    model = nn.Linear(1, 1)
    model.register_buffer("mask", torch.tensor([float("-inf")]))
    load_exactly(model, model.state_dict(), Path("f"), "model.json")
