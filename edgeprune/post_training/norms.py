"""Norms for training: those that an exporter folded into convolutions stand beside them again while weights change."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeprune.onnx_graph.network import OnnxNetwork
from edgeprune.onnx_graph.node_modules import Node

SMALLEST_BATCH = 16  # inputs: the statistics of fewer say too little
SMALLEST_MAP = 4  # positions of a channel's map
MOMENTUM = 0.1
FILTER_NORM = (
    2**0.5
)  # of a filter that is initialised by He et al., for whose rate of learning the schedules are made
_NORMS: dict[int, type[_BatchNorm]] = {
    3: nn.BatchNorm1d,
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}


class NormedConv(nn.Module):
    """A convolution whose bias became a BatchNorm: the same function, which learns as a network with norms does.

    Args:
        node: a convolution with a bias.
        mean: of each channel before the bias is added, (channels,).
        variance: likewise.
    """

    def __init__(self, node: Node, mean: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.node, self.fixed = node, node.fixed
        weight, bias = node.weight, node.bias
        assert isinstance(weight, nn.Parameter) and isinstance(bias, nn.Parameter)
        self.norm = _NORMS[weight.dim()](len(bias), momentum=MOMENTUM).to(weight.dtype)
        with torch.no_grad():
            factor = FILTER_NORM / weight.flatten(1).norm(dim=1).clamp(min=1e-12)
            weight.mul_(_over_channels(factor, weight))
            mean, variance = mean * factor, variance * factor.square()
            self.norm.running_mean.copy_(mean)  # type: ignore[union-attr]
            self.norm.running_var.copy_(variance)  # type: ignore[union-attr]
            scale = (variance + self.norm.eps).sqrt()
            self.norm.weight.copy_(scale / factor)
            self.norm.bias.copy_(bias + mean / factor)
            bias.zero_()
        bias.requires_grad_(False)

    def forward(self, *values: Any) -> Tensor:
        """Return what the convolution gives, normalised."""
        result: Tensor = self.norm(self.node(*values))
        return result

    def folded(self) -> Node:
        """Return the convolution with the norm in its weights."""
        weight, bias, norm = self.node.weight, self.node.bias, self.norm
        assert isinstance(weight, nn.Parameter) and isinstance(bias, nn.Parameter)
        with torch.no_grad():
            assert norm.running_var is not None
            scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            weight.mul_(_over_channels(scale, weight))
            bias.copy_(norm.bias - norm.running_mean * scale)  # type: ignore[operator]
        bias.requires_grad_(True)
        return self.node


class LiveNorm(nn.Module):
    """A BatchNormalization of the file that takes the batch's statistics while it is trained."""

    def __init__(self, node: Node) -> None:
        super().__init__()
        self.node, self.fixed = node, node.fixed
        self.momentum: float | None = MOMENTUM
        self.batches = 0

    def forward(self, *values: Any) -> Any:
        """Return the normalised input."""
        if not self.training:
            return self.node(*values)
        node, momentum = self.node, self.momentum
        if momentum is None:
            self.batches += 1
            momentum = 1 / self.batches
        return F.batch_norm(
            values[0], node.running_mean, node.running_var, node.weight, node.bias, True, momentum,  # type: ignore[arg-type]
            node._attributes.get("epsilon", 1e-5),
        )  # fmt: skip

    def reset_running_stats(self) -> None:
        """Count batches anew: an average of those that come replaces the statistics."""
        self.batches = 0

    def folded(self) -> Node:
        """Return the node, which has the statistics that were learned."""
        return self.node


def recalibrate(network: nn.Module, batches: Iterable[tuple[Tensor, ...]]) -> None:
    """Take the statistics of all norms anew, over inputs that are not mixed: mixtures vary less.

    Args:
        network: with its norms.
        batches: inputs.
    """
    mode, momenta = network.training, {}
    for module in network.modules():
        if isinstance(module, (_BatchNorm, LiveNorm)):
            momenta[module] = module.momentum
            module.momentum = None
            module.reset_running_stats()
    network.train()
    with torch.no_grad():
        for batch in batches:
            network(*batch)
    network.train(mode)
    for module, momentum in momenta.items():
        module.momentum = momentum


def _over_channels(values: Tensor, weight: Tensor) -> Tensor:
    return values.view(-1, *[1] * (weight.dim() - 1))


@contextmanager
def trainable_norms(network: OnnxNetwork, batches: Iterable[tuple[Tensor, ...]], size: int) -> Iterator[int]:
    """Let a network have norms that learn in the block; behind it they are folded into its convolutions again.

    Args:
        network: whose weights are trained in the block.
        batches: inputs, by which the norms begin.
        size: inputs of a batch of training; with few there are no norms.

    Yields:
        The number of norms.
    """
    paths = [] if size < SMALLEST_BATCH else _put_in(network, batches)
    try:
        yield len(paths)
    finally:
        for path in paths:
            module = network._modules[path]
            assert isinstance(module, (NormedConv, LiveNorm))
            network._modules[path] = module.folded()


def _put_in(network: OnnxNetwork, batches: Iterable[tuple[Tensor, ...]]) -> list[str]:
    """Put the norms in, and return the names of the modules that got one."""
    outputs = {value.name for value in network.file.model.graph.output}
    nodes = {path: (node, network._modules[path]) for node, path in network.steps if path is not None}
    convs = {
        path: module
        for path, (node, module) in nodes.items()
        if isinstance(module, Node) and node.op_type == "Conv" and not outputs & set(node.output)
        and all(isinstance(getattr(module, name, None), nn.Parameter) for name in ("weight", "bias"))
    }  # fmt: skip
    norms = {
        path: module
        for path, (node, module) in nodes.items()
        if isinstance(module, Node) and node.op_type == "BatchNormalization" and None not in module.fixed[1:]
    }
    moments = _moments(network, convs, batches)
    for path, (mean, variance) in moments.items():
        network._modules[path] = NormedConv(convs[path], mean, variance)
    for path, module in norms.items():
        network._modules[path] = LiveNorm(module)
    return [*moments, *norms]


def _moments(
    network: OnnxNetwork, convs: dict[str, Node], batches: Iterable[tuple[Tensor, ...]]
) -> dict[str, tuple[Tensor, Tensor]]:
    """Return mean and variance of each channel of what convolutions give without their biases, where maps are wide."""
    sums: dict[str, list[Tensor]] = {}

    def seen(path: str, output: Tensor) -> None:
        if output[0, 0].numel() >= SMALLEST_MAP:
            values = output.double().transpose(0, 1).flatten(1)
            count = torch.tensor(float(values.shape[1]), dtype=torch.float64)
            parts = [count, values.sum(1), values.square().sum(1)]
            sums[path] = [a + b for a, b in zip(sums[path], parts, strict=True)] if path in sums else parts

    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output, path=path: seen(path, output))
        for path, module in convs.items()
    ]
    try:
        with torch.no_grad():
            for batch in batches:
                network(*batch)
    finally:
        for hook in hooks:
            hook.remove()
    result = {}
    for path, (count, total, squares) in sums.items():
        bias = convs[path].bias
        assert isinstance(bias, nn.Parameter)
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        result[path] = ((mean - bias.double()).to(bias.dtype), variance.to(bias.dtype))
    return result
