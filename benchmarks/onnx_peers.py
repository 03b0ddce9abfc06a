"""Others' pruning of a network of CIFAR-10 without training, at the FLOPs that `edgeprune prune` leaves.

    python benchmarks/onnx_peers.py WEIGHTS CIFAR [--model resnet56] [--ours RUN] [--out results/onnx_peers.json]

WEIGHTS, CIFAR and --model as for onnx_cifar.py; RUN is a run folder of it. onnxsim 0.8 prunes the ONNX file: by L1
norms and by norms times activations, layer by layer and over all layers, then with its own refit of linear layers by
the same 1,000 training images (its correction of biases is for quantised files). Torch-Pruning 1.6.1 prunes the torch
network by three of its criteria that need no labels, layer by layer and over all layers; the statistics of BatchNorm
are taken anew over those images. What forward pads with zeros it cannot resize: for it those shortcuts are 1x1
convolutions with the same result. All are taken as far as half of the FLOPs, which edgeprune counts for all.
"""

import argparse
import copy
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from measuring import Row, Rows
from onnx_cifar import accuracy, files_in
from shortcuts import with_convolutions
from torch import nn

from edgeprune.graph.classes import build_graph
from edgeprune.models import build, load_weights
from edgeprune.onnx_graph.files import read
from edgeprune.onnx_graph.network import network_of

STEPS = 9  # of the search for the share that leaves the FLOPs
EXAMPLE = torch.zeros(1, 3, 32, 32)


def flops_of(path: Path) -> float:
    """Return the FLOPs of a file for one image."""
    return build_graph(network_of(read(path), EXAMPLE), EXAMPLE).flops()


def as_far_as(limit: float, write: Callable[[float], None], path: Path) -> float:
    """Write the file with the least pruning that is within a limit of FLOPs, and return the share that was taken.

    Args:
        limit: FLOPs.
        write: writes the file with a share of the channels taken.
        path: of the file.
    """
    low, high = 0.0, 0.95
    for _ in range(STEPS):
        share = (low + high) / 2
        write(share)
        low, high = (share, high) if flops_of(path) > limit else (low, share)
    write(high)
    return high


def exported(model: nn.Module, path: Path) -> None:
    """Write a torch network as onnx_cifar.py does."""
    torch.onnx.export(
        model.eval(), (torch.zeros(2, 3, 32, 32),), str(path), dynamo=False, opset_version=17,
        input_names=["image"], output_names=["logits"], dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
    )  # fmt: skip


def by_onnxsim(key: Row, net: Path, images: np.ndarray, limit: float, out: Path) -> Row:
    """Return the share that onnxsim took, after the steps that the key names."""
    import onnxsim

    data = [{"image": images[start : start + 100]} for start in range(0, len(images), 100)]

    def write(share: float) -> None:
        options: dict[str, Any] = {"sparsity": share, "global_sparsity": key["over"] == "all layers"}
        if key["criterion"] == "wanda":
            onnx.save(onnxsim.apply_structured_wanda_pruning(str(net), data, **options), str(out))
        else:
            onnx.save(
                onnxsim.apply_structured_pruning(str(net), importance_norm=key["criterion"], **options),
                str(out),
            )

    share = as_far_as(limit, write, out)
    if key["then"] != "nothing":
        onnx.save(onnxsim.apply_pruning_finetune(str(net), str(out), calibration_data=data), str(out))
    return {"share": share}


def by_torch_pruning(key: Row, original: nn.Module, images: np.ndarray, limit: float, out: Path) -> Row:
    """Return the share that Torch-Pruning took."""
    import torch_pruning as tp

    kinds = {
        "l1": lambda: tp.importance.MagnitudeImportance(p=1),
        "lamp": lambda: tp.importance.LAMPImportance(p=2),
        "fpgm": lambda: tp.importance.FPGMImportance(p=2),
    }
    state: list[nn.Module] = []

    def write(share: float) -> None:
        model = with_convolutions(copy.deepcopy(original)).eval()
        head = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
        pruner = tp.pruner.BasePruner(
            model, EXAMPLE, importance=kinds[key["criterion"]](), pruning_ratio=share,
            global_pruning=key["over"] == "all layers", ignored_layers=head,
        )  # fmt: skip
        pruner.step()
        state[:] = [model]
        exported(model, out)

    share = as_far_as(limit, write, out)
    if key["then"] != "nothing":
        norms = [layer for layer in state[0].modules() if isinstance(layer, nn.BatchNorm2d)]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None
        state[0].train()
        with torch.no_grad():
            for part in torch.from_numpy(images).split(100):
                state[0](part)
        exported(state[0], out)
    return {"share": share}


def main() -> None:
    """Make all rows that are missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--model", default="resnet56")
    parser.add_argument("--target", type=float, default=0.5)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--ours", type=Path, help="a run folder of onnx_cifar.py")
    parser.add_argument("--work", type=Path, help="a folder that has net.onnx and images.npy")
    parser.add_argument("--out", type=Path, default=Path("results/onnx_peers.json"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    keys: list[Row] = [
        {"tool": tool, "criterion": criterion, "over": over, "then": then}
        for tool, criteria, thens in (
            ("onnxsim", ("l1", "wanda"), ("nothing", "refit")),
            ("torch-pruning", ("l1", "lamp", "fpgm"), ("nothing", "statistics anew")),
        )
        for criterion in criteria
        for over in ("each layer", "all layers")
        for then in thens
    ]
    with tempfile.TemporaryDirectory() as place:
        folder, out = args.work or Path(place), Path(place) / "small.onnx"
        files_in(folder, args.model, args.weights, args.cifar)
        original = build(args.model, num_classes=10)
        load_weights(original, args.weights)
        images = np.load(folder / "images.npy", mmap_mode="r")
        order = np.random.default_rng(0).permutation(len(images))[: args.images]
        images = np.ascontiguousarray(images[order])
        full = flops_of(folder / "net.onnx")

        def row(key: Row) -> Row:
            try:
                if key["tool"] == "edgeprune":
                    path, made = args.ours / "cut.onnx", {}
                elif key["tool"] == "onnxsim":
                    path, made = out, by_onnxsim(key, folder / "net.onnx", images, args.target * full, out)
                else:
                    path, made = out, by_torch_pruning(key, original, images, args.target * full, out)
                right = accuracy(path, args.cifar / "test.npz")
                return {**made, "flops_fraction": flops_of(path) / full, "test_accuracy": right}
            except Exception as error:  # of somebody else's code
                return {"failed": f"{type(error).__name__}: {str(error).strip()[:200]}"}

        if args.ours is not None:
            keys.insert(0, {"tool": "edgeprune", "criterion": "thinet", "over": "all layers", "then": "fits"})
        Rows(args.out, {"target": args.target, "images": args.images}).run(keys, row)


if __name__ == "__main__":
    main()
