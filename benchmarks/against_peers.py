"""Prune a network by edgeprune and by Torch-Pruning 1.6.1, and train all alike: the same epochs, data order and loss.

    python benchmarks/against_peers.py --data CIFAR10 --weights resnet20.safetensors --epochs 3 10 [--rows NAME ...]
    python benchmarks/against_peers.py --data CIFAR10 --weights resnet20.safetensors --measure
    python benchmarks/against_peers.py ... --target latency=0.5 --out results/against_peers_latency.json

Needs `pip install torch-pruning==1.6.1`. Every row begins with the same trained network, leaves --target of its FLOPs,
which edgeprune counts for all, or of its time, measured for all (ONNX Runtime, one thread), and is fine-tuned by the
same steps: SGD at the rate of `auto` for the epochs or at --lr, distilled from the network it began as. For a time,
peers' widths are multiples of whatever leaves them the most FLOPs. Where a row trains before it prunes (sparse
training), it does so for a third of the epochs. "narrower, from scratch" is the same network with a share of all
widths, trained from random weights at 0.1 without a teacher. Torch-Pruning cannot resize what forward pads with zeros:
for it that shortcut is a 1x1 convolution with the same result, which is trained along. The accuracy is the last
epoch's on the test images. --measure adds the time of each finished row, in turn with the baseline (one thread). What
is done is kept in --out and --runs.
"""

import argparse
import copy
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from measuring import Row, Rows, folder_of, keys_of, timed, trained, training_parser
from shortcuts import with_convolutions
from torch import nn
from torch.nn import functional as F
from uniform_rival import uniform

from edgeprune.budget import Target
from edgeprune.data import DataBundle, load_data
from edgeprune.errors import TargetError
from edgeprune.graph.classes import build_graph
from edgeprune.latency import BenchTarget
from edgeprune.latency.end_to_end import EndToEndTimer, Look
from edgeprune.methods.auto import recipe_rates
from edgeprune.models import build, load_weights
from edgeprune.rewrite.compaction import compact
from edgeprune.runs.run import Run
from edgeprune.tasks import Classification
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.training.callbacks import Callback
from edgeprune.training.evaluation import evaluate
from edgeprune.training.loop import Stage
from edgeprune.training.options import TrainOptions

STEPS = {"flops": 10, "latency": 7}  # of the search for the share that leaves as much as it may
ROUNDINGS = (1, 4, 8, 16)  # of a peer's widths, where time counts
GLANCE = Look(left_s=lambda: 0.0)  # a few rounds, for each network on the way
SPARSE = 1 / 3  # of the epochs
GRADIENT_BATCHES = 10  # for Taylor's criterion
EXAMPLE = torch.zeros(1, 3, 32, 32)
OURS: dict[str, dict[str, Any]] = {
    "edgeprune, auto": {"method": "auto"},
    "edgeprune, learned": {"method": "learned"},
}
WIDTHS: dict[str, dict[str, Any]] = {
    "flops": {"align": 1},
    "latency": {"target_device": "cpu", "target_threads": 1},
}


@dataclass(frozen=True)
class Peer:
    """One way of Torch-Pruning's.

    Attributes:
        importance: name of its class.
        pruner: name of its class.
        over_all: whether channels of all layers are compared with each other.
        sparse: strength of the regularisation before pruning; 0 for none.
        round_to: multiple that widths are rounded to.
    """

    importance: str
    pruner: str = "BasePruner"
    over_all: bool = False
    sparse: float = 0.0
    round_to: int | None = None


PEERS = {
    "Torch-Pruning, group norm": Peer("GroupMagnitudeImportance"),
    "Torch-Pruning, group norm, all layers": Peer("GroupMagnitudeImportance", over_all=True),
    "Torch-Pruning, group norm, widths of 8": Peer("GroupMagnitudeImportance", round_to=8),
    "Torch-Pruning, Taylor": Peer("GroupTaylorImportance"),
    "Torch-Pruning, Taylor, all layers": Peer("GroupTaylorImportance", over_all=True),
    "Torch-Pruning, group norm, sparse training": Peer("GroupMagnitudeImportance", "GroupNormPruner", sparse=5e-4),
    "Torch-Pruning, BN scale, sparse training": Peer("BNScaleImportance", "BNScalePruner", over_all=True, sparse=1e-4),
}  # fmt: skip
UNIFORM, NARROW = "uniform widths", "narrower, from scratch"


class Regularizer(Callback):
    """Lets a pruner of Torch-Pruning add its gradients before each update."""

    def __init__(self, pruner: Any, model: nn.Module) -> None:
        self.pruner, self.model = pruner, model

    def before_update(self, rate: float) -> None:  # noqa: ARG002
        self.pruner.regularize(self.model)


def flops_of(model: nn.Module) -> float:
    """Return the FLOPs of one image."""
    return build_graph(copy.deepcopy(model).eval(), EXAMPLE).flops()


class Limit:
    """Hold what a network may cost, as a share of the trained one's FLOPs or measured time."""

    def __init__(self, target: Target, baseline: nn.Module) -> None:
        if target.kind not in STEPS or target.fraction is None:
            raise TargetError(f"the target may be flops=F or latency=F, not {target}")
        self.kind, self.share, self.baseline = target.kind, target.fraction, baseline
        self.times: dict[tuple[int, ...], float] = {}

    @cached_property
    def flops(self) -> float:
        """The FLOPs of the trained network."""
        return flops_of(self.baseline)

    @cached_property
    def timer(self) -> EndToEndTimer:
        """What measures networks beside the trained one."""
        site = BenchTarget.reach(threads=1)
        return EndToEndTimer(self.baseline, tuple(EXAMPLE.shape[1:]), site, seconds=2.0)

    def cost(self, model: nn.Module) -> float:
        """Return the share that a network costs."""
        if self.kind == "flops":
            return flops_of(model) / self.flops
        widths = tuple(module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d))
        if widths not in self.times:
            self.times[widths] = 1 / self.timer.times(model, GLANCE).value
        return self.times[widths]

    def least_pruned(self, prune: Callable[[float], nn.Module]) -> nn.Module | None:
        """Return the network with the least pruning that is within the limit; None where none is.

        Time does not fall evenly with widths: there, it is one that was measured to be within.

        Args:
            prune: returns a network with a share of the channels taken.
        """
        low, high = 0.0, 0.95
        if self.cost(prune(high)) > self.share:
            return None
        for _ in range(STEPS[self.kind]):
            share = (low + high) / 2
            low, high = (share, high) if self.cost(prune(share)) > self.share else (low, share)
        return prune(high)


class Bench:
    """Hold what all rows share: the data, the trained network and the options of training."""

    def __init__(self, arguments: argparse.Namespace, epochs: int, seed: int) -> None:
        self.arguments, self.epochs = arguments, epochs
        ours = TrainPruneOptions(model=arguments.model, data=str(arguments.data))
        self.data: DataBundle = load_data(str(arguments.data), val_fraction=ours.val_fraction, seed=seed)
        shared = {"precision": arguments.precision, "seed": seed, "compile": arguments.compile}
        rates = recipe_rates(replace(ours, baseline_lr=0.1, epochs=epochs, weights=str(arguments.weights)))
        if arguments.lr is not None:
            rates["lr"] = arguments.lr
        self.options = TrainOptions(**rates, **shared)
        self.sparse_options = TrainOptions(lr=0.01, **shared)
        self.limit = Limit(Target.parse(arguments.target), self.network())

    def network(self, *, random: bool = False) -> nn.Module:
        """Return the trained network, or one of random weights."""
        torch.manual_seed(self.options.seed)
        model = build(self.arguments.model, num_classes=10)
        if not random:
            load_weights(model, self.arguments.weights)
        return model.eval()

    def train(self, model: nn.Module, epochs: float, options: TrainOptions, **more: Any) -> None:
        """Train a network in place.

        Args:
            model: the network.
            epochs: how long.
            options: of training.
            more: teacher and callback of `Stage`.
        """
        steps = round(epochs * self.data.steps(options.batch_size))
        Stage("finetune", model, self.data, options, steps, **more).train()

    def pruner(self, peer: Peer, model: nn.Module, share: float, round_to: int | None = None) -> Any:
        """Return Torch-Pruning's pruner of a network.

        Args:
            peer: the way.
            model: to be pruned in place.
            share: of the channels to take.
            round_to: what widths are multiples of; None for the peer's own.
        """
        import torch_pruning as tp

        sparse = {"reg": peer.sparse} if peer.sparse else {}
        return getattr(tp.pruner, peer.pruner)(
            model, EXAMPLE, importance=getattr(tp.importance, peer.importance)(), pruning_ratio=share,
            global_pruning=peer.over_all, round_to=round_to or peer.round_to, max_pruning_ratio=0.9,
            ignored_layers=[layer for layer in model.modules() if isinstance(layer, nn.Linear)], **sparse,
        )  # fmt: skip

    def gradients(self, model: nn.Module) -> list[torch.Tensor]:
        """Return the gradients of the loss over some training batches, for Taylor's criterion."""
        model.zero_grad()
        batches = self.data.train_batches(0, batch_size=self.options.batch_size, seed=self.options.seed)
        for (x, y), _ in zip(batches, range(GRADIENT_BATCHES), strict=False):
            F.cross_entropy(model(x), y).backward()
        return [parameter.grad for parameter in model.parameters()]

    def pruned_by(self, peer: Peer) -> tuple[nn.Module, float]:
        """Return the network that a peer prunes, and the epochs that are left."""
        model, sparse_epochs = with_convolutions(self.network()), 0.0
        if peer.sparse:
            sparse_epochs = SPARSE * self.epochs
            callback = Regularizer(self.pruner(peer, model, 0.5), model)
            self.train(model, sparse_epochs, self.sparse_options, callback=callback)
        gradients = self.gradients(model.eval()) if "Taylor" in peer.importance else None

        def prune(share: float, round_to: int | None) -> nn.Module:
            copied = copy.deepcopy(model).eval()
            if gradients is not None:
                for parameter, gradient in zip(copied.parameters(), gradients, strict=True):
                    parameter.grad = gradient.clone()
            self.pruner(peer, copied, share, round_to).step()
            return copied

        roundings = ROUNDINGS if self.limit.kind == "latency" and peer.round_to is None else (None,)
        networks = [
            self.limit.least_pruned(lambda share, by=round_to: prune(share, by)) for round_to in roundings
        ]
        return max(filter(None, networks), key=flops_of), self.epochs - sparse_epochs

    def of_uniform_widths(self, model: nn.Module) -> nn.Module:
        """Return a network with the same share of every group's channels, the most important by l2."""
        graph = build_graph(model, EXAMPLE)
        model = self.limit.least_pruned(lambda share: compact(graph, uniform(graph, 1 - share)).model)
        assert model is not None, "no network of uniform widths is within the limit"
        return model

    def pruned_for(self, name: str) -> tuple[nn.Module, float]:
        """Return the network that a row's name says, and the epochs that are left to train it."""
        if name in (NARROW, UNIFORM):
            return self.of_uniform_widths(self.network(random=name == NARROW)), float(self.epochs)
        return self.pruned_by(PEERS[name])

    def train_as(self, name: str, model: nn.Module, epochs: float) -> None:
        """Train the network of a row, in place."""
        if name == NARROW:
            self.train(model, epochs, replace(self.options, lr=0.1))
        else:
            self.train(model, epochs, self.options, teacher=self.network())

    def accuracy(self, model: nn.Module) -> float:
        """Return the accuracy on the test images."""
        return evaluate(model, self.data.batches("test"), Classification())["accuracy"]


def pruned_once(bench: Bench, key: Row) -> tuple[nn.Module, float]:
    """Return the network that a row's name says, and the epochs that are left; read where it was pruned before."""
    file = folder_of(bench.arguments, key, key["row"]) / "pruned.pt"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(bench.pruned_for(key["row"]), file)
    model, epochs = torch.load(file, weights_only=False)
    return model, epochs


def row_of(key: Row, arguments: Any) -> Row:
    """Prune and train one row; its accuracy, and what is left of the network."""
    place = folder_of(arguments, key, key["row"])
    if key["row"] in OURS:
        summary = trained(
            place,
            TrainPruneOptions(
                model=arguments.model, data=str(arguments.data), weights=str(arguments.weights),
                target=arguments.target, epochs=key["epochs"], seed=key["seed"], compile=arguments.compile,
                precision=arguments.precision, **WIDTHS[Target.parse(arguments.target).kind], **OURS[key["row"]],
            ),
        )  # fmt: skip
        return {"accuracy": summary.models.pruned.score("accuracy"), "flops_fraction": summary.flops_fraction}
    print(f"training {place}", flush=True)
    bench = Bench(arguments, key["epochs"], key["seed"])
    model, epochs = pruned_once(bench, key)
    bench.train_as(key["row"], model, epochs)
    torch.save(model, place / "model.pt")  # read again by this script alone, to be timed
    return {
        "accuracy": bench.accuracy(model),
        "flops_fraction": flops_of(model) / flops_of(bench.network()),
        "options": asdict(bench.options),
    }


def measure(rows: Rows, arguments: Any) -> None:
    """Add the times of finished rows, each in turn with the baseline."""
    for row in rows.rows:
        if "speedup" in row:
            continue
        place = folder_of(arguments, row, row["row"])
        ours = row["row"] in OURS
        model = Run.open(place).load() if ours else torch.load(place / "model.pt", weights_only=False)
        baseline = build(arguments.model, num_classes=10).eval()
        load_weights(baseline, arguments.weights)
        times = timed(baseline, model.eval().float(), (3, 32, 32), BenchTarget.reach(threads=1), 10.0)
        row["speedup"] = times
        rows.write()
        print(row["row"], row["epochs"], times, flush=True)


def main() -> None:
    parser = training_parser(__doc__)
    names = [*OURS, *PEERS, UNIFORM, NARROW]
    parser.add_argument("--target", default="flops=0.5")
    parser.add_argument("--lr", type=float, help="of the peers' fine-tuning")
    parser.add_argument("--rows", nargs="+", default=names, choices=names, metavar="NAME")
    parser.add_argument(
        "--prune", action="store_true", help="prune the peers' alone, which measures, and train later"
    )
    parser.add_argument("--measure", action="store_true")
    parser.add_argument("--runs", type=Path, default=Path("runs/against-peers"))
    parser.add_argument("--out", type=Path, default=Path("results/against_peers.json"))
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    if Target.parse(arguments.target).kind == "latency":
        arguments.runs /= "latency"
    about = {"target": arguments.target, "precision": arguments.precision}
    rows = Rows(arguments.out, about)
    if arguments.measure:
        measure(rows, arguments)
        return
    keys = keys_of(arguments, "row", arguments.rows)
    if arguments.prune:
        for key in [key for key in rows.missing(keys) if key["row"] not in OURS]:
            pruned_once(Bench(arguments, key["epochs"], key["seed"]), key)
        return
    rows.run(keys, lambda key: row_of(key, arguments))


if __name__ == "__main__":
    main()
