"""Train yolo11n on digits-detect in Ultralytics' own trainer, prune it to 0.6 of its FLOPs, train on, export, measure.

    python benchmarks/yolo_digits.py                      # all three: unpruned, edgeprune, Torch-Pruning
    python benchmarks/yolo_digits.py --epochs 2 --images 64 --out /tmp/try.json

The data are scikit-learn's digits on canvases, in YOLO's layout; the last epoch's weights count, so that no test image
chooses among them. The unpruned network is trained from random weights;
edgeprune's callback prunes it in the same trainer during the first 0.3 of as many further epochs; Torch-Pruning's
published route for YOLO (group norms, one removal, then training) gets the same epochs, rate and FLOPs. As a control,
the unpruned network is trained on for these epochs, too. Ultralytics exports each (format="onnx"), edgeprune exports
its own as well, and the files are measured in turn with the unpruned one. What Torch-Pruning cannot do with the network
is kept as the reason. Needs `pip install ultralytics torch-pruning`.
"""

import argparse
import copy
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from measuring import Row, Rows
from torch import nn
from ultralytics_training import trainer_of

import edgeprune
from edgeprune.backends.onnx_export import export_model
from edgeprune.bench.measuring import bench_models
from edgeprune.bench.options import BenchOptions
from edgeprune.data.canvases import write_yolo
from edgeprune.devices import load_device
from edgeprune.integrations.ultralytics import prune_while_training

SIDE, SHARE, TEST_IMAGES = 96, 0.6, 200
STEPS = 50  # of Torch-Pruning's removal
PARTS = {
    "train": ("train", 0),
    "val": ("train", 100_000),
    "test": ("test", 0),
}  # part of the digits, first scene
ROWS = ("unpruned", "unpruned, trained on", "edgeprune", "torch-pruning")


class Comparison:
    """The rows, each from files that stay in a folder, so that a stopped script goes on.

    Args:
        folder: for data, weights and exported files.
        options: of the command line.
    """

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.data = folder / "data" / "digits.yaml"
        if not self.data.exists():
            self.data = write_yolo(folder / "data", options.images, TEST_IMAGES, side=SIDE)
        self.shared = {
            "data": str(self.data), "imgsz": SIDE, "batch": 16, "project": str(folder.resolve()), "workers": 0,
            "device": "cpu", "plots": False, "verbose": False, "amp": False, "seed": 0, "exist_ok": True,
            "fliplr": 0.0, "mosaic": 0.0, "optimizer": "SGD",
        }  # fmt: skip

    def row(self, key: Row) -> Row:
        """Return a row: what was trained, its mAP, and its speed against the unpruned network's file."""
        from ultralytics import YOLO

        name = key["network"].replace(", ", "-").replace(" ", "-")
        began = time.monotonic()
        try:
            about = self._made(key["network"], name)
        except Exception as error:  # another package's refusal is what the row is about
            return {
                "reason": f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"
            }
        seconds = time.monotonic() - began
        yolo = YOLO(str(self._weights(name)))
        scores = yolo.val(data=str(self.data), imgsz=SIDE, device="cpu", plots=False, verbose=False)
        files = {"ultralytics": self._exported(name)}
        if key["network"] in ("unpruned", "edgeprune"):
            place = self.folder / f"{name}-own.onnx"
            model = copy.deepcopy(YOLO(str(self._weights(name))).model).float().eval()
            files["edgeprune"] = export_model(model, (3, SIDE, SIDE), place).path
        return {
            **about,
            "map": float(scores.box.map),
            "map_50": float(scores.box.map50),
            "flops": flops_of(yolo.model),
            "params": sum(p.numel() for p in yolo.model.parameters()),
            "class_kept": type(yolo.model).__name__,
            "training_seconds": round(seconds),
            "speed": {by: self._speed(by, file, key["network"]) for by, file in files.items()},
        }

    def _weights(self, name: str) -> Path:
        return self.folder / name / "weights" / "last.pt"

    def _made(self, network: str, name: str) -> Row:
        """Train one of the networks, unless it is there."""
        from ultralytics import YOLO

        if self._weights(name).exists() and (self.folder / name / "done").exists():
            return {"epochs": self.options.epochs}
        if network == "unpruned":
            YOLO("yolo11n.yaml").train(epochs=self.options.epochs, name=name, lr0=0.02, **self.shared)
        else:
            {
                "unpruned, trained on": self._trained_on,
                "edgeprune": self._by_edgeprune,
                "torch-pruning": self._by_torch_pruning,
            }[network](name)
        (self.folder / name / "done").touch()
        return {"epochs": self.options.epochs}

    def _baseline(self) -> Any:
        from ultralytics import YOLO

        return YOLO(str(self._weights("unpruned")))

    def _trained_on(self, name: str) -> None:
        self._baseline().train(epochs=self.options.epochs, name=name, lr0=0.02, **self.shared)

    def _by_edgeprune(self, name: str) -> None:
        yolo = self._baseline()
        pruning = prune_while_training(yolo, target=f"flops={SHARE}", align=8)
        yolo.train(epochs=self.options.epochs, name=name, lr0=0.02, **self.shared)
        print(pruning.report, flush=True)

    def _by_torch_pruning(self, name: str) -> None:
        """Prune by group norms once, as Torch-Pruning's examples/yolov8 does, then train on.

        That example, too, first gives the blocks that halve a layer's channels two layers.
        """
        import torch_pruning as tp
        from ultralytics.nn.modules import C2PSA, Detect

        yolo = self._baseline()
        model = yolo.model.float().train()
        divide_blocks(model)
        for parameter in model.parameters():
            parameter.requires_grad = True
        example, limit = torch.zeros(1, 3, SIDE, SIDE), SHARE * flops_of(model)
        ignored = [module for module in model.modules() if isinstance(module, Detect | C2PSA)]
        pruner = tp.pruner.GroupNormPruner(
            model, example, importance=tp.importance.GroupMagnitudeImportance(), iterative_steps=STEPS,
            pruning_ratio=0.9, ignored_layers=ignored, round_to=8, global_pruning=True,
        )  # fmt: skip
        for _ in range(STEPS):
            if flops_of(model) <= limit:
                break
            pruner.step()
        if flops_of(model) > limit:
            raise RuntimeError(f"{STEPS} steps leave {flops_of(model) / limit * SHARE:.2f} of the FLOPs")
        from ultralytics import YOLO

        YOLO("yolo11n.yaml").train(
            epochs=self.options.epochs,
            name=name,
            lr0=0.02,
            trainer=trainer_of(model, "detect"),
            **self.shared,
        )

    def _exported(self, name: str) -> Path:
        place = self.folder / name / "weights" / "last.onnx"
        if not place.exists():
            from ultralytics import YOLO

            YOLO(str(self._weights(name))).export(format="onnx", imgsz=SIDE, simplify=False)
        return place

    def _speed(self, by: str, file: Path, network: str) -> Row | None:
        """Measure a file in turn with the unpruned network's of the same exporter."""
        base = {"ultralytics": self._exported("unpruned"), "edgeprune": self.folder / "unpruned-own.onnx"}[by]
        if network == "unpruned":
            return None
        options = BenchOptions(load_device("cpu"), seconds=self.options.seconds, threads=1)
        result = bench_models({"baseline": base, "pruned": file}, options=options)
        return {
            "p50_ms": {name: model.latency_ms.p50 for name, model in result.models.items()},
            "speedup": result.to_dict()["speedup"],
        }


class DividedBlock(nn.Module):
    """A CSP block with a layer for each half of its channels, as Torch-Pruning's C2f_v2.

    Args:
        block: Ultralytics' C2f, or a subclass.
    """

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.cv0, self.cv1 = (self._half(block.cv1, slice(start, start + block.c)) for start in (0, block.c))
        self.m, self.cv2 = block.m, block.cv2
        self.i, self.f, self.type = block.i, block.f, block.type  # by which Ultralytics walks its network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the block returns."""
        parts = [self.cv0(x), self.cv1(x)]
        parts.extend(module(parts[-1]) for module in self.m)
        return self.cv2(torch.cat(parts, 1))

    @staticmethod
    def _half(layer: Any, part: slice) -> Any:
        half = copy.deepcopy(layer)
        half.conv.out_channels = half.bn.num_features = part.stop - part.start
        for module in (half.conv, half.bn):
            for tensors in (module._parameters, module._buffers):
                for key, tensor in tensors.items():
                    if tensor is not None and tensor.dim():
                        cut = tensor.detach()[part].clone()
                        tensors[key] = nn.Parameter(cut) if tensors is module._parameters else cut
        return half


def divide_blocks(model: nn.Module) -> None:
    """Replace every CSP block of a YOLO by a `DividedBlock`, and check that the network computes the same."""
    from ultralytics.nn.modules import C2f

    example = torch.rand(1, 3, SIDE, SIDE)
    mode = model.training
    with torch.no_grad():
        before = model.eval()(example)[0]
        for name, module in [*model.named_modules()]:
            if isinstance(module, C2f):
                path, _, leaf = name.rpartition(".")
                model.get_submodule(path)._modules[leaf] = DividedBlock(module)
        after = model(example)[0]
    if not torch.allclose(before, after, atol=1e-3):
        raise RuntimeError("the divided blocks compute something else")
    model.train(mode)


def flops_of(model: nn.Module) -> int:
    """Count multiply-adds for one image."""
    plain = copy.deepcopy(model).float().eval()
    return edgeprune.trace(plain, torch.zeros(1, 3, SIDE, SIDE)).flops()


def main() -> None:
    """Make all rows that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--folder", type=Path, default=Path("runs/yolo-digits"))
    parser.add_argument("--out", type=Path, default=Path("results/yolo_digits.json"))
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=ROWS)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    about = {
        "model": "yolo11n", "target": f"flops={SHARE}", "image_size": SIDE, "images": options.images,
        "test_images": TEST_IMAGES,
        "epochs": options.epochs, "ultralytics": version("ultralytics"), "torch_pruning": version("torch-pruning"),
    }  # fmt: skip
    make: Callable[[Row], Row] = Comparison(options.folder, options).row
    Rows(options.out, about).run([{"network": name} for name in options.rows], make)


if __name__ == "__main__":
    main()
