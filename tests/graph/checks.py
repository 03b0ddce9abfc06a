"""What must hold of every pruned model; the property tests and the model sweeps share it."""

import contextlib
import logging
import time
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeprune.graph.classes import Bools, Graph, build_graph
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.plan import Plan
from edgeprune.rewrite.compaction import Compacted, compact
from edgeprune.rewrite.masking import mask

TOLERANCE = 1e-5


def randomise(model: nn.Module, seed: int = 0) -> nn.Module:
    """Random gains, shifts and statistics, no parameter left at one value (layer scales); eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(getattr(layer, "running_mean", None), Tensor):
                layer.running_mean.normal_(generator=generator).mul_(0.1)
                layer.running_var.uniform_(0.5, 1.5, generator=generator)
            if isinstance(layer, nn.modules.batchnorm._NormBase) and layer.weight is not None:
                layer.weight.uniform_(0.5, 1.5, generator=generator)
                layer.bias.normal_(generator=generator).mul_(0.3)
        for parameter in model.parameters():
            if parameter.numel() > 1 and bool((parameter == parameter.reshape(-1)[0]).all()):
                parameter.normal_(generator=generator).mul_(0.3).add_(0.5)
    return model.eval()


def random_keep(graph: Graph, share: float, seed: int, whole_groups: float = 0.0) -> Bools:
    """Keep about ``share`` of the classes, at least one of each group; drop some groups whole."""
    rng = np.random.default_rng(seed)
    keep = rng.random(graph.classes) < share
    for group in graph.groups:
        if not keep[group.classes].any():
            keep[rng.choice(group.classes)] = True
        if rng.random() < whole_groups:
            keep[group.classes] = False
    return keep


def error(expected: Any, seen: Any) -> float:
    """Largest difference, relative to the largest value of each output."""
    pairs = list(zip(tensors_in(expected), tensors_in(seen), strict=True))
    assert [a.shape for a, _ in pairs] == [b.shape for _, b in pairs]
    return max(float((a - b).abs().max() / a.abs().max().clamp(min=1e-6)) for a, b in _detached(pairs))


def _detached(pairs: list[tuple[Tensor, Tensor]]) -> list[tuple[Tensor, Tensor]]:
    return [(a.detach(), b.detach()) for a, b in pairs]


def fvcore_flops(model: nn.Module, inputs: tuple[Tensor, ...]) -> int:
    """FLOPs by fvcore, without its remarks on operations it does not count."""
    from fvcore.nn import FlopCountAnalysis

    for name in ("fvcore.nn.jit_analysis", "fvcore"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return int(
        FlopCountAnalysis(model, inputs)
        .unsupported_ops_warnings(False)
        .uncalled_modules_warnings(False)
        .total()
    )


def parameters(model: nn.Module) -> int:
    """Number of parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters())


def disagreement(graph: Graph, done: Compacted, inputs: tuple[Tensor, ...]) -> float:
    """`error` between the masked and the compacted model."""
    with torch.no_grad():
        return error(mask(graph, done.plan).eval()(*inputs), done.model.eval()(*inputs))


@dataclass(frozen=True)
class Outcome:
    """One model of a sweep; shares are of its parameters and of its channels."""

    model: str
    classes: int
    groups: int
    kept_params: float
    error: float
    protected_share: float
    notes: tuple[str, ...]
    seconds: float


def sweep_one(
    name: str, model: nn.Module, inputs: tuple[Tensor, ...], share: float, seed: int = 0
) -> Outcome:
    """Trace, prune at random, and assert everything that must hold."""
    started = time.perf_counter()
    graph = build_graph(randomise(model, seed), inputs)
    done = compact(graph, Plan.of(graph, random_keep(graph, share, seed)))
    seconds = time.perf_counter() - started
    result = disagreement(graph, done, inputs)
    assert result <= TOLERANCE, f"{name}: masked and compacted differ by {result:.2g}"
    assert parameters(done.model) == graph.params(done.plan.keep), name
    kept = graph.params(done.plan.keep) / graph.params()
    return Outcome(
        name, graph.classes, len(graph.groups), kept, result, protected_share(graph), done.plan.notes, seconds
    )


def protected_share(graph: Graph) -> float:
    """Share of all layers' output channels that are never removed."""
    made = [graph.param_axes[key] for key in graph.flow.outputs.items()]
    return sum(int((v < 0).sum()) for v in made) / max(1, sum(len(v) for v in made))


def onnx_error(model: nn.Module, inputs: tuple[Tensor, ...], dynamo: bool = True) -> float:
    """Export, run in ONNX Runtime, compare with torch; relative as `error`."""
    import io

    import onnxruntime

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    buffer = io.BytesIO()
    model = model.eval()
    with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        expected = tensors_in(model(*inputs))
        if dynamo:
            content = torch.onnx.export(
                model, inputs, dynamo=True, verbose=False
            ).model_proto.SerializeToString()
        else:
            torch.onnx.export(model, inputs, buffer, dynamo=False)
            content = buffer.getvalue()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    feed = {i.name: x.numpy() for i, x in zip(session.get_inputs(), inputs, strict=True)}
    return error(expected, [torch.from_numpy(result) for result in session.run(None, feed)])
