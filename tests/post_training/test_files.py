"""`edgeprune prune` on ONNX files."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner, Result
from onnx import TensorProto, helper, numpy_helper
from onnx_graph import networks
from onnx_graph.networks import exported, outputs_of
from PIL import Image

import edgeprune
from edgeprune.cli import main
from edgeprune.errors import DataError
from edgeprune.onnx_graph.files import read
from edgeprune.post_training.images import ImageFolder
from edgeprune.post_training.inputs import InputSpec
from edgeprune.post_training.options import PruneOptions
from edgeprune.runs.subjects import subjects_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a dynamic batch, arrays and images for it."""
    place = tmp_path_factory.mktemp("files")
    exported(networks.Residual, place / "net.onnx", dynamic_axes={"in0": {0: "batch"}})
    rng = np.random.default_rng(0)
    np.save(place / "inputs.npy", rng.standard_normal((60, 3, 8, 8)).astype(np.float32))
    (place / "images" / "deep").mkdir(parents=True)
    for number in range(30):
        pixels = rng.integers(0, 256, (10, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / "images" / "deep" / f"{number}.png")
    return place


def _prune(model: Path, out: Path, *options: str) -> Result:
    run = ("--run", str(out.parent / "run"), "--force")
    return CliRunner().invoke(main, ["prune", str(model), "-o", str(out), *run, *options])


def _error(result: Result) -> str:
    assert result.exit_code == 1, result.output
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    return line.removeprefix("error: ")


IMAGES = ("--scale", "1/255", "--mean", "0.5", "--std", "0.25,0.25,0.25", "--color", "rgb")


def test_half_of_the_flops_go_and_the_fits_bring_the_outputs_back(folder: Path, tmp_path: Path) -> None:
    data = ("--images", str(folder / "inputs.npy"), "--target", "flops=0.6", "--json")
    result = _prune(folder / "net.onnx", tmp_path / "small.onnx", *data)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    before, after = (record["models"][name]["flops"] for name in ("baseline", "pruned"))
    assert 0.5 * before < after <= 0.6 * before
    # Of one image, though the file was read with two; the exporter has folded the norms.
    flops = edgeprune.trace(networks.Residual(), torch.zeros(1, 3, 8, 8)).flops()
    assert 0.95 * flops < before <= flops
    cut, fitted = record["held_out"]
    assert (cut["step"], fitted["step"]) == ("cut", "fitted (sequential)")
    assert cut["inputs"] == fitted["inputs"] == 12
    assert fitted["relative_error"] < cut["relative_error"]
    # The file does what the record says: the error of its outputs on the same held-out inputs.
    inputs = np.load(folder / "inputs.npy")[np.random.default_rng(0).permutation(60)][48:]
    (theirs,), (ours,) = (
        outputs_of(path, (torch.from_numpy(inputs),))
        for path in (folder / "net.onnx", tmp_path / "small.onnx")
    )
    error = ((theirs - ours) ** 2).sum() / ((theirs - theirs.mean(0)) ** 2).sum()
    assert error == pytest.approx(fitted["relative_error"], rel=1e-3)
    model = onnx.load(tmp_path / "small.onnx")
    assert model.graph.input[0] == onnx.load(folder / "net.onnx").graph.input[0]


def test_a_folder_of_images_is_laid_as_is_said(folder: Path, tmp_path: Path) -> None:
    data = ("--images", str(folder / "images"), "--target", "flops=0.7", *IMAGES)
    result = _prune(folder / "net.onnx", tmp_path / "small.onnx", *data)
    assert result.exit_code == 0, result.output
    assert "30 images of" in result.stdout
    assert "scaled and cut to 8x8 pixels, rgb, nchw, (pixel * 1/255 - 0.5) / 0.25,0.25,0.25" in result.stdout
    assert (tmp_path / "small.onnx").stat().st_size < (folder / "net.onnx").stat().st_size
    again = subjects_of([str(tmp_path / "run")]).inputs_words  # what a later advice to prune repeats
    assert again == (
        f"--images {folder / 'images'} --scale 1/255 --mean 0.5 --std 0.25,0.25,0.25 --color rgb"
    )


@pytest.mark.parametrize(
    ("text", "typed", "expected"),
    [
        (
            '{"scale": "1/255", "mean": "0.5", "std": "0.25", "color": "bgr"}',
            (),
            "bgr, nchw, (pixel * 1/255 - 0.5) / 0.25",
        ),
        (
            '{"scale": "1/255", "mean": "0.1", "std": "9", "color": "bgr"}',
            IMAGES,
            "rgb, nchw, (pixel * 1/255 - 0.5) / 0.25",
        ),
        ('{"scale": "1/255", "mean": "0.5", "std": "0.25", "color": "pink"}', (), None),
        ('{"scale": "1/255", "mean": [0.5]}', (), None),
        ("[1]", (), None),
        ("{", (), None),
    ],
)
def test_a_file_of_edgeprune_says_how_its_images_are_laid(
    text: str, typed: tuple[str, ...], expected: str | None, folder: Path, tmp_path: Path
) -> None:
    model = onnx.load(folder / "net.onnx")
    model.metadata_props.add(key="edgeprune.images", value=text)
    onnx.save(model, tmp_path / "said.onnx")
    data = ("--images", str(folder / "images"), "--target", "flops=0.7", "--effort", "seconds", *typed)
    result = _prune(tmp_path / "said.onnx", tmp_path / "small.onnx", *data)
    if expected is None:
        assert "how does the network want its images?" in _error(result)
    else:
        assert result.exit_code == 0, result.output
        assert expected in result.stdout
        assert onnx.load(tmp_path / "small.onnx").metadata_props[0].value == text


def test_pixels_become_what_was_asked_for(folder: Path) -> None:
    from edgeprune.post_training.inputs import InputSpec, load_inputs
    from edgeprune.post_training.options import PruneOptions

    described = {"scale": "1/255", "mean": "0.1,0.2,0.3", "std": "0.5", "target": "flops=0.5"}
    (rgb,) = load_inputs(
        str(folder / "images"), [InputSpec("x", (None, 3, 10, 12))], PruneOptions(color="rgb", **described)
    ).tensors
    (bgr,) = load_inputs(
        str(folder / "images"), [InputSpec("x", (None, 10, 12, 3))], PruneOptions(color="bgr", **described)
    ).tensors
    paths = sorted((folder / "images").rglob("*.png"))
    first = np.asarray(Image.open(paths[np.random.default_rng(0).permutation(30)[0]])) / 255
    assert np.abs(rgb[0, 1].numpy() - (first[:, :, 1] - 0.2) / 0.5).max() < 1e-5
    assert np.abs(bgr[0, :, :, 0].numpy() - (first[:, :, 2] - 0.1) / 0.5).max() < 1e-5


def test_without_inputs_weights_alone_decide_with_a_warning(folder: Path, tmp_path: Path) -> None:
    result = _prune(folder / "net.onnx", tmp_path / "small.onnx", "--target", "params=0.5", "--json")
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert (record["held_out"], record["fit"]) == ([], "none")
    assert "warning: without inputs" in result.stderr


def test_a_largest_change_is_kept(folder: Path, tmp_path: Path) -> None:
    data = ("--images", str(folder / "inputs.npy"), "--max-change", "0.1", "--refit", "kernel", "--json")
    result = _prune(folder / "net.onnx", tmp_path / "small.onnx", *data)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["held_out"][-1]["top1"] >= 0.9
    assert record["flops_fraction"] < 1


def test_a_batch_that_is_fixed_stays_so(folder: Path, tmp_path: Path) -> None:
    exported(networks.Shuffle, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    data = ("--images", str(folder / "inputs.npy"), "--target", "flops=0.7", "--limit", "20")
    data = (*data, "--criterion", "l1", "--no-sensitivity")
    result = _prune(tmp_path / "net.onnx", tmp_path / "small.onnx", *data)
    assert result.exit_code == 0, result.output
    assert (
        "fitted (kernel)" in result.stdout
    )  # its sizes are written into it: fits in sequence take all inputs at once
    assert onnx.load(tmp_path / "small.onnx").graph.input == model.graph.input


def test_mistakes_are_one_line(folder: Path, tmp_path: Path) -> None:
    net, out = folder / "net.onnx", tmp_path / "small.onnx"
    data = ("--images", str(folder / "inputs.npy"))
    target = ("--target", "flops=0.5")
    (tmp_path / "text.onnx").write_text("hello")
    (tmp_path / "half.onnx").write_bytes(net.read_bytes()[:500])
    np.save(tmp_path / "wide.npy", np.zeros((20, 3, 9, 9), np.float32))
    np.save(tmp_path / "few.npy", np.zeros((4, 3, 8, 8), np.float32))
    assert "there is no file" in _error(_prune(tmp_path / "none.onnx", out, *data, *target))
    assert "is not an ONNX file" in _error(_prune(tmp_path / "text.onnx", out, *data, *target))
    assert "is not an ONNX file, or is cut off" in _error(_prune(tmp_path / "half.onnx", out, *data, *target))
    assert "the network takes in0 (?, 3, 8, 8)" in _error(
        _prune(net, out, "--images", str(tmp_path / "wide.npy"), *target)
    )
    assert "has 4 inputs: at least 10" in _error(
        _prune(net, out, "--images", str(tmp_path / "few.npy"), *target)
    )
    assert "is the least that can remain" in _error(_prune(net, out, *data, "--target", "flops=0.001"))
    assert "--target" in _error(_prune(net, out, *data))
    assert "--scale, --mean, --std, --color" in _error(
        _prune(net, out, "--images", str(folder / "images"), *target)
    )
    assert "does not end in .onnx" in _error(_prune(net, tmp_path / "small.pt", *data, *target))
    assert "needs labels" in _error(_prune(net, out, *data, *target, "--criterion", "taylor"))
    assert not out.exists()


def test_files_that_cannot_be_pruned_say_why(folder: Path, tmp_path: Path) -> None:
    data = ("--images", str(folder / "inputs.npy"), "--target", "flops=0.5")
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3, 8, 8])

    def saved(*nodes: onnx.NodeProto) -> Path:
        graph = helper.make_graph(list(nodes), "net", [value], [output])
        domains = [helper.make_opsetid("", 17), helper.make_opsetid("theirs", 1)]
        onnx.save(helper.make_model(graph, opset_imports=domains), tmp_path / "net.onnx")
        return tmp_path / "net.onnx"

    unknown = saved(helper.make_node("Magic", ["x"], ["y"], domain="theirs"))
    assert "does not know the operator Magic of the domain theirs" in _error(
        _prune(unknown, tmp_path / "o.onnx", *data)
    )
    quantised = saved(helper.make_node("QuantizeLinear", ["x", "x"], ["y"]))
    assert "prune the float network" in _error(_prune(quantised, tmp_path / "o.onnx", *data))
    plain = saved(helper.make_node("Relu", ["x"], ["y"]))
    assert "nothing of this network can be pruned" in _error(_prune(plain, tmp_path / "o.onnx", *data))


def test_a_file_of_more_than_2_gb_is_refused(folder: Path, tmp_path: Path) -> None:
    model = onnx.load(folder / "net.onnx")
    model.graph.initializer.append(
        TensorProto(
            name="large", data_type=TensorProto.FLOAT, dims=[600_000_000], data_location=TensorProto.EXTERNAL
        )
    )
    (tmp_path / "large.onnx").write_bytes(model.SerializeToString())
    result = _prune(tmp_path / "large.onnx", tmp_path / "small.onnx", "--target", "params=0.5")
    assert "has weights of 2.2 GB, and an ONNX file of 2 GB or more cannot be pruned" in _error(result)


def test_external_data_that_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    onnx.save(
        onnx.load(folder / "net.onnx"), tmp_path / "big.onnx",
        save_as_external_data=True, location="weights.bin", size_threshold=0,
    )  # fmt: skip
    (tmp_path / "weights.bin").unlink()
    message = _error(_prune(tmp_path / "big.onnx", tmp_path / "o.onnx", "--target", "flops=0.5"))
    assert "keeps its weights in weights.bin" in message


def test_a_file_that_cannot_be_written_is_one_line(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "place").write_text("")
    result = _prune(folder / "net.onnx", tmp_path / "place" / "small.onnx", "--target", "flops=0.5")
    assert "place" in _error(result)


def test_the_original_may_be_replaced_by_the_smaller_file(folder: Path, tmp_path: Path) -> None:
    shutil.copy(folder / "net.onnx", tmp_path / "net.onnx")
    result = _prune(tmp_path / "net.onnx", tmp_path / "net.onnx", "--target", "flops=0.5")
    assert result.exit_code == 0, result.output
    assert read(tmp_path / "net.onnx").model.ByteSize() < read(folder / "net.onnx").model.ByteSize()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_learning_brings_a_network_near_to_the_original(folder: Path, tmp_path: Path, precision: str) -> None:
    """Without fits, so that there is much to learn; what cannot learn is named, and what learned is in the file."""
    target = ("--images", str(folder / "inputs.npy"), "--target", "flops=0.5", "--refit", "none", "--json")
    learning = ("--distill-epochs", "8", "--distill-batch", "16", "--criterion", "l1", "--no-sensitivity")
    result = _prune(
        folder / "net.onnx",
        tmp_path / "small.onnx",
        *target,
        *learning,
        "--augment",
        "none",
        "--distill-precision",
        precision,
    )
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    cut, distilled = record["held_out"]
    assert distilled["step"] == "distilled (8 epochs)"
    assert distilled["relative_error"] < 0.5 * cut["relative_error"]
    assert record["distilled"] == {
        "epochs": 8, "inputs": 48, "precision": precision, "norms": 3, "untrained": [], "kept": True
    }  # fmt: skip
    inputs = np.load(folder / "inputs.npy")[np.random.default_rng(0).permutation(60)][48:]
    (theirs,), (ours,) = (
        outputs_of(path, (torch.from_numpy(inputs),))
        for path in (folder / "net.onnx", tmp_path / "small.onnx")
    )
    error = ((theirs - ours) ** 2).sum() / ((theirs - theirs.mean(0)) ** 2).sum()
    assert error == pytest.approx(distilled["relative_error"], rel=1e-2)


@pytest.mark.parametrize(
    ("place", "options", "message"),
    [
        ("empty", {}, "empty holds no images"),
        ("images", {}, "Say `scale`, `mean`, `std`, `color`"),
        (
            "images",
            {"scale": "1/255", "mean": "0", "std": "1", "color": "gray"},
            r"\(\?, 3, 8, 8\) takes no images of gray pixels: is `color=gray` right\?",
        ),
    ],
)
def test_images_that_do_not_fit_are_refused(
    folder: Path, tmp_path: Path, place: str, options: dict[str, str], message: str
) -> None:
    (tmp_path / "empty").mkdir()
    images = tmp_path / "empty" if place == "empty" else folder / "images"
    with pytest.raises(DataError, match=message):
        ImageFolder(images, [InputSpec("x", (None, 3, 8, 8))], PruneOptions(target="flops=0.5", **options))


def test_labelled_images_give_accuracies(folder: Path, tmp_path: Path) -> None:
    """The classes are those that the original names, but for one image: its accuracy is 7 of 8."""
    from edgeprune.onnx_graph.network import network_of
    from edgeprune.post_training.labels import Labelled

    described = dict(zip(("scale", "mean", "std", "color"), IMAGES[1::2], strict=True))
    images = ImageFolder(
        folder / "images", [InputSpec("x", (None, 3, 8, 8))], PruneOptions(target="flops=0.5", **described)
    )
    (pixels,) = images.read(np.arange(8))
    named = network_of(read(folder / "net.onnx"), pixels)(pixels).argmax(1).tolist()
    named[0] = (named[0] + 1) % 4
    for number in range(4):
        (tmp_path / "labels" / f"class{number}").mkdir(parents=True)
    for path, label in zip(images.paths, named, strict=False):
        shutil.copy(path, tmp_path / "labels" / f"class{label}" / path.name)
    data = (
        "--images",
        str(folder / "images"),
        "--target",
        "params=0.9",
        *IMAGES,
        "--criterion",
        "l1",
        "--no-sensitivity",
    )
    labels = ("--labels", str(tmp_path / "labels"), "--json")
    result = _prune(folder / "net.onnx", tmp_path / "small.onnx", *data, *labels)
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    before, after = (record["models"][name]["accuracy"] for name in ("baseline", "pruned"))
    assert (before, record["models"]["baseline"]["test_images"]) == (7 / 8, 8)
    small = network_of(read(tmp_path / "small.onnx"), pixels)
    options = PruneOptions(target="flops=0.5", **described)
    assert after == Labelled(tmp_path / "labels", [InputSpec("x", (None, 3, 8, 8))], options).accuracy(small)
    assert record["accuracy_drop"] == before - after
    shutil.copy(images.paths[0], tmp_path / "labels" / "loose.png")
    assert "lies in no class's folder" in _error(
        _prune(folder / "net.onnx", tmp_path / "o.onnx", *data, *labels)
    )
    (tmp_path / "labels" / "loose.png").unlink()
    for number in range(5):
        (tmp_path / "labels" / f"more{number}").mkdir()
    assert "has 9 classes" in _error(_prune(folder / "net.onnx", tmp_path / "o.onnx", *data, *labels))


def test_a_state_whose_first_axis_is_not_the_batch_is_left_as_it_is(tmp_path: Path) -> None:
    """As recurrent networks have it: (layers, batch, width). Without inputs such a file is pruned by its weights."""
    rng = np.random.default_rng(0)
    weights = {"a": (8, 4), "b": (4, 8)}
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "a"], ["hidden"], transB=1),
            helper.make_node("Relu", ["hidden"], ["active"]),
            helper.make_node("Gemm", ["active", "b"], ["y"], transB=1),
            helper.make_node("Add", ["state", "y"], ["next"]),
        ],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4]),
         helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, 1, 4])],
        [helper.make_tensor_value_info("next", TensorProto.FLOAT, [2, 1, 4])],
        [
            numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "net.onnx")
    result = _prune(tmp_path / "net.onnx", tmp_path / "small.onnx", "--target", "flops=0.5")
    assert result.exit_code == 0, result.output
    small = read(tmp_path / "small.onnx")
    assert (small.array("a").shape, small.array("b").shape) == ((4, 4), (4, 4))


SMALL = """
import torch
from torch import nn

def make(num_classes=10, in_channels=3):
    torch.manual_seed(3)
    conv = nn.Conv2d(3, 12, 3, padding=1)
    layers = conv, nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers)
"""


def test_a_model_by_name_is_exported_and_pruned(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small_nets.py").write_text(SMALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    data = ("--images", str(folder / "inputs.npy"), "--target", "flops=0.6", "--json")
    result = _prune(
        Path("small_nets:make"),
        tmp_path / "small.onnx",
        "--input",
        "3x8x8",
        *data,
        "--criterion",
        "l1",
        "--no-sensitivity",
    )
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["model"] == "small_nets:make"
    assert record["flops_fraction"] <= 0.6
    assert record["held_out"][1]["relative_error"] <= record["held_out"][0]["relative_error"]
    import small_nets  # type: ignore[import-not-found]

    inputs = torch.from_numpy(np.load(folder / "inputs.npy")[:4])
    (original,) = outputs_of(tmp_path / "run" / "export" / "baseline.onnx", (inputs,))
    with torch.no_grad():
        assert np.abs(original - small_nets.make().eval()(inputs).numpy()).max() < 1e-5
    (smaller,) = outputs_of(tmp_path / "small.onnx", (inputs,))
    assert smaller.shape == original.shape
    assert (tmp_path / "small.onnx").stat().st_size < (tmp_path / "run/export/baseline.onnx").stat().st_size


def test_a_model_by_name_needs_what_a_file_has(folder: Path, tmp_path: Path) -> None:
    data = ("--images", str(folder / "inputs.npy"), "--target", "flops=0.6")
    out = tmp_path / "small.onnx"
    assert "has random weights" in _error(_prune(Path("torchvision:resnet18"), out, *data))
    assert "no model of that name" in _error(_prune(Path("resnet999"), out, *data))
    assert "--weights has no effect on an ONNX file" in _error(
        _prune(folder / "net.onnx", out, "--weights", "x.pt", *data)
    )
    assert "resnet18" in _error(_prune(Path("torchvision:resnet19"), out, *data, "--weights", data[1]))
    assert not out.exists()
