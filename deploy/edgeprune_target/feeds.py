"""Make random inputs for a model, the same at every call."""

from __future__ import annotations

from edgeprune_target.errors import TargetError


def random_feed(inputs: dict, batch: int, shapes: dict) -> dict:
    """Return {input: array}: standard normal floats (like normalised images), zeros for integers, True for bools.

    Args:
        inputs: {name: (shape, numpy type)} with None for a dynamic size.
        batch: replaces a dynamic first size.
        shapes: {name: complete shape} for inputs with other dynamic sizes; the name "" is the first input.

    Raises:
        TargetError: a dynamic size is not given, or the type is not supported.
    """
    if not inputs:
        return {}
    import numpy

    random = numpy.random.default_rng(0)
    first = next(iter(inputs))
    feed = {}
    for name, (shape, kind) in inputs.items():
        fixed_shape = shapes.get(name, shapes.get("") if name == first else None)
        size = tuple(fixed_shape) if fixed_shape else with_batch(name, shape, batch)
        if kind.startswith("float"):
            feed[name] = random.standard_normal(size).astype(kind)
        elif kind.startswith(("int", "uint")):
            feed[name] = numpy.zeros(size, kind)
        elif kind == "bool":  # of a mask: nothing is masked
            feed[name] = numpy.ones(size, kind)
        else:
            raise TargetError(
                f"input {name!r} has the type {kind}, which cannot be fed: export it as float32"
            )
    return feed


def with_batch(name: str, shape: tuple, batch: int) -> tuple:
    """Return ``shape`` with its dynamic first size set to ``batch``.

    Args:
        name: of the input, for messages.
        shape: with None for a dynamic size.
        batch: images per inference.

    Raises:
        TargetError: another size is dynamic, or the batch is fixed to another number.
    """
    if any(size is None for size in shape[1:]):
        raise TargetError(
            f"input {name!r} has free sizes {shape}: give its shape, as in --shape {name}=1x3x32x32"
        )
    if shape and shape[0] not in (None, batch):
        raise TargetError(
            f"input {name!r} has the fixed batch {shape[0]}: measure with that batch, not {batch}"
        )
    return (batch, *shape[1:]) if shape else shape
