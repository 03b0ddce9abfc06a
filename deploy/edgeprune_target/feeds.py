"""Made-up inputs for a model, the same at every call."""

from __future__ import annotations

from edgeprune_target.errors import TargetError


def random_feed(inputs: dict, batch: int, shapes: dict) -> dict:
    """{input: array}: standard normal floats (what normalised images are like), zeros for whole numbers.

    Args:
        inputs: {name: (shape, numpy type)} with None where a size is free.
        batch: takes the place of a free first size.
        shapes: {name: whole shape} for inputs with other free sizes; the name "" stands for the first input.

    Raises:
        TargetError: a size is free and nobody gave it, or the type cannot be made.
    """
    if not inputs:
        return {}
    import numpy

    random = numpy.random.default_rng(0)
    first = next(iter(inputs))
    feed = {}
    for name, (shape, kind) in inputs.items():
        given = shapes.get(name, shapes.get("") if name == first else None)
        size = tuple(given) if given else resolve(name, shape, batch)
        if kind.startswith("float"):
            feed[name] = random.standard_normal(size).astype(kind)
        elif kind.startswith(("int", "uint")):
            feed[name] = numpy.zeros(size, kind)
        else:
            raise TargetError(
                f"input {name!r} has the type {kind}, which cannot be fed: export it as float32"
            )
    return feed


def resolve(name: str, shape: tuple, batch: int) -> tuple:
    """``shape`` with its free first size set to ``batch``; another free size or fixed batch is an error."""
    if any(size is None for size in shape[1:]):
        raise TargetError(
            f"input {name!r} has free sizes {shape}: give its shape, as in --shape {name}=1x3x32x32"
        )
    if shape and shape[0] not in (None, batch):
        raise TargetError(
            f"input {name!r} has the fixed batch {shape[0]}: measure with that batch, not {batch}"
        )
    return (batch, *shape[1:]) if shape else shape
