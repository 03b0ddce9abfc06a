"""Least-squares reconstruction: fit the layers that read dropped channels to work without them."""

from edgeprune.errors import PlanError, known
from edgeprune.graph.classes import Graph
from edgeprune.graph.plan import Plan
from edgeprune.importance.batches import Batches
from edgeprune.reconstruct.equations import Equations, fit_in_parts
from edgeprune.reconstruct.fold import FoldEquations
from edgeprune.reconstruct.kernel import Grams, KernelEquations, grams_bytes
from edgeprune.reconstruct.layers import layers_of
from edgeprune.reconstruct.scale import by_scale
from edgeprune.reconstruct.sequential import Sequential

__all__ = ["MOST_BYTES", "SEQUENTIAL_IMAGES", "WAYS", "Grams", "Sequential", "grams_bytes", "reconstruct"]

# Fits in sequence overfit few images: ResNet-56 at half of its FLOPs has 89.8 % of CIFAR-10 right
# (its test images, no training) when fitted on 500, 90.6 % on 1,000, 90.9 % on 2,000 and 91.2 % on 4,000.
SEQUENTIAL_IMAGES = 4000
WAYS = ("none", "scale", "fold", "kernel", "sequential", "merge")
MOST_BYTES = 3 * 2**30  # of all layers' normal equations at once, where a caller may do without them


def reconstruct(
    graph: Graph,
    plan: Plan,
    batches: Batches | None,
    ways: str = "kernel",
    *,
    positions: int = 10,
    limit: int | None = None,
    seed: int = 0,
) -> int:
    """Fit the weights that read the kept channels so that each layer's output is preserved.

    'kernel': min over W' of ||Y - X_S W'||^2, X_S the patches of the kept input channels and Y the layer's
    output before anything is dropped, without its bias. Source: He et al., Channel Pruning for Accelerating
    Very Deep Neural Networks, 2017. 'scale': one factor for each kept channel, min over w of
    ||Y - sum w_c Z_c||^2. Source: Luo et al., ThiNet, 2017. Both use the inputs of the unpruned network,
    collected once. 'sequential': as 'kernel', but X_S is the output of the earlier layers after their own fit,
    so that errors do not accumulate. Source: Zhang et al., Accelerating Very Deep Convolutional Networks, 2016, 3.4.
    'fold': each dropped channel is expressed by the kept ones, min over C of ||X_D - X_S C||^2 over single positions,
    and its weights go to them in these shares. Source: Henry et al., LinDeps, 2025. 'merge': dropped channels are
    averaged into the most similar kept ones, see `merge`, and then as 'sequential', which preserves these averages.

    Args:
        graph: the traced model; weights of its module are changed in place.
        plan: what will be dropped. The weights that read dropped channels become 0.
        batches: images, in the form that criteria use.
        ways: 'scale', 'fold', 'kernel', 'sequential' or 'merge'.
        positions: number of sampled positions of each image's output.
        limit: largest number of batches; None for all.
        seed: of that sampling.

    Returns:
        The number of fitted layers: convolutions over 1 or 2 axes and linear layers that lose inputs.

    Raises:
        PlanError: no batches, a plan of another model, or an unknown ``ways``.
    """
    plan.check(graph)
    if ways not in WAYS[1:]:
        raise PlanError(known("way of reconstruction", ways, list(WAYS)))
    if ways == "scale":
        return by_scale(graph, plan.keep, batches, positions, limit, seed)
    if ways in ("sequential", "merge"):
        fits = Sequential(graph, batches, positions=positions, limit=limit, seed=seed)
        if ways == "merge":
            fits.merge(plan.keep)
        return fits.fit(plan.keep)
    losing = [layer for layer in layers_of(graph, positions, seed) if layer.loses(plan.keep)]
    equations: list[Equations] = (
        [*FoldEquations.of(losing, positions, seed)]
        if ways == "fold"
        else [KernelEquations(layer) for layer in losing]
    )
    return fit_in_parts(graph, equations, plan.keep, batches, limit)
