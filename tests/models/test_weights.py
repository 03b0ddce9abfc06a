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
        small(), path, r"of another model: 72 names unexpected \(layer1\.3\..*, \.\.\.\); is `model` right\?"
    )
    path = save(small().state_dict(), tmp_path / "w.safetensors")
    fails(deeper, path, r"60 names missing \(layer1\.3\.conv1\.weight, .*\.\.\.\)")  # 72 but for 12 counters


def test_another_class_count(tmp_path: Path) -> None:
    path = save(small(10).state_dict(), tmp_path / "w.safetensors")
    fails(small(7), path, "the weights have 10 classes, the data has 7")
    with pytest.raises(
        WeightsError, match="the weights have 10 classes, the model has 7 .*: say `classes=10`"
    ):
        load_weights(small(7), path, of_data=False)


def test_other_widths(tmp_path: Path) -> None:
    path = save(small(width=4).state_dict(), tmp_path / "w.safetensors")
    fails(small(), path, r"other widths: conv1\.weight is \(4, 3, 3, 3\), not \(2, 3, 3, 3\), .* more")


STATE = "bn1.running_var"


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("conv1.weight", float("nan"), r"not finite: 54 in conv1\.weight; was it saved"),
        ("conv1.weight", float("inf"), r"not finite: 54 in conv1\.weight"),
        ("bn1.weight", [1.0, float("-inf")], r"not finite: 1 in bn1\.weight"),
        ("bn1.bias", 1e39, r"not finite: 2 in bn1\.bias"),  # float64, beyond the model's float32
        (STATE, -1.0, r"negative variances: 2 in bn1\.running_var"),
        (STATE, float("nan"), r"not finite: 2 in bn1\.running_var"),
    ],
)
def test_numbers_that_no_model_computes_with(
    tmp_path: Path, suffix: str, name: str, values: float | list[float], message: str
) -> None:
    weights = small().state_dict()
    shape = weights[name].shape
    weights[name] = torch.tensor(values, dtype=torch.float64).expand(shape).clone()
    fails(small(), save(weights, tmp_path / f"w{suffix}"), message)


def test_many_such_tensors_are_counted(tmp_path: Path) -> None:
    weights = {name: t / 0 if t.is_floating_point() else t for name, t in small().state_dict().items()}
    fails(small(), save(weights, tmp_path / "w.pt"), r"not finite: .* and in \d+ more tensors")


@pytest.mark.parametrize(
    ("dtype", "message"),
    [
        (torch.int8, "conv1.weight is int8, where the model has float32"),
        (torch.uint8, "is uint8"),
        (torch.int64, "is int64"),
        (torch.bool, "is bool"),
        (torch.float8_e4m3fn, "is float8_e4m3fn, where the model has float32: save it with .float"),
        (torch.float8_e5m2, "is float8_e5m2"),
        (torch.complex64, "is complex64"),
    ],
)
def test_kinds_that_a_cast_would_spoil(tmp_path: Path, dtype: torch.dtype, message: str) -> None:
    weights = small().state_dict()
    weights["conv1.weight"] = weights["conv1.weight"].to(dtype)
    fails(small(), save(weights, tmp_path / "w.pt"), message)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_other_widths_are_taken(tmp_path: Path, dtype: torch.dtype) -> None:
    weights = {n: t.to(dtype) if t.is_floating_point() else t for n, t in small().state_dict().items()}
    model = small()
    load_weights(model, save(weights, tmp_path / "w.safetensors"))
    assert all(torch.equal(t, weights[n].to(t.dtype)) for n, t in model.state_dict().items())


@pytest.mark.parametrize(
    ("replacement", "message"),
    [
        (lambda t: t.to_sparse(), r"a sparse tensor .*to_dense"),
        (lambda t: torch.empty(t.shape, device="meta"), "without values"),
        (lambda t: torch.quantize_per_tensor(t, 0.1, 0, torch.qint8), "a quantised tensor"),
        (lambda t: t.tolist(), "'conv1.weight' is a list"),
        (lambda t: {"value": t}, "'conv1.weight' is a dict"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_tensors_of_other_kinds(tmp_path: Path, replacement: object, message: str) -> None:
    weights = dict(small().state_dict())
    weights["conv1.weight"] = replacement(weights["conv1.weight"])  # type: ignore[operator]
    fails(small(), save(weights, tmp_path / "w.pt"), message)


@pytest.mark.parametrize("key", [0, ("conv1", "weight"), None])
def test_names_that_are_no_text(tmp_path: Path, key: object) -> None:
    torch.save({key: torch.zeros(2)}, tmp_path / "w.pt")
    fails(small(), tmp_path / "w.pt", "for a tensor's name, a (int|tuple|NoneType): save model.state_dict")


def test_a_vector_in_the_place_of_a_number(tmp_path: Path) -> None:
    weights = small().state_dict()
    weights["bn1.num_batches_tracked"] = torch.tensor([3])
    fails(small(), save(weights, tmp_path / "w.pt"), r"bn1\.num_batches_tracked is \(1,\), not \(\)")


class Masked(nn.Module):
    """Two layers that share their weight, and a mask of infinities."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(2, 2), nn.Linear(2, 2)
        self.second.weight = self.first.weight
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
        self.register_buffer("chosen", torch.tensor([True, False]))


def test_a_mask_of_infinities_is_the_models_own(tmp_path: Path) -> None:
    load_weights(Masked(), save(Masked().state_dict(), tmp_path / "w.pt"))


def test_tied_tensors_must_agree(tmp_path: Path) -> None:
    weights = Masked().state_dict()
    weights["second.weight"] = weights["first.weight"] + 1
    fails(Masked(), save(weights, tmp_path / "w.pt"), "first.weight and second.weight are one tensor")


def test_a_mask_of_other_kind(tmp_path: Path) -> None:
    weights = Masked().state_dict()
    weights["chosen"] = torch.tensor([2, 3])
    fails(Masked(), save(weights, tmp_path / "w.pt"), "chosen is int64, where the model has bool")


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
@pytest.mark.slow
def test_published_accuracy_on_some_images(cifar_test: Path) -> None:
    # Of 1,000 images at 91.73 %, one standard deviation is 0.87 points.
    assert accuracy(20, cifar_test, limit=1000) == pytest.approx(ACCURACIES[20], abs=2.6)


@needs_shared
@pytest.mark.slow
@pytest.mark.parametrize("depth", ACCURACIES)
def test_published_accuracies(depth: int, cifar_test: Path) -> None:
    assert accuracy(depth, cifar_test) == pytest.approx(ACCURACIES[depth], abs=0.011)  # one image
