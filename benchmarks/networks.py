"""Which real networks are pruned exactly, in the user's own class, and what is left alone and why.

    python benchmarks/networks.py --out results/networks.json [SOURCE ...]

Sources: torchvision, segmentation, detection, timm, hybrids, and, where the package is installed, ultralytics,
transformers, monai, smp. Each network keeps a random 60 % of its channels; the cut one is compared with the masked one
in evaluation mode (before boxes are picked, where the network picks any). Rows are kept as they come, so a script
that was stopped goes on.
"""

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from measuring import Row, Rows
from timm_families import FAMILIES, random_plan, randomise
from torch import Tensor, nn

from edgeprune.graph.classes import build_graph
from edgeprune.rewrite.compaction import compact
from edgeprune.rewrite.proof import MaskedOriginal, compared

HYBRIDS = """
mobilevit_xxs mobilevitv2_050 efficientformer_l1 efficientformerv2_s0 efficientvit_b0 efficientvit_m0 fastvit_t8
repvit_m0_9 levit_128s starnet_s1 ghostnetv3_100 nf_resnet26 convnextv2_atto coatnet_0_rw_224 maxvit_rmlp_pico_rw_256
tiny_vit_5m_224 mobileone_s1 mambaout_femto edgenext_small visformer_tiny pvt_v2_b0 twins_svt_small coat_lite_tiny
convit_tiny crossvit_tiny_240 xcit_nano_12_p16_224 cs3darknet_s sequencer2d_s shvit_s1 swiftformer_xs
"""
DETECTORS = (
    "ssdlite320_mobilenet_v3_large", "retinanet_resnet50_fpn", "fcos_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn",
)  # fmt: skip
YOLO = ("yolov8n", "yolo11n", "yolo11n-seg", "yolo11n-pose", "yolo26n", "yolo26n-seg", "yolo26n-pose")
TRANSFORMERS = ("mobilenet_v2", "segformer", "mobilevit", "detr")
SMP = ("Unet", "FPN", "DeepLabV3Plus")


def names(source: str) -> list[str]:
    """Return the names of a source's networks."""
    from torchvision import models

    if source == "torchvision":
        return list(models.list_models(models))
    if source == "segmentation":
        return list(models.list_models(models.segmentation))
    known = {
        "detection": DETECTORS, "timm": FAMILIES.split(), "hybrids": HYBRIDS.split(), "ultralytics": YOLO,
        "transformers": TRANSFORMERS, "monai": ("UNet",), "smp": SMP,
    }  # fmt: skip
    return list(known[source])


def built(source: str, name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    """Return a network with random weights, and an example."""
    return BUILDERS[source](name)


def _torchvision(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    from torchvision import models

    side = 224 if name.startswith(("vit", "maxvit")) else 75 if name == "inception_v3" else 64
    return models.get_model(name, weights=None), (torch.randn(1, 3, side, side),)


def _segmentation(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    from torchvision import models

    return models.get_model(name, weights=None, weights_backbone=None), (torch.randn(1, 3, 64, 64),)


def _detection(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    from torchvision import models

    side = {} if name.startswith("ssd") else {"min_size": 160, "max_size": 160}
    model = models.get_model(name, weights=None, weights_backbone=None, **side)
    return model, ([torch.rand(3, 160, 160)],)


def _timm(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    import timm

    model = timm.create_model(name, pretrained=False)
    image = torch.randn(1, 3, 128, 128)
    try:
        with torch.no_grad():
            model.eval()(image)
    except Exception:  # it takes its own size alone
        image = torch.randn(1, *model.pretrained_cfg["input_size"])
    return model, (image,)


def _ultralytics(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    from ultralytics import YOLO as Yolo

    return Yolo(f"{name}.yaml").model.float(), (torch.randn(1, 3, 128, 128),)


def _transformers(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    import transformers as t

    makers: dict[str, Callable[[], nn.Module]] = {
        "mobilenet_v2": lambda: t.MobileNetV2ForImageClassification(t.MobileNetV2Config()),
        "segformer": lambda: t.SegformerForSemanticSegmentation(t.SegformerConfig()),
        "mobilevit": lambda: t.MobileViTForImageClassification(t.MobileViTConfig()),
        "detr": lambda: t.DetrForObjectDetection(
            t.DetrConfig(
                use_pretrained_backbone=False,
                use_timm_backbone=False,
                backbone_config=t.ResNetConfig(out_features=["stage4"]),
            )
        ),
    }
    return makers[name](), (torch.randn(1, 3, 128, 128),)


def _monai(_: str) -> tuple[nn.Module, tuple[Any, ...]]:
    from monai.networks.nets import UNet

    model = UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=2,
        channels=(16, 32, 64, 128),
        strides=(2, 2, 2),
        num_res_units=2,
    )
    return model, (torch.randn(1, 1, 64, 64),)


def _smp(name: str) -> tuple[nn.Module, tuple[Any, ...]]:
    import segmentation_models_pytorch as smp

    return getattr(smp, name)(encoder_name="resnet18", encoder_weights=None), (torch.randn(1, 3, 64, 64),)


BUILDERS: dict[str, Callable[[str], tuple[nn.Module, tuple[Any, ...]]]] = {
    "torchvision": _torchvision, "segmentation": _segmentation, "detection": _detection, "timm": _timm,
    "hybrids": _timm, "ultralytics": _ultralytics, "transformers": _transformers, "monai": _monai, "smp": _smp,
}  # fmt: skip


def row_of(key: Row) -> Row:
    """Prune one network at random and compare it with its masked self."""
    torch.manual_seed(0)
    try:
        model, inputs = built(key["source"], key["name"])
    except Exception as error:  # a name that this version of the package does not have
        return {"built": False, "error": f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"}
    model = randomise(model)
    started = time.perf_counter()
    try:
        graph = build_graph(model, inputs)
        traced = time.perf_counter()
        done = compact(graph, random_plan(graph))
    except Exception as error:  # a traceback is a finding too
        return {"built": True, "error": f"{type(error).__name__}: {error}"}
    finished = time.perf_counter()
    original = MaskedOriginal(graph, graph.flow, done.plan, done.rewritten)
    expected, result = compared(original, done.model)
    channels = sum(p.channels for p in graph.protected)
    return {
        "built": True,
        "class_kept": type(done.model) is type(model),
        "units": graph.classes,
        "protected_channels": channels,
        "protected": sorted({p.reason for p in graph.protected}),
        "rewritten": len(done.rewritten),
        "modules": sum(1 for _ in model.modules()),
        "left_alone": [note for note in done.plan.notes if note.startswith("left alone")],
        "training_watched": not any("training" in note for note in graph.notes),
        "apart": _apart(expected, result),
        "flops_left": graph.flops(done.plan.keep) / max(1, graph.flops()),
        "graph_s": round(traced - started, 2),
        "cut_s": round(finished - traced, 2),
    }


def _apart(expected: list[Tensor], result: list[Tensor]) -> float | None:
    """Largest difference, relative to the largest value of each output; None where shapes differ."""
    if [t.shape for t in expected] != [t.shape for t in result]:
        return None
    pairs = [(a.double(), b.double()) for a, b in zip(expected, result, strict=True) if a.numel()]
    return max((float((a - b).abs().max() / a.abs().max().clamp(min=1e-6)) for a, b in pairs), default=0.0)


def versions() -> Iterator[tuple[str, str]]:
    """Yield the versions of the packages that networks come from."""
    for package in (
        "torch",
        "torchvision",
        "timm",
        "ultralytics",
        "transformers",
        "monai",
        "segmentation-models-pytorch",
    ):
        try:
            yield package, version(package)
        except PackageNotFoundError:
            continue


def main() -> None:
    """Make all rows that are missing."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "sources", nargs="*", default=["torchvision", "segmentation", "detection", "timm", "hybrids"]
    )
    parser.add_argument("--out", type=Path, default=Path("results/networks.json"))
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(2)
    keys = [{"source": source, "name": name} for source in options.sources for name in names(source)]
    Rows(options.out, {"versions": dict(versions()), "kept_channels": 0.6}).run(keys, row_of)


if __name__ == "__main__":
    main()
