"""Prune CIFAR-10's ResNet-56 from its ONNX file alone, with unlabelled training images and without training.

    python benchmarks/onnx_resnet56.py WEIGHTS CIFAR [--target flops=0.5] [--images 1000]

WEIGHTS is a checkpoint of the zoo's resnet56; CIFAR has train.npz and test.npz: pixels x (n, 32, 32, 3) as uint8,
labels y in the order of the classes' names. Labels are read for the accuracy on the test images alone, after all is
done. Both times are of the pruning alone: of the clock, and CPU seconds, which other programs disturb less.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from measuring import machine
from numpy.typing import NDArray

from edgeprune.models import build, load_weights
from edgeprune.post_training.files import prune_file
from edgeprune.post_training.options import PruneOptions

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


def main() -> None:
    """Prune, measure, write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("weights", type=Path)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--target", default="flops=0.5")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--augment", default="flip")
    parser.add_argument("--criterion", default="thinet")
    parser.add_argument("--out", type=Path, default=Path("results/onnx_resnet56.json"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        network = build("resnet56", num_classes=10)
        load_weights(network, args.weights)
        torch.onnx.export(
            network.eval(), (torch.zeros(2, 3, 32, 32),), str(folder / "net.onnx"), dynamo=False,
            input_names=["image"], output_names=["logits"], opset_version=17,
            dynamic_axes={"image": {0: "n"}, "logits": {0: "n"}},
        )  # fmt: skip
        pixels = np.load(args.cifar / "train.npz")["x"]
        chosen = np.random.default_rng(0).choice(len(pixels), args.images, replace=False)
        np.save(folder / "images.npy", prepared(pixels[chosen]))
        began, began_cpu = time.monotonic(), time.process_time()
        options = PruneOptions(
            target=args.target, limit=args.images, augment=args.augment, criterion=args.criterion
        )
        result = prune_file(folder / "net.onnx", folder / "small.onnx", options, str(folder / "images.npy"))
        seconds, cpu_seconds = time.monotonic() - began, time.process_time() - began_cpu
        record = {
            **result.to_dict(),
            "model": "resnet56 (CIFAR-10), exported by torch's TorchScript exporter, opset 17",
            "out": None,
            "inputs": f"{args.images} unlabelled training images, augment={args.augment}",
            "criterion": args.criterion,
            "cpu_seconds": round(cpu_seconds, 1),
            "seconds": round(seconds, 1),
            "test_accuracy": {
                "original": accuracy(folder / "net.onnx", args.cifar / "test.npz"),
                "pruned": accuracy(folder / "small.onnx", args.cifar / "test.npz"),
            },
            "threads": torch.get_num_threads(),
            "machine": machine(),
        }
    args.out.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))


if __name__ == "__main__":
    main()
