"""Measure how fast images are read: per core, beside a training step, and in how much memory.

    python benchmarks/loader.py [--place FOLDER] [--device cuda]

20,000 JPEGs of about 500 x 375 pixels (400 pictures, each written 50 times) are generated in a folder and in shards,
and used again the next time. Each is decoded, cropped at random to 224 x 224, flipped and normalised, as train-prune
does it.

Images per second depend on what else the machine does; images per second of CPU time, which workers spent, hardly.
Without a GPU, the step beside which images are read waits as long as reading a batch takes: it stands for a device that
computes by itself. Memory is that of all processes without shared pages (RSS - shared), the mean of the first and of
the last tenth of an epoch; PSS and USS would change with whatever else on the machine uses torch. --parts measures some
again and keeps the others.
"""

import argparse
import io
import json
import os
import shutil
import statistics
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from measuring import machine
from PIL import Image

from edgeprune.data import DataBundle, load_data
from edgeprune.files.writing import write_json
from edgeprune.models import build

IMAGES, PICTURES, CLASSES, SHARDS = 20_000, 400, 10, 20
BATCH = 128
STEPS = 6  # of a measurement that is no whole epoch
TENTHS = 10


def picture(draw: np.random.Generator) -> bytes:
    """A JPEG of about 500 x 375: noise of several scales, as large as a photograph's file."""
    width, height = (int(side * draw.uniform(0.9, 1.1)) for side in (500, 375))
    total = np.zeros((height, width, 3), np.float32)
    for scale, strength in ((100, 90), (25, 50), (6, 25), (1, 9)):
        small = draw.normal(0, strength, (height // scale + 2, width // scale + 2, 3))
        coarse = np.clip(small + 128, 0, 255).astype(np.uint8)
        total += np.asarray(Image.fromarray(coarse).resize((width, height), 3), np.float32) - 128
    file = io.BytesIO()
    Image.fromarray(np.clip(total + 128, 0, 255).astype(np.uint8)).save(file, "jpeg", quality=90)
    return file.getvalue()


def generated(place: Path) -> tuple[Path, Path]:
    """The folder and the shards, made where they are missing."""
    folder, shards = place / "folder", place / "shards"
    if (place / "done").exists():
        return folder, shards
    shutil.rmtree(place, ignore_errors=True)
    draw = np.random.default_rng(0)
    pictures = [picture(draw) for _ in range(PICTURES)]
    shards.mkdir(parents=True)
    for label in range(CLASSES):
        (folder / f"class{label}").mkdir(parents=True)
    for shard in range(SHARDS):
        with tarfile.open(shards / f"train-{shard:04d}.tar", "w") as archive:
            for number in range(shard, IMAGES, SHARDS):
                content, label = pictures[number % PICTURES], number // PICTURES % CLASSES
                (folder / f"class{label}" / f"{number:05d}.jpg").write_bytes(content)
                for suffix, member in (("jpg", content), ("cls", str(label).encode())):
                    info = tarfile.TarInfo(f"{number:05d}.{suffix}")
                    info.size = len(member)
                    archive.addfile(info, io.BytesIO(member))
    (place / "done").touch()
    return folder, shards


def processes(data: DataBundle) -> list[psutil.Process]:
    """The workers of a bundle; empty where threads read."""
    workers = data._loader._workers
    return [] if workers is None else [psutil.Process(w.pid) for w in workers._loader._iterator._workers]


def cpu_seconds(data: DataBundle) -> float:
    """CPU time that this process and its workers have taken."""
    each = [psutil.Process(), *processes(data)]
    return sum(sum(process.cpu_times()[:2]) for process in each)


def own_memory(data: DataBundle) -> float:
    """Memory of this process and its workers without files and shared memory, in bytes."""
    each = [process.memory_info() for process in (psutil.Process(), *processes(data))]
    return float(sum(memory.rss - memory.shared for memory in each))


def read(
    data: DataBundle,
    steps: int,
    device: str,
    step: Callable[[Any], None] = lambda _: None,
    *,
    memory: bool = False,
) -> dict[str, Any]:
    """Seconds, CPU seconds and memory of some steps of an epoch, from the second batch on.

    Args:
        data: to be read.
        steps: that are measured.
        device: torch's.
        step: what is done with each batch.
        memory: whether to sample it.
    """
    batches: Iterator[Any] = data.train_batches(0, batch_size=BATCH, seed=0, limit=steps + 1, device=device)
    next(batches)
    samples: list[float] = []
    began, cpu = time.perf_counter(), cpu_seconds(data)
    for x, _ in batches:
        step(x)
        if memory:
            samples.append(own_memory(data))
    finish(device)
    seconds, spent = time.perf_counter() - began, cpu_seconds(data) - cpu
    images = steps * BATCH
    row: dict[str, Any] = {
        "images": images,
        "seconds": seconds,
        "images_per_second": images / seconds,
        "images_per_cpu_second": images / spent,
    }
    if memory:
        tenth = max(1, len(samples) // TENTHS)
        row["memory_first_tenth_bytes"] = statistics.mean(samples[:tenth])
        row["memory_last_tenth_bytes"] = statistics.mean(samples[-tenth:])
    return row


def finish(device: str) -> None:
    """Wait for what a GPU still computes."""
    if device != "cpu":
        torch.cuda.synchronize()


def step_of(device: str, seconds: float) -> Callable[[Any], None]:
    """A training step of a ResNet-50 in bf16 on a GPU; else one that waits for so many seconds."""
    if device == "cpu":
        return lambda _: time.sleep(seconds)
    model = build("resnet50", num_classes=CLASSES).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    labels = torch.zeros(BATCH, dtype=torch.int64, device=device)

    def step(x: Any) -> None:
        with torch.autocast("cuda", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(
                model(x.contiguous(memory_format=torch.channels_last)), labels
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def overlap(data: DataBundle, device: str, steps: int) -> dict[str, Any]:
    """Seconds of reading alone, of steps alone and of both."""
    alone = read(data, steps, device)["seconds"]
    step, x = step_of(device, alone / steps), torch.zeros(BATCH, *data.shape, device=device)
    for _ in range(3):
        step(x)
    finish(device)
    began = time.perf_counter()
    for _ in range(steps):
        step(x)
    finish(device)
    steps_alone = time.perf_counter() - began
    both = read(data, steps, device, step)["seconds"]
    return {
        "step": "resnet50, bf16" if device != "cpu" else "waits",
        "steps": steps,
        "reading_seconds": alone,
        "steps_seconds": steps_alone,
        "both_seconds": both,
    }


def main() -> None:
    """Run all measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", type=Path, default=Path("runs/loader-images"))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=Path("results/loader.json"))
    parser.add_argument("--parts", nargs="+", default=["rows", "overlap", "epoch"])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder, shards = generated(arguments.place)
    cores = len(os.sched_getaffinity(0))
    checked = {name: load_data(place) for name, place in (("folder", folder), ("shards", shards))}
    gpu = torch.cuda.get_device_name() if arguments.device != "cpu" else None
    result = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    result |= {
        "schema": 1,
        "machine": {**machine(), "gpu": gpu, "load_before": os.getloadavg()[0]},
        "images": IMAGES,
        "batch": BATCH,
        "bytes_per_image": sum(path.stat().st_size for path in shards.glob("*.tar")) / IMAGES,
    }
    if "rows" in arguments.parts:
        result["rows"] = []
        counts = [0, *(2**power for power in range(cores.bit_length()) if 2**power <= cores)]
        for name, workers in [*(("folder", count) for count in counts), ("shards", cores)]:
            data = with_workers(checked[name], workers)
            row = read(data, STEPS * max(1, workers), arguments.device)
            result["rows"].append({"data": name, "workers": workers, **row})
            print(result["rows"][-1], flush=True)
    data = with_workers(checked["folder"], cores)
    if "overlap" in arguments.parts:
        result["overlap"] = overlap(data, arguments.device, STEPS * cores)
        print(result["overlap"], flush=True)
    if "epoch" in arguments.parts:
        steps = data.steps(BATCH) - 1
        result["epoch"] = {"workers": cores, **read(data, steps, arguments.device, memory=True)}
        print(result["epoch"], flush=True)
    write_json(arguments.out, result)


def with_workers(data: DataBundle, workers: int) -> DataBundle:
    """Return the same data, read by so many workers."""
    return replace(data, workers=workers)


if __name__ == "__main__":
    main()
