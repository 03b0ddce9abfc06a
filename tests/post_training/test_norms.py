"""Norms beside convolutions change nothing until they learn, and are folded away behind training."""

from pathlib import Path

import pytest
import torch
from onnx_graph import networks
from onnx_graph.networks import exported
from torch import nn

from edgeprune.onnx_graph.files import read
from edgeprune.onnx_graph.network import OnnxNetwork, network_of
from edgeprune.post_training.distilling import without_gradient
from edgeprune.post_training.file_subject import FileStudent
from edgeprune.post_training.norms import LiveNorm, NormedConv, recalibrate, trainable_norms


def _network(kind: type[nn.Module], tmp_path: Path, **options: object) -> OnnxNetwork:
    torch.manual_seed(0)
    exported(kind, tmp_path / "net.onnx", **options)
    return network_of(read(tmp_path / "net.onnx"), torch.randn(2, 3, 8, 8))


def test_a_network_with_norms_computes_what_it_did(tmp_path: Path) -> None:
    network = _network(networks.Residual, tmp_path)
    x = torch.randn(64, 3, 8, 8)
    before = network(x).detach()
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with trainable_norms(network, [(x[:32],), (x[32:],)], 16) as count:
        assert count == sum(isinstance(module, NormedConv) for module in network.modules()) == 3
        assert torch.allclose(network(x), before, atol=1e-5)
        for module in network.modules():
            if isinstance(module, NormedConv):
                norms = module.node.weight.flatten(1).norm(dim=1)  # type: ignore[operator, union-attr]
                assert torch.allclose(norms, torch.full_like(norms, 2**0.5))
    after = network.state_dict()
    assert set(after) == set(weights)
    assert all(torch.allclose(after[name], weights[name], rtol=1e-3, atol=1e-5) for name in weights)


def test_few_inputs_get_no_norms(tmp_path: Path) -> None:
    network = _network(networks.Residual, tmp_path)
    with trainable_norms(network, [(torch.randn(4, 3, 8, 8),)], 8) as count:
        assert count == 0


def test_statistics_are_taken_anew(tmp_path: Path) -> None:
    """After the input's scale has changed, the norms see the mean and variance of all batches together."""
    network = _network(networks.Residual, tmp_path)
    x = torch.randn(64, 3, 8, 8)
    with trainable_norms(network, [(x,)], 64):
        recalibrate(network, [(3 * x[:32],), (3 * x[32:],)])
        first = next(module for module in network.modules() if isinstance(module, NormedConv))
        maps = first.node(3 * x, None, None).transpose(0, 1).flatten(1)
        assert torch.allclose(first.norm.running_mean, maps.mean(1), rtol=1e-3, atol=1e-4)  # type: ignore[arg-type]
        assert torch.allclose(first.norm.running_var, maps.var(1), rtol=1e-2)  # type: ignore[arg-type]


@pytest.mark.parametrize("training", ["eval", "train"])
def test_a_norm_of_the_file_learns(tmp_path: Path, training: str) -> None:
    network = _network(
        networks.Residual, tmp_path, training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False
    )
    if not any(node.op_type == "BatchNormalization" for node, _ in network.steps):
        pytest.skip("this exporter folds norms")
    x = torch.randn(32, 3, 8, 8)
    before = network(x).detach()
    with trainable_norms(network, [(x,)], 32):
        norms = [module for module in network.modules() if isinstance(module, LiveNorm)]
        assert norms
        network.train(training == "train")
        changed = not torch.allclose(network(x), before, atol=1e-4)
        network.eval()
    assert changed == (training == "train")


def test_what_onnx_runtime_runs_alone_stops_learning(tmp_path: Path) -> None:
    network = _network(networks.Residual, tmp_path)
    assert without_gradient(FileStudent(network), (torch.randn(2, 3, 8, 8),), "bf16") == ()
    for parameter in list(network.parameters())[:1]:
        parameter.requires_grad_(False)
    names = without_gradient(FileStudent(network), (torch.randn(2, 3, 8, 8),), "bf16")
    first = next(name for name, _ in network.named_parameters())
    assert names == (network.forms[first].constant,)
