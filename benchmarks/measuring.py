"""What the scripts about time share: networks, a measurement, rows that are kept as they come."""

import argparse
import json
import math
import os
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from edgeprune_target.fingerprint import cpu_model
from torch import nn

from edgeprune.files.writing import write_json
from edgeprune.latency import BenchTarget
from edgeprune.latency.end_to_end import EndToEndTimer, PairedTimes
from edgeprune.models import build, is_cifar_sized, load_weights
from edgeprune.train_prune.options import TrainPruneOptions
from edgeprune.train_prune.pipeline import train_prune

Row = dict[str, Any]

SURE, TRIES = 0.05, 4


def network(name: str, weights: str | None = None) -> tuple[nn.Module, tuple[int, ...]]:
    """A model and (C, H, W) of an image; its weights are random without a file, which times do not mind."""
    torch.manual_seed(0)
    side = 32 if is_cifar_sized(name) else 224
    model = build(name, num_classes=10 if side == 32 else 1000).eval()
    if weights:
        load_weights(model, weights)
    return model, (3, side, side)


def timed(
    baseline: nn.Module, pruned: nn.Module, shape: tuple[int, ...], site: BenchTarget, seconds: float
) -> dict[str, float]:
    """Both in turn in one run, as `edgeprune bench` does it: ms, the speedup and its interval.

    On a machine with neighbours some measurements are disturbed: one of much doubt is taken again, and that
    of the least counts, whatever it says. See `edgeprune.latency.end_to_end.EndToEndTimer`.
    """
    times = EndToEndTimer(baseline, shape, site, seconds, SURE, TRIES).times(pruned)._asdict()
    return {name: value for name, value in times.items() if not math.isnan(value)}  # no energy was asked for


def trained(place: Path, options: TrainPruneOptions) -> dict[str, Any]:
    """A run's summary; what is missing of the run is done first."""
    print(f"training {place}", flush=True)
    present = (place / "config.json").exists()
    return train_prune(place, None if present else options, resume=present)


def training_parser(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser with what scripts share that train one network in many ways."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--model", default="resnet20")
    parser.add_argument("--epochs", type=int, nargs="+", default=[10])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--compile", action="store_true")
    return parser


def keys_of(arguments: argparse.Namespace, kind: str, names: list[str]) -> list[Row]:
    """Return the keys of all rows that such a script makes.

    Args:
        arguments: of its parser.
        kind: what the names are of, such as "recipe".
        names: of the ways.
    """
    return [
        {"model": arguments.model, "epochs": epochs, "seed": seed, kind: name}
        for epochs in arguments.epochs
        for seed in range(arguments.seeds)
        for name in names
    ]


def folder_of(arguments: argparse.Namespace, key: Row, name: str) -> Path:
    """Return the run folder of a row.

    Args:
        arguments: with ``runs``.
        key: of the row.
        name: of its way.
    """
    plain = name.replace(", ", "-").replace(" ", "-")
    return Path(arguments.runs / f"{key['model']}-{key['epochs']}-{plain}-{key['seed']}")


def machine() -> dict[str, Any]:
    """What the numbers hold for."""
    names = ("edgeprune", "torch", "torchvision", "onnxruntime")
    versions = {name: version(name) for name in names} | {"python": platform.python_version()}
    return {"cpu": cpu_model(Path("/")), "cores": len(os.sched_getaffinity(0)), **versions}


class Rows:
    """Rows of a result that is kept after each, so that a script that was stopped goes on.

    Each says what machine it was measured on, since a script may go on elsewhere.
    """

    def __init__(self, place: Path, about: dict[str, Any]) -> None:
        self.place, self.about = place, about
        self.rows: list[Row] = json.loads(place.read_text())["rows"] if place.exists() else []

    def missing(self, keys: list[Row]) -> Iterator[Row]:
        """Those of ``keys`` that no row has yet."""
        for key in keys:
            if not any(key.items() <= row.items() for row in self.rows):
                yield key

    def add(self, row: Row) -> None:
        """Keep it."""
        self.rows.append({**row, "machine": machine()})
        self.write()
        print(json.dumps(row), flush=True)

    def write(self) -> None:
        """Write the file anew, after a row was added to."""
        write_json(self.place, {"schema": 1, **self.about, "rows": self.rows})

    def run(self, keys: list[Row], make: Callable[[Row], Row]) -> list[Row]:
        """Make what is missing; all rows."""
        for key in self.missing(keys):
            self.add({**key, **make(key)})
        return self.rows


def quiet(kept: Rows, timer: EndToEndTimer, of: Row) -> None:
    """Let a script that goes on know how fast the baseline can be; rows that were taken under load go.

    Args:
        kept: all rows.
        whole: measures them; told the fastest baseline of the rows.
        of: what its rows have in common.
    """
    own = [row for row in kept.rows if of.items() <= row.items()]
    times = [PairedTimes(*({"percentile": 50.0, **row}[name] for name in PairedTimes._fields)) for row in own]
    for time in times:
        timer.seen(time)
    loaded = [row for row, time in zip(own, times, strict=True) if timer.doubt(time) > SURE]
    kept.rows = [row for row in kept.rows if row not in loaded]
