"""Prune a network of CIFAR-10 from its ONNX file alone, with unlabelled training images.

    python benchmarks/onnx_cifar.py WEIGHTS CIFAR [--target flops=0.5] [--images 1000]
    python benchmarks/onnx_cifar.py WEIGHTS CIFAR --distill-epochs 10 --work DIR
    python benchmarks/onnx_cifar.py results/small_mobilenet-cifar10.safetensors CIFAR --model small_mobilenet:build \\
        --distill-epochs 10 --work DIR --out results/onnx_mobilenet.json

WEIGHTS is a checkpoint of --model, the zoo's resnet56 where none is named; CIFAR has train.npz and test.npz: pixels x
(n, 32, 32, 3) as uint8, labels y in the order of the classes' names. Labels are read for the accuracy on the test
images alone, after all is done. Layers are fitted on --images of the training images; --distill-epochs learns from all
of them. A run that was stopped goes on with the same command and --work. Both times are of all that the command does:
of the clock, and CPU seconds, which other programs disturb less; of a run that went on, of its last part.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from measuring import machine
from numpy.typing import NDArray

from edgeprune.models import build, load_weights
from edgeprune.post_training.files import begin, prune_run
from edgeprune.post_training.options import PruneOptions
from edgeprune.runs.file_runs import FileRun

MEAN, STD = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))


def prepared(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (n, 32, 32, 3) pixels as the network wants them."""
    return np.ascontiguousarray(((pixels.astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2))


def accuracy(path: Path, data: Path) -> float:
    """Return the accuracy of a file on the test images, by ONNX Runtime."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    content = np.load(data)
    pixels, labels = content["x"], content["y"]
    right = 0
    for start in range(0, len(pixels), 250):
        (logits,) = session.run(None, {"image": prepared(pixels[start : start + 250])})
        right += int((logits.argmax(1) == labels[start : start + 250]).sum())
    return right / len(pixels)


def files_in(folder: Path, model: str, weights: Path, cifar: Path) -> None:
    """Write net.onnx and images.npy, all training images, unless they are there.

    Args:
        folder: to write to.
        model: a name of the zoo, or a factory.
        weights: its checkpoint.
        cifar: the folder of train.npz.
    """
    if not (folder / "net.onnx").is_file():
        network = build(model, num_classes=10)
        load_weights(network, weights)
        torch.onnx.export(
            network.eval(), (torch.zeros(2, 3, 32, 32),), str(folder / "net.onnx"), dynamo=False,
            input_names=["image"], output_names=["logits"], opset_version=17,
            dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
        )  # fmt: skip
    if not (folder / "images.npy").is_file():
        np.save(folder / "images.npy", prepared(np.load(cifar / "train.npz")["x"]))


def pruned_by(folder: Path, options: PruneOptions) -> dict[str, Any]:
    """Prune in a run folder, from where an earlier process stopped; return the summary with the CPU seconds."""
    began, subject = time.process_time(), None
    if FileRun.matches(folder / "run"):
        run = FileRun.open(folder / "run")
    else:
        run, subject = begin(folder / "net.onnx", folder / "run", options, images=str(folder / "images.npy"))
    summary = prune_run(run, log, subject)
    return {**summary.to_dict(), "cpu_seconds": round(time.process_time() - began, 1)}


def log(done: float, total: float, text: str) -> None:
    """Print some of the progress."""
    if done % 20 == 0:
        print(f"{time.strftime('%H:%M:%S')} {done:g}/{total:g} {text}", flush=True)


def main() -> None:
    """Prune, measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--model", default="resnet56")
    parser.add_argument("--target", default="flops=0.5")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--augment", default="flip")
    parser.add_argument("--criterion", default="thinet")
    parser.add_argument(
        "--align", type=int, default=1, help="of widths; 1 for any, as other tools choose them"
    )
    parser.add_argument("--distill-epochs", type=int, default=0)
    parser.add_argument("--distill-rate", type=float, default=PruneOptions(target="flops=0.5").distill_lr)
    parser.add_argument("--work", type=Path, help="a folder that stays, so that a run can go on")
    parser.add_argument("--out", type=Path, default=Path("results/onnx_resnet56.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = args.work or Path(place)
        folder.mkdir(parents=True, exist_ok=True)
        files_in(folder, args.model, args.weights, args.cifar)
        options = PruneOptions(
            target=args.target, limit=args.images, augment=args.augment, criterion=args.criterion, align=args.align,
            distill_epochs=args.distill_epochs, distill_lr=args.distill_rate,
        )  # fmt: skip
        summary = pruned_by(folder, options)
        cut = FileRun.open(folder / "run").cut_record(".onnx")
        record = {
            **summary,
            "cut_seconds": None if cut is None else cut.seconds,
            "model": f"{args.model} (CIFAR-10), exported by torch's TorchScript exporter, opset 17",
            "out": None,
            "inputs": f"{args.images} unlabelled training images, augment={args.augment}",
            "criterion": args.criterion,
            "align": args.align,
            "test_accuracy": {
                "original": accuracy(folder / "net.onnx", args.cifar / "test.npz"),
                "fitted": accuracy(folder / "run" / "cut.onnx", args.cifar / "test.npz"),
                "pruned": accuracy(folder / "run" / "export" / "pruned.onnx", args.cifar / "test.npz"),
            },
            "threads": torch.get_num_threads(),
            "machine": machine(),
        }
    args.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
