"""A cut network is used like any other: exported by both ONNX exporters, compiled, wrapped for several processes."""

import copy
import io
import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import edgeprune

X = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


class Plain(nn.Module):
    """Nothing in its code knows a width."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12)
        self.second, self.head = nn.Conv2d(12, 8, 3, padding=1), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, 4)."""
        return self.head(self.second(self.norm(self.first(x)).relu()).mean((2, 3)))


class Halves(Plain):
    """Two halves of unequal survivors, and sizes in the code: its forward is rewritten."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, 3, h, w) -> (n, 4)."""
        x = self.norm(self.first(x)).relu()
        a, b = x[:, :6], x[:, 6:]
        x = torch.cat([a.sigmoid(), b], 1).view(x.shape[0], 12, *x.shape[2:])
        return self.head(self.second(x).mean((2, 3)))


@pytest.fixture(params=[Plain, Halves])
def dense(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    model = request.param().eval()
    graph = edgeprune.trace(model, X)
    scores = np.random.default_rng(0).random(graph.classes)
    dense = edgeprune.compact(model, graph, edgeprune.select(graph, scores, "flops=0.5"))
    assert type(dense) is request.param and ("forward" in vars(dense)) == (request.param is Halves)
    return dense


@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "torchscript"])
def test_both_onnx_exporters(dense: nn.Module, dynamo: bool, tmp_path: Path) -> None:
    import onnxruntime

    place = tmp_path / "net.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dynamo:
            shapes = ({0: torch.export.Dim("batch")},)
            torch.onnx.export(
                dense, (X,), place, dynamo=True, verbose=False, external_data=False, dynamic_shapes=shapes
            )
        else:
            torch.onnx.export(
                dense, (X,), str(place), dynamo=False, dynamic_axes={"x": {0: "n"}}, input_names=["x"]
            )
    session = onnxruntime.InferenceSession(place.read_bytes(), providers=["CPUExecutionProvider"])
    images = torch.cat([X, X[:1]])
    (result,) = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    np.testing.assert_allclose(result, dense(images).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_compiled_in_both_modes(dense: nn.Module) -> None:
    compiled = torch.compile(dense, backend="eager")
    assert torch.equal(compiled(X), dense(X))
    dense.train()
    torch.testing.assert_close(compiled(X), copy.deepcopy(dense)(X))


def test_copied_and_pickled_copies_compute_by_themselves(dense: nn.Module) -> None:
    expected = dense(X)
    stored = io.BytesIO()
    torch.save(dense, stored)
    stored.seek(0)
    for other in (
        copy.deepcopy(dense),
        pickle.loads(pickle.dumps(dense)),
        torch.load(stored, weights_only=False),
    ):
        assert type(other) is type(dense) and torch.equal(other(X), expected)
        with torch.no_grad():
            other.head.bias.add_(1)
        assert torch.equal(dense(X), expected) and not torch.equal(other(X), expected)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    store = torch.distributed.FileStore(str(tmp_path / "store"), 1)
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


def test_wrapped_for_several_processes(dense: nn.Module, one_process: None) -> None:
    wrapped = nn.parallel.DistributedDataParallel(dense.train())
    wrapped(X).square().sum().backward()
    assert all(
        p.grad is not None and bool(p.grad.any()) for name, p in dense.named_parameters() if "head" in name
    )
