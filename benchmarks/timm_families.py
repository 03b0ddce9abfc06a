"""How many timm families trace and prune, with no special case for any: pass, protected share, or why not.

    python benchmarks/timm_families.py [--out results/graph_timm.json] [NAME ...]

For each model: trace, keep a random 60 % of the channels, compact, and compare with the masked model.
"""

import argparse
import json
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgeprune.errors import EdgePruneError
from edgeprune.graph.classes import Graph, build_graph
from edgeprune.graph.labels import tensors_in
from edgeprune.graph.plan import Plan
from edgeprune.rewrite.compaction import compact
from edgeprune.rewrite.masking import mask

FAMILIES = """
resnet18 resnet26d resnet50_gn resnext50_32x4d seresnet50 ecaresnet26t skresnet18 resnest14d res2net50_26w_4s
resnetv2_50 resnetv2_50x1_bit resnetblur50 densenet121 vgg11_bn inception_v4 inception_next_tiny xception41
dla34 dpn68 hrnet_w18_small selecsls42b cspresnet50 cspdarknet53 darknet53 vovnet39a ese_vovnet19b_dw
mobilenetv2_100 mobilenetv3_large_100 mobilenetv4_conv_small mobileone_s0 mnasnet_100 mixnet_s fbnetv3_b
efficientnet_b0 tf_efficientnet_b0 tf_efficientnetv2_s tinynet_e lcnet_050 ghostnet_100 ghostnetv2_100
rexnet_100
hardcorenas_a regnetx_004 regnety_004 regnetz_005 repvgg_a0 repghostnet_050 gernet_s nf_regnet_b1 nfnet_f0
convnext_atto convnextv2_atto convmixer_768_32 poolformer_s12 starnet_s1 fasternet_t0 edgenext_xx_small
rdnet_tiny hgnetv2_b0 bat_resnext26ts lambda_resnet26t
"""


SIDE = 128  # of the example image; a model that refuses it gets its own input size


def randomise(model: torch.nn.Module) -> torch.nn.Module:
    """Statistics and scales that do not hide a wrong channel."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in model.modules():
            if isinstance(getattr(layer, "running_mean", None), torch.Tensor):
                layer.running_mean.normal_(generator=generator).mul_(0.1)
                layer.running_var.uniform_(0.5, 1.5, generator=generator)
        for parameter in model.parameters():
            if parameter.numel() > 1 and bool((parameter == parameter.reshape(-1)[0]).all()):
                parameter.normal_(generator=generator).mul_(0.3).add_(0.5)
    return model.eval()


def random_plan(graph: Graph, share: float = 0.6) -> Plan:
    """About ``share`` of the channels, at least one of each group."""
    rng = np.random.default_rng(0)
    keep = rng.random(graph.classes) < share
    for group in graph.groups:
        if not keep[group.classes].any():
            keep[group.classes[0]] = True
    return Plan.of(graph, keep)


def examine(name: str) -> dict[str, Any]:
    """One model's line of the result."""
    import timm

    torch.manual_seed(0)
    model = randomise(timm.create_model(name, pretrained=False))
    own_size = model.pretrained_cfg["input_size"]
    started = time.perf_counter()
    try:
        image = torch.randn(1, 3, SIDE, SIDE)
        graph = build_graph(model, image)
    except EdgePruneError:
        try:
            image = torch.randn(1, *own_size)
            graph = build_graph(model, image)
        except EdgePruneError as error:
            return {"model": name, "result": "not traced", "reason": str(error)}
    done = compact(graph, random_plan(graph))
    seconds = time.perf_counter() - started
    with torch.no_grad():
        expected, result = tensors_in(mask(graph, done.plan)(image)), tensors_in(done.model(image))
    error = max(float((a - b).abs().max() / a.abs().max()) for a, b in zip(expected, result, strict=True))
    made = [graph.param_axes[key] for key in graph.flow.outputs.items()]
    return {
        "model": name,
        "result": "pass" if error <= 1e-5 else "differs",
        "max_relative_error": error,
        "classes": graph.classes,
        "groups": len(graph.groups),
        "protected_share": sum(int((v < 0).sum()) for v in made) / max(1, sum(len(v) for v in made)),
        "kept_params": graph.params(done.plan.keep) / graph.params(),
        "params_as_planned": graph.params(done.plan.keep) == sum(p.numel() for p in done.model.parameters()),
        "notes": list(done.plan.notes),
        "reasons": sorted(
            {p.reason for p in graph.protected} - {"output of the network", "input of the network"}
        ),
        "seconds": round(seconds, 3),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", default=FAMILIES.split())
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows = []
    for name in options.names:
        try:
            row = examine(name)
        except (
            Exception
        ) as error:  # a bug of ours, or a model timm no longer has: shown, and the list goes on
            row = {
                "model": name,
                "result": "error",
                "reason": f"{type(error).__name__}: {str(error).splitlines()[0]}",
            }
        rows.append(row)
        share = (
            f"protected {row['protected_share']:.2f}" if "protected_share" in row else row.get("reason", "")
        )
        notes = f", {len(row['notes'])} left alone" if row.get("notes") else ""
        print(
            f"{row['model']:28s} {row['result']:10s} {share}{notes} {'; '.join(row.get('reasons', []))}",
            flush=True,
        )
    passed = sum(row["result"] == "pass" for row in rows)
    print(f"{passed} of {len(rows)} pass")
    if options.out:
        versions = {name: version(name) for name in ("torch", "timm")}
        record = {"schema": 1, "versions": versions, "image_side": SIDE, "passed": passed, "models": rows}
        options.out.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
