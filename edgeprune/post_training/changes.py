"""Random changes of unlabelled inputs: shifted and mirrored images, mixtures of any inputs."""

import torch
from torch import Tensor

MIXED = 0.5  # of the batches of training


def augmented(inputs: tuple[Tensor, ...], kind: str, seed: int) -> list[tuple[Tensor, ...]]:
    """Return images beside which stand changed copies: shifted by up to an eighth, and turned left to right.

    Args:
        inputs: one tensor of images, (n, colors, height, width).
        kind: 'none', 'shift' or 'flip'.
        seed: of the shifts.
    """
    (images,) = inputs
    if kind == "none":
        return [inputs]
    generator = torch.Generator().manual_seed(seed)
    copies = [images, shifted(images, generator)]
    if kind == "flip":
        generator = torch.Generator().manual_seed(seed + 1)
        copies += [images.flip(3), shifted(images.flip(3), generator)]
    return [(copy,) for copy in copies]


def shifted(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return images that are moved by up to an eighth of their sides, with their edges drawn out."""
    reach = [max(1, side // 8) for side in images.shape[2:]]
    pad = (reach[1], reach[1], reach[0], reach[0])
    wide = torch.nn.functional.pad(images, pad, mode="replicate")
    moved = torch.empty_like(images)
    for number in range(len(images)):
        top, left = (int(torch.randint(0, 2 * r + 1, (1,), generator=generator)) for r in reach)
        moved[number] = wide[number, :, top : top + images.shape[2], left : left + images.shape[3]]
    return moved


def changed(inputs: tuple[Tensor, ...], kind: str, generator: torch.Generator) -> tuple[Tensor, ...]:
    """Return a batch of training: images are shifted and mirrored, and half of the batches are mixtures of two inputs.

    Args:
        inputs: of the network, each (n, ...).
        kind: 'none'; 'mix' to mix alone; 'shift'; or 'flip', which also shifts.
        generator: of all draws.
    """
    if kind == "none":
        return inputs
    if kind in ("shift", "flip"):
        images = inputs[0]
        if kind == "flip":
            turned = torch.rand(len(images), generator=generator) < 0.5
            images = torch.where(turned.view(-1, 1, 1, 1), images.flip(3), images)
        inputs = (shifted(images, generator),)
    if float(torch.rand((), generator=generator)) < MIXED:
        share = float(torch.rand((), generator=generator))
        order = torch.randperm(len(inputs[0]), generator=generator)
        inputs = tuple(
            share * tensor + (1 - share) * tensor[order] if tensor.is_floating_point() else tensor
            for tensor in inputs
        )
    return inputs
