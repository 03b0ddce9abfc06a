"""Choose the images to hold out, stratified by class, as pure functions of labels and seed."""

import numpy as np


def stratified_split(labels: np.ndarray, count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Hold out ``count`` images, each class in proportion, and never the last image of a class.

    Args:
        labels: class of each image, int, shape (N,).
        count: images to hold out; fewer are held out where single-image classes leave no more.
        seed: the same seed gives the same choice, on every machine and numpy version.

    Returns:
        Sorted positions (kept, held) that together are 0..N-1.
    """
    # RandomState, not default_rng: its stream is frozen by numpy's compatibility promise.
    order = np.random.RandomState(seed % 2**32).permutation(len(labels))
    sizes = np.bincount(labels)
    quota = shares(sizes, count)
    held = np.concatenate([order[labels[order] == label][:take] for label, take in enumerate(quota)])
    held = np.sort(held.astype(np.int64))
    return np.setdiff1d(np.arange(len(labels)), held), held


def shares(sizes: np.ndarray, count: int) -> np.ndarray:
    """Divide ``count`` among classes by largest remainder, leaving each class at least one image.

    Args:
        sizes: images per class, int, shape (K,).
        count: images to take from all classes together.

    Returns:
        Images to take from each class, int, shape (K,); the first class wins a tie.
    """
    room = np.maximum(sizes - 1, 0)
    count = min(count, int(room.sum()))
    exact = sizes * (count / max(1, int(sizes.sum())))
    taken = np.minimum(np.floor(exact).astype(np.int64), room)
    while taken.sum() < count:
        taken[np.argmax(np.where(taken < room, exact - taken, -np.inf))] += 1
    return taken
