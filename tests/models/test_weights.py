import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from edgeprune.data import load_data
from edgeprune.errors import WeightsError
from edgeprune.models import build, load_weights

SHARED = Path(__file__).parents[2] / "../shared"
ACCURACIES = {20: 91.73, 32: 92.63, 44: 93.10, 56: 93.39}  # percent, by the weights' own README

needs_shared = pytest.mark.skipif(not (SHARED / "weights").is_dir(), reason="../shared/weights is not here")


def small(classes: int = 10, width: int = 2) -> nn.Module:
    """A model of some thousand weights."""
    return build("resnet20", num_classes=classes, width=width)


@pytest.fixture(params=[".safetensors", ".pt", ".pth"])
def suffix(request: pytest.FixtureRequest) -> str:
    return request.param


def save(weights: object, path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    return path


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_round_trip(tmp_path: Path, suffix: str) -> None:
    model, other = small(), small()
    assert not same(model, other)
    load_weights(other, save(model.state_dict(), tmp_path / f"w{suffix}"))
    assert same(model, other)


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrapped_and_prefixed_checkpoints(tmp_path: Path, wrapper: str) -> None:
    model, other = small(), small()
    weights = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    load_weights(other, save({wrapper: weights, "epoch": 3}, tmp_path / "w.pth"))
    assert same(model, other)


def test_step_counters_may_be_missing(tmp_path: Path) -> None:
    weights = {name: t for name, t in small().state_dict().items() if "num_batches" not in name}
    load_weights(small(), save(weights, tmp_path / "w.safetensors"))


def fails(model: nn.Module, path: Path, message: str) -> None:
    """Loading is refused in one line that matches, and the model stays as it was."""
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(WeightsError, match=message) as caught:
        load_weights(model, path)
    assert "\n" not in str(caught.value)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_missing_file_and_folder(tmp_path: Path) -> None:
    fails(small(), tmp_path / "w.safetensors", "no such weights file")
    fails(small(), tmp_path, "is a folder")


def test_unknown_suffix(tmp_path: Path) -> None:
    (tmp_path / "w.h5").write_bytes(b"")
    fails(small(), tmp_path / "w.h5", "of no known kind: use .safetensors")


@pytest.mark.parametrize("kept", [0, 4, 100, -1])
def test_truncated(tmp_path: Path, suffix: str, kept: int) -> None:
    path = save(small().state_dict(), tmp_path / f"w{suffix}")
    path.write_bytes(path.read_bytes()[:kept])
    fails(small(), path, "truncated|is refused")


def test_foreign(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(b"GIF89a" * 100)
    fails(small(), path, "truncated|is refused")


class Trap:
    """Unpickled, it would write a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_pickle_is_refused_and_never_run(tmp_path: Path, write: object) -> None:
    write(Trap(tmp_path / "sprung"), tmp_path / "w.pt")  # type: ignore[operator]
    fails(small(), tmp_path / "w.pt", "is refused: it is a pickle of more than tensors")
    assert not (tmp_path / "sprung").exists()


def test_a_whole_model_is_refused(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "w.pt")
    fails(small(), tmp_path / "w.pt", "save model.state_dict")


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [torch.zeros(1)], torch.zeros(1)])
def test_no_tensors_by_name(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "w.pt")
    fails(small(), tmp_path / "w.pt", "holds no tensors by name")


def test_weights_of_another_model(tmp_path: Path) -> None:
    deeper = build("resnet32", num_classes=10, width=2)
    path = save(deeper.state_dict(), tmp_path / "w.safetensors")
    # Two more blocks in each of three stages, each of 2 convolutions and 2 norms of 5 tensors.
    fails(
        small(), path, r"of another model: 72 names unexpected \(layer1\.3\..*, \.\.\.\); is --model right\?"
    )
    path = save(small().state_dict(), tmp_path / "w.safetensors")
    fails(deeper, path, r"60 names missing \(layer1\.3\.conv1\.weight, .*\.\.\.\)")  # 72 but for 12 counters


def test_another_class_count(tmp_path: Path) -> None:
    path = save(small(10).state_dict(), tmp_path / "w.safetensors")
    fails(small(7), path, "the weights have 10 classes, the data has 7")


def test_other_widths(tmp_path: Path) -> None:
    path = save(small(width=4).state_dict(), tmp_path / "w.safetensors")
    fails(small(), path, r"other widths: conv1\.weight is \(4, 3, 3, 3\), not \(2, 3, 3, 3\), .* more")


@needs_shared
@pytest.mark.parametrize("depth", ACCURACIES)
def test_published_weights_have_exactly_our_names(depth: int) -> None:
    path = SHARED / f"weights/resnet{depth}-cifar10.safetensors"
    model = build(f"resnet{depth}", num_classes=10)
    counters = {name for name in model.state_dict() if name.endswith("num_batches_tracked")}
    assert set(load_file(path)) == set(model.state_dict()) - counters
    load_weights(model, path)


@pytest.fixture(scope="module")
def cifar_test(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 10,000 test images, beside two training images per class."""
    folder = tmp_path_factory.mktemp("cifar")
    unpack = [sys.executable, str(SHARED / "data/unpack.py"), str(folder), "--split", "test"]
    subprocess.run(unpack, check=True, capture_output=True)
    for image in folder.glob("test/*/0000[01].png"):
        copy = folder / "train" / image.parent.name / image.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(image.read_bytes())
    return folder


def accuracy(depth: int, folder: Path, limit: int | None = None) -> float:
    """Percent of the test images that the published weights get right."""
    model = build(f"resnet{depth}", num_classes=10).eval()
    load_weights(model, SHARED / f"weights/resnet{depth}-cifar10.safetensors")
    data = load_data(folder)
    with torch.inference_mode():
        right = [model(images).argmax(1) == labels for images, labels in data.batches("test", limit=limit)]
    return 100 * torch.cat(right).double().mean().item()


@needs_shared
def test_published_accuracy_on_some_images(cifar_test: Path) -> None:
    # Of 1,000 images at 91.73 %, one standard deviation is 0.87 points.
    assert accuracy(20, cifar_test, limit=1000) == pytest.approx(ACCURACIES[20], abs=2.6)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("depth", ACCURACIES)
def test_published_accuracies(depth: int, cifar_test: Path) -> None:
    assert accuracy(depth, cifar_test) == pytest.approx(ACCURACIES[depth], abs=0.011)  # one image
