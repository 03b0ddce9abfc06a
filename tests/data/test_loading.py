"""Batches read by workers: the same bytes as without them, each image once, whatever happens to a worker."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeprune.data import DataBundle, load_data, loading
from edgeprune.data.bundle import Batch
from edgeprune.errors import DataError
from edgeprune.processes.distributed import World

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="workers are forked")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 16 images of several sizes, each of a colour of its own."""
    place = tmp_path_factory.mktemp("images")
    for number in range(32):
        path = place / f"class{number % 2}" / f"{number:02d}.png"
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40 + number, 36), (number * 8, 255 - number * 8, number)).save(path)
    return place


@pytest.fixture
def make(folder: Path) -> Iterator[Callable[[int], DataBundle]]:
    """Loads the folder for a number of workers."""
    yield lambda workers: load_data(folder, image_size=16, val_fraction=0.1, workers=workers)


def epoch(data: DataBundle, number: int = 0, **more: object) -> list[Batch]:
    return list(data.train_batches(number, batch_size=6, seed=3, **more))  # type: ignore[arg-type]


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True)
    )


def test_batches_do_not_depend_on_the_number_of_workers(make: Callable[[int], DataBundle]) -> None:
    threads, two, three = (make(workers) for workers in (0, 2, 3))
    for number in range(2):  # the second epoch comes from the same processes
        expected = epoch(threads, number)
        assert same(expected, epoch(two, number)) and same(expected, epoch(three, number))
    assert same(expected[2:], epoch(three, 1, skip=2))
    assert same(list(threads.batches("test", batch_size=2)), list(two.batches("test", batch_size=2)))


def test_workers_draw_nothing_from_the_training_s_generator(make: Callable[[int], DataBundle]) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    epoch(make(1))
    assert torch.equal(before, torch.get_rng_state())


def test_slices_of_all_processes_are_the_batches(make: Callable[[int], DataBundle]) -> None:
    def process(rank: int) -> World:
        member = World()
        member.rank, member.size = rank, 3
        return member

    slices = [epoch(make(1), world=process(rank)) for rank in range(3)]
    joined = [
        (torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts]))
        for parts in zip(*slices, strict=True)
    ]
    assert same(joined, epoch(make(0)))
    with pytest.raises(DataError, match="2 images has none for each of 3 processes: raise `batch_size`"):
        make(0).train_batches(0, batch_size=2, seed=0, world=process(0))


def test_an_iteration_may_be_left_and_another_begin_within_it(make: Callable[[int], DataBundle]) -> None:
    data, threads = make(2), make(0)
    left = data.train_batches(0, batch_size=6, seed=3)
    first = next(left)
    assert same(epoch(data, 1), epoch(threads, 1))  # within: by threads
    second = next(left)
    assert same([first, second], epoch(threads)[:2])
    left.close()
    for number in range(2, 4):
        assert same(epoch(data, number), epoch(threads, number))
    again = data.train_batches(4, batch_size=6, seed=3)
    taken = [next(again) for _ in range(data.steps(6))]
    assert same(epoch(data, 5), epoch(threads, 5))  # after the last batch, though `again` is not closed
    again.close()
    assert same(taken, epoch(threads, 4)) and same(epoch(data, 6), epoch(threads, 6))


def test_workers_of_several_bundles_end_in_silence(
    make: Callable[[int], DataBundle], capfd: pytest.CaptureFixture[str]
) -> None:
    first, second = make(1), make(1)
    assert same(epoch(first), epoch(second))
    children = [loader._workers._loader._iterator._workers[0] for loader in (first._loader, second._loader)]  # type: ignore[union-attr]
    assert all(child.is_alive() for child in children)
    loading._close_all()
    assert not any(child.is_alive() for child in children)
    assert "Exception" not in capfd.readouterr().err


def test_a_broken_file_is_named_in_one_line(tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    folder = make_folder({"": [6, 6]}, size=(100, 100))
    data = load_data(folder, image_size=16, workers=2, val_fraction=0.1)
    for path in folder.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"^broken image .*\.png \(an empty file\): replace it[^\n]*$"):
        list(data.train_batches(0, batch_size=2, seed=0))


def test_a_worker_that_is_killed_costs_no_batch_and_the_next_is_an_error(
    make: Callable[[int], DataBundle],
) -> None:
    data, expected = make(1), epoch(make(0))

    def killed() -> list[Batch]:
        batches = data.train_batches(0, batch_size=6, seed=3)
        taken = [next(batches)]
        workers = data._loader._workers
        assert workers is not None
        for process in workers._loader._iterator._workers:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
        return taken + list(batches)

    first = killed()
    if data._loader._lost:  # else all were read ahead
        with pytest.raises(DataError, match="processes that read images ended .*: lower `workers`"):
            killed()
    assert same(first, expected)


def test_workers_need_room_in_shared_memory(
    make: Callable[[int], DataBundle], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 5 * 2 * loading.AHEAD * 6 * 3 * 16 * 16
    monkeypatch.setattr(loading, "free_shared_memory", lambda: room)
    with pytest.raises(DataError, match="`workers=6` read .* has room for 5 of them: lower `workers`"):
        epoch(make(6))
    monkeypatch.setattr(loading, "FEW_IMAGES", 1)
    monkeypatch.setattr(loading, "suitable_workers", lambda: 16)
    requests = [loading.Request("train", np.arange(6)) for _ in range(3)]
    assert make(0)._loader._suitable(requests) == 0
    loader = loading.Loader({}, 3 * 16 * 16, None)
    assert loader._suitable(requests) == 5


def test_processes_of_a_machine_share_its_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeprune_target import fingerprint

    monkeypatch.setattr(fingerprint, "available_cpus", lambda: list(range(48)))
    monkeypatch.setattr(fingerprint, "cpu_quota", lambda base: None)
    assert loading.suitable_workers() == loading.MOST_WORKERS
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "8")
    assert loading.suitable_workers() == 6
    monkeypatch.setattr(fingerprint, "cpu_quota", lambda base: 4.5)
    assert loading.suitable_workers() == 1
