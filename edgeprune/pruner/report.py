"""The size of a network before pruning, and the report on what changed."""

from dataclasses import dataclass

from torch import nn

from edgeprune.budget import Budget
from edgeprune.graph.classes import Graph
from edgeprune.pruner.networks import Networks


def widths(model: nn.Module) -> dict[str, int]:
    """Return the output channels of every convolution and linear layer, by name."""
    kinds = (nn.modules.conv._ConvNd, nn.Linear)
    return {
        name: layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
        for name, layer in model.named_modules()
        if isinstance(layer, kinds)
    }


def tensor_bytes(model: nn.Module) -> int:
    """Return the bytes of all parameters and buffers."""
    tensors = [*model.parameters(), *model.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def part_of(part: float, total: float) -> float:
    """Return the fraction that is left of a cost; 1 if the cost is 0, as the parameters of quantised networks are."""
    return part / total if total else 1.0


@dataclass(frozen=True)
class Report:
    """The target and the result. Counts are (before, after); bytes are of the parameters and buffers.

    ``layers`` has the (before, after) output channels of every layer that changed; ``notes`` says what was not
    pruned and why. ``rewritten`` names the modules whose forward was rewritten, because their code contains a
    width or a branch was dropped; all others run the user's own code.
    """

    target: str
    fraction_got: float
    channels: tuple[int, int]
    params: tuple[int, int]
    flops: tuple[int, int]
    size_bytes: tuple[int, int]
    layers: dict[str, tuple[int, int]]
    notes: tuple[str, ...]
    rewritten: tuple[str, ...] = ()

    def __str__(self) -> str:
        (c0, c1), (p0, p1), (f0, f1), (b0, b1) = self.channels, self.params, self.flops, self.size_bytes
        lines = [
            f"asked {self.target}, got {self.fraction_got:.4f}",
            f"channels {c0:,} -> {c1:,}",
            f"parameters {p0:,} -> {p1:,} ({part_of(p1, p0):.3f})",
            f"FLOPs {f0:,} -> {f1:,} ({part_of(f1, f0):.3f})",
            f"bytes {b0:,} -> {b1:,}",
        ]
        if self.rewritten:
            lines.append(f"forward rewritten: {', '.join(self.rewritten)}")
        return "\n".join([*lines, *self.notes])


@dataclass(frozen=True)
class NetworkSize:
    """Channels and costs of a network.

    Attributes:
        widths: output channels by layer.
        params: numbers in its parameters.
        flops: for the example.
        size_bytes: of parameters and buffers.
    """

    widths: dict[str, int]
    params: int
    flops: int
    size_bytes: int

    @classmethod
    def of(cls, graph: Graph) -> "NetworkSize":
        """Return the size of a graph's network."""
        return cls(widths(graph.model), graph.params(), graph.flops(), tensor_bytes(graph.model))

    def report_on(self, networks: Networks, graph: Graph, budget: Budget) -> Report:
        """Return the report on a network that a pruner has finished with.

        Args:
            networks: with the pruned one.
            graph: of it.
            budget: of the unpruned network.
        """
        target = budget.targets[0]
        cost = budget.resource(target.kind).cost(graph)
        return self.report(
            networks.model,
            graph.flops(),
            target=",".join(map(str, budget.targets)),
            got=part_of(cost, budget.originals.get(target.kind, cost)),
            notes=tuple(dict.fromkeys([*networks.notes, *budget.remarks(), *graph.notes])),
            rewritten=networks.rewritten(),
        )

    def report(
        self,
        model: nn.Module,
        flops: int,
        *,
        target: str,
        got: float,
        notes: tuple[str, ...],
        rewritten: tuple[str, ...],
    ) -> Report:
        """Return the report on the pruned network, whose size before pruning this is.

        Args:
            model: as it is now.
            flops: of it.
            target: as the user wrote it.
            got: remaining fraction of the first target's quantity.
            notes: what was not pruned, and why.
            rewritten: modules with a rewritten forward.
        """
        after = widths(model)
        changed = {name: (width, after.get(name, 0)) for name, width in self.widths.items()}
        return Report(
            target=target,
            fraction_got=got,
            channels=(sum(self.widths.values()), sum(after.get(name, 0) for name in self.widths)),
            params=(self.params, sum(parameter.numel() for parameter in model.parameters())),
            flops=(self.flops, flops),
            size_bytes=(self.size_bytes, tensor_bytes(model)),
            layers={name: (before, now) for name, (before, now) in changed.items() if before != now},
            notes=notes,
            rewritten=rewritten,
        )
