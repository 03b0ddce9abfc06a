"""Batches read ahead of their use: in a thread of this process, or in worker processes; the same bytes either way."""

import atexit
import contextlib
import ctypes
import os
import signal
import warnings
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Generator, Tensor

from edgeprune.data.augment import generator_for
from edgeprune.data.images import Images
from edgeprune.errors import DataError, EdgePruneError, one_line
from edgeprune.processes.distributed import local_size

Raw = tuple[Tensor, Any]  # uint8 images (N, C, H, W), and their targets

FEW_IMAGES = 2000  # below, an epoch is not worth the start of processes
MOST_WORKERS = 16
AHEAD = 2  # batches that each worker reads ahead
M_MMAP_THRESHOLD, MAPPED_BYTES = (
    -3,
    1 << 20,
)  # mallopt's parameter, which glibc raises by itself unless it is set
SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Request:
    """What makes a batch, so that any process can read it.

    Attributes:
        split: of the bundle.
        positions: of all images of the batch.
        key: that the augmentation is drawn by; None for none.
        part: of the batch that is read: this process's slice.
    """

    split: str
    positions: np.ndarray
    key: tuple[int, ...] | None = None
    part: slice = field(default_factory=lambda: slice(None))


def read(images: Mapping[str, Images], request: Request) -> Raw:
    """Return the batch of a request; raises DataError for a file that cannot be read."""
    source = images[request.split]
    generator = generator_for(*request.key) if request.key else None
    pixels, crops = source.read(request.positions, generator, request.part)
    return pixels, source.targets.batch(request.positions[request.part], crops)


class Loader:
    """Reads the batches of a bundle, in order.

    Workers live as long as the loader; a second iteration that begins while one is under way reads in a thread.

    Args:
        images: of each split.
        image_bytes: of one image as it is given to the model, uint8.
        workers: processes that read images from files; 0 reads in threads, None takes what suits the machine.
    """

    def __init__(self, images: Mapping[str, Images], image_bytes: int, workers: int | None) -> None:
        self._images, self._image_bytes, self._count = images, image_bytes, workers
        self._workers: _Workers | None = None
        self._lost = 0

    def batches(self, requests: Sequence[Request], *, pinned: bool = False) -> Iterator[Raw]:
        """Yield the batches of requests in their order; their bytes do not depend on who reads them.

        Args:
            requests: all of one split.
            pinned: whether to keep batches in page-locked memory, from which a GPU copies faster.

        Raises:
            DataError: a file cannot be read, or workers end again and again.
        """
        if not requests or not self._images[requests[0].split].ahead:
            return (read(self._images, request) for request in requests)
        workers = self._ready(requests, pinned)
        return self._threaded(requests) if workers is None else self._by_workers(workers, requests)

    def _ready(self, requests: Sequence[Request], pinned: bool) -> "_Workers | None":
        """Return the workers, started where they are worth it; None if there are none, or they are busy.

        Raises:
            DataError: more workers were asked for than the shared memory has room for.
        """
        if self._workers is None:
            count = self._suitable(requests)
            if count == 0 or len(requests) < 2:
                return None
            self._workers = _Workers(self._images, count, pinned)
        return None if self._workers.busy else self._workers

    def _suitable(self, requests: Sequence[Request]) -> int:
        """Return the number of workers to start."""
        batch_bytes = self._image_bytes * len(requests[0].positions[requests[0].part])
        room = free_shared_memory() // (2 * AHEAD * max(1, batch_bytes))
        if self._count is None:
            images = sum(len(request.positions) for request in requests)
            return min(suitable_workers(), room) if images >= FEW_IMAGES and hasattr(os, "fork") else 0
        if self._count and not hasattr(os, "fork"):
            raise DataError(
                "`workers` need processes that are forked, which this system has not: say `workers=0`"
            )
        if self._count > room:
            raise DataError(
                f"`workers={self._count}` read {AHEAD * self._count * batch_bytes / 1e9:.1f} GB of batches ahead, and "
                f"{SHARED_MEMORY} has room for {room} of them: lower `workers`, or give it more (docker: --shm-size)"
            )
        return self._count

    def _threaded(self, requests: Iterable[Request]) -> Iterator[Raw]:
        """Read the next batch in a thread while one is being used."""
        with ThreadPoolExecutor(1) as pool:
            pending = None
            for request in requests:
                following = pool.submit(read, self._images, request)
                if pending is not None:
                    yield pending.result()
                pending = following
            if pending is not None:
                yield pending.result()

    def _by_workers(self, workers: "_Workers", requests: Sequence[Request]) -> Iterator[Raw]:
        done = 0
        try:
            for batch in workers.batches(requests):
                done += 1
                yield batch
        except _WorkerLost as error:
            # A signal to all processes of a job ends workers first: this process has to get to its checkpoint.
            self._workers, self._lost = None, self._lost + 1
            if self._lost > 1:
                raise DataError(
                    f"processes that read images ended ({error}): lower `workers`, or give the machine, or the "
                    "container's /dev/shm (docker: --shm-size), more memory"
                ) from error
            yield from self._threaded(requests[done:])


class _WorkerLost(Exception):
    """A worker ended by a signal, mostly for want of memory."""


class _Workers:
    """torch's DataLoader over requests, whose processes are kept from one iteration to the next."""

    def __init__(self, images: Mapping[str, Images], count: int, pinned: bool) -> None:
        from torch.utils.data import DataLoader

        self._waiting = _Waiting()
        self._iteration: object | None = None
        if not _OPEN:  # the exit of multiprocessing, which comes later, would kill them with a message
            atexit.unregister(_close_all)
            atexit.register(_close_all)
        _OPEN.add(self)
        with _any_number_of_workers():
            self._loader: Any = DataLoader(
                _Reader(images),  # type: ignore[arg-type]
                sampler=self._waiting,
                batch_size=None,
                num_workers=count,
                prefetch_factor=AHEAD,
                persistent_workers=True,
                collate_fn=_unchanged,
                worker_init_fn=_deaf_to_interrupts,
                pin_memory=pinned,
                multiprocessing_context="fork",  # targets may hold functions, which other starts cannot send
                generator=Generator(),  # not torch's own, on which the training draws
            )

    @property
    def busy(self) -> bool:
        """Whether an iteration is under way."""
        return self._iteration is not None

    def batches(self, requests: Sequence[Request]) -> Iterator[Raw]:
        """Yield batches in order; raises _WorkerLost where a worker ended by a signal."""
        iteration = self._iteration = object()
        self._waiting.requests = requests
        try:
            with _any_number_of_workers():
                batches = iter(self._loader)
            for number in range(len(requests)):
                batch = next(batches)
                if isinstance(batch, str):
                    raise DataError(batch)
                if number == len(requests) - 1:  # the next iteration may begin while this batch is being used
                    self._iteration = None
                yield batch
        except RuntimeError as error:
            if "worker" not in str(error):
                raise
            raise _WorkerLost(one_line(error)) from error
        finally:
            if self._iteration is iteration:
                self._iteration = None

    def close(self) -> None:
        """End the processes."""
        iterator = getattr(self._loader, "_iterator", None)
        if iterator is not None:
            iterator._shutdown_workers()


_OPEN: "weakref.WeakSet[_Workers]" = weakref.WeakSet()


def _close_all() -> None:
    for workers in list(_OPEN):
        workers.close()


@contextlib.contextmanager
def _any_number_of_workers() -> Iterator[None]:
    """Silence torch's warning about more workers than CPUs: the user asked for them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        yield


class _Waiting:
    """The sampler of a DataLoader: the requests of the present iteration."""

    def __init__(self) -> None:
        self.requests: Sequence[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)

    def __len__(self) -> int:
        return len(self.requests)


@dataclass(frozen=True)
class _Reader:
    """The data set of a DataLoader, which runs in its processes: an error comes back as its one line of text."""

    images: Mapping[str, Images]

    def __getitem__(self, request: Request) -> Raw | str:
        try:
            return read(self.images, request)
        except EdgePruneError as error:
            return str(error)


def _unchanged(batch: Any) -> Any:
    return batch


def _deaf_to_interrupts(worker: int) -> None:  # noqa: ARG001
    """Leave Ctrl-C to the process that trains, which still needs batches on its way to a checkpoint."""
    for workers in list(
        _OPEN
    ):  # those of other bundles, which are this process's siblings and not its children
        iterator = getattr(workers._loader, "_iterator", None)
        if iterator is not None:
            iterator._shutdown = True
    for name in ("SIGINT", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    warnings.filterwarnings("ignore", module=r"PIL\.")
    _give_batches_back()


def _give_batches_back() -> None:
    """Let glibc give back the memory of a batch that is freed: else a heap grows for an epoch, batch by batch."""
    with contextlib.suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, MAPPED_BYTES)


def suitable_workers() -> int:
    """Return one worker for each CPU that this training process may use; processes on one machine share its CPUs."""
    from edgeprune_target.fingerprint import available_cpus, cpu_quota

    cpus = len(available_cpus())
    cpus = min(cpus, int(cpu_quota(Path("/")) or cpus))
    return max(1, min(MOST_WORKERS, cpus // local_size()))


def free_shared_memory() -> int:
    """Return the bytes that are free where workers leave their batches; docker gives 64 MB where nothing is said."""
    try:
        state = os.statvfs(SHARED_MEMORY)
    except OSError:
        return 1 << 62
    return state.f_bavail * state.f_frsize
