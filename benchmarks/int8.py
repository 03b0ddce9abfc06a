"""Measure what each part of int8 gains: accuracy on the test images, of the fp32 file and of int8 files.

    python benchmarks/int8.py runs/mobilenet resnet20=weights.safetensors@DATA --out results/int8.json

Each argument is a finished run, whose baseline and pruned network are measured, or NAME=WEIGHTS@DATA. Files are run by
ONNX Runtime. A network that is in the result already is not measured again.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from edgeprune_target.scratch import scratch_folder
from measuring import machine, network
from torch import nn

import edgeprune
from edgeprune.backends.export import weights_digest
from edgeprune.backends.jobs import CALIBRATION_IMAGES
from edgeprune.backends.onnx_export import export_model
from edgeprune.backends.onnx_int8 import HELD_OUT, split
from edgeprune.backends.subjects import run_subjects
from edgeprune.data import DataBundle, load_data
from edgeprune.files.writing import write_json
from edgeprune.quantization.quantizing import Quantizer, Recipe, quantize
from edgeprune.quantization.running import outputs_of
from edgeprune.quantization.sensitivity import relative_error
from edgeprune.quantization.trained import Trained

WAYS = {
    "minmax": Recipe("minmax", "none", equalize=False, correct=False),
    "mse": Recipe("mse", "none", equalize=False, correct=False),
    "mse, equalised": Recipe("mse", "none", correct=False),
    "mse, biases corrected": Recipe("mse", "none", equalize=False),
    "mse, both": Recipe("mse", "none"),
}


def networks(word: str) -> Iterator[tuple[str, nn.Module, DataBundle, Trained | None]]:
    """Yield name, network, data, and what int8 training left, of each network of an argument."""
    if "=" in word:
        name, _, rest = word.partition("=")
        weights, _, place = rest.partition("@")
        yield name, network(name, weights)[0], load_data(place), None
        return
    subjects = run_subjects(Path(word))
    assert subjects.data is not None
    for subject in subjects.models:
        assert subject.load is not None
        trained = subject.trained() if subject.trained else None
        yield f"{Path(word).name} {subject.name}", subject.load(), subjects.data(), trained


def measured(model: nn.Module, data: DataBundle, trained: Trained | None) -> dict[str, Any]:
    """Return the accuracy of each way, and its distance from float32."""
    with scratch_folder() as folder:
        path = Path(folder) / "model.onnx"
        export_model(model, data.shape, path)
        graph = onnx.load(str(path))
    count = CALIBRATION_IMAGES + HELD_OUT
    batches = [np.asarray(x) for x, _ in data.batches("train", batch_size=64, limit=count)]
    images, held_out = split(batches, CALIBRATION_IMAGES)
    tests = [(np.asarray(x), np.asarray(y)) for x, y in data.batches("test", batch_size=100)]
    pictures, labels = [x for x, _ in tests], np.concatenate([y for _, y in tests])
    expected = outputs_of(graph, pictures)

    def row(file: onnx.ModelProto, **about: Any) -> dict[str, Any]:
        outputs = outputs_of(file, pictures)
        return {
            "accuracy": accuracy(outputs, labels),
            "agreement": agreement(expected, outputs),
            "relative_error": relative_error(expected, outputs),
            **about,
        }

    ways = {}
    for name, recipe in WAYS.items():
        quantizer = Quantizer(graph, images, recipe)
        ways[name] = row(quantizer.with_float([])[0], equalized_pairs=quantizer.equalized)
    default = quantize(graph, images, held_out, Recipe(), agreement)
    about = {"in_float": list(default.in_float), "held_out_agreement": default.agreement}
    ways["default"] = row(default.model, **about)
    if trained is not None:
        ways["trained"] = row(Quantizer(graph, images, Recipe(), trained).with_float([])[0])
    return {
        "test_images": len(labels),
        "layers": len(default.errors),
        "fp32_accuracy": accuracy(expected, labels),
        "ways": ways,
        "errors": [{"layer": layer, "relative_error": error} for layer, error in default.errors[:10]],
    }


def accuracy(outputs: list[np.ndarray], labels: np.ndarray) -> float:
    """Return the share of images of the right class."""
    return float((outputs[0].argmax(1) == labels).mean())


def agreement(expected: Any, outputs: Any) -> float:
    """Return the share of images of the same class."""
    return float((expected[0].argmax(1) == outputs[0].argmax(1)).mean())


def markdown(rows: dict[str, Any]) -> str:
    """Return the results as a table: points against fp32, and the relative square error of the logits."""
    names = list(dict.fromkeys(way for row in rows.values() for way in row["ways"]))
    lines = ["| network | fp32 | " + " | ".join(names) + " |", "|---|--:|" + "--:|" * len(names)]
    for name, row in rows.items():
        cells = [
            f"{100 * (way['accuracy'] - row['fp32_accuracy']):+.2f} ({1000 * way['relative_error']:.2f})"
            if (way := row["ways"].get(kind))
            else "-"
            for kind in names
        ]
        lines.append(f"| {name} | {100 * row['fp32_accuracy']:.2f} % | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("networks", nargs="+", help="runs, or NAME=WEIGHTS@DATA")
    parser.add_argument("--out", type=Path, default=Path("results/int8.json"))
    parser.add_argument("--trust", action="append", default=[])
    options = parser.parse_args()
    content = json.loads(options.out.read_text()) if options.out.is_file() else {"schema": 1, "networks": {}}
    content["machine"] = machine()
    content["ways"] = {name: asdict(recipe) for name, recipe in WAYS.items()}
    with edgeprune.trusting(*options.trust):
        for word in options.networks:
            for name, model, data, trained in networks(word):
                digest = weights_digest(model)
                known = content["networks"].get(name)
                if (
                    known
                    and known["weights_sha256"] == digest
                    and ("trained" in known["ways"]) == bool(trained)
                ):
                    continue
                content["networks"][name] = {"weights_sha256": digest, **measured(model, data, trained)}
                write_json(options.out, content)
                print(name, flush=True)
    print(markdown(content["networks"]))


if __name__ == "__main__":
    main()
