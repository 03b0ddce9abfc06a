import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import fx

from edgeprune.errors import ModelError
from edgeprune.models import build, is_cifar_sized, model_names

HEAVY = ("torch", "torchvision", "numpy")


def test_names() -> None:
    resnets = ["resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110"]
    cifar = [*resnets, "mobilenetv2_cifar", "mobilenetv1_cifar", "vgg16_cifar"]
    imagenet = ["mobilenetv1", "mobilenet_v2", "resnet18", "resnet34", "resnet50", "vgg16_bn"]
    masks = ["unet_small", "lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"]
    boxes = [
        "ssdlite320_mobilenet_v3_large", "ssd300_vgg16", "retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2",
        "fcos_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn", "fasterrcnn_mobilenet_v3_large_fpn",
        "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2",
    ]  # fmt: skip
    assert model_names() == cifar + imagenet + masks + boxes
    assert [name for name in model_names() if is_cifar_sized(name)] == cifar


def test_listing_names_imports_nothing_heavy() -> None:
    code = "import sys, edgeprune.models as m; m.model_names(); print(set(sys.argv) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", ["resnet20", "resnet18", "mobilenet_v2", "torchvision:squeezenet1_1"])
def test_built_models_give_logits_and_can_be_traced(name: str) -> None:
    model = build(name, num_classes=7).eval()
    images = torch.randn(2, 3, 64, 64)
    logits = model(images)
    assert logits.shape == (2, 7)
    assert torch.equal(fx.symbolic_trace(model)(images), logits)


@pytest.mark.parametrize("size", [(8, 8), (50, 37)])
def test_the_unet_gives_a_logit_at_each_pixel(size: tuple[int, int]) -> None:
    logits = build("unet_small", num_classes=4, width=0.25).eval()(torch.randn(2, 3, *size))
    assert logits.shape == (2, 4, *size)


def test_torchvision_segments_without_weights_of_its_own() -> None:
    model = build("lraspp_mobilenet_v3_large", num_classes=5).eval()
    assert model(torch.randn(1, 3, 32, 32))["out"].shape == (1, 5, 32, 32)


def test_the_same_seed_gives_the_same_weights() -> None:
    weights = []
    for _ in range(2):
        torch.manual_seed(3)
        weights.append(build("resnet20", num_classes=10).linear.weight)
    assert torch.equal(*weights)


def test_unknown_name_names_a_similar_one_or_all_and_the_other_ways() -> None:
    with pytest.raises(ModelError) as similar:
        build("resnet21", num_classes=10)
    assert re.match(
        r"unknown model 'resnet21' \(did you mean 'resnet..'\?\); .*package\.module", str(similar.value)
    )
    assert "known: " not in str(similar.value)
    with pytest.raises(ModelError, match=r"unknown model 'qqq'; known: .*, resnet20, .*package\.module"):
        build("qqq", num_classes=10)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("mynet.py:make", "'mynet.py:make' is not of the form package.module:factory: say mynet:make, from"),
        ("nets/mynet.py:make", "say nets.mynet:make, from the folder that it is in"),
        ("my-net.py:make", "'my-net.py:make' is not of the form package.module:factory$"),
        ("mynet", "mynet.py is a module: name the function in it that makes the model, as mynet:make"),
        ("mynet.py", "mynet.py is a module: name the function in it"),
    ],
)
def test_a_file_in_place_of_a_factory_is_answered_with_the_form(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mynet.py").touch()
    with pytest.raises(ModelError, match=words):
        build(name, num_classes=10)


def test_one_class_is_no_classifier() -> None:
    with pytest.raises(ModelError, match="at least 2 classes, not 1"):
        build("resnet20", num_classes=1)
