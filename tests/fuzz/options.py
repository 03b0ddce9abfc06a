"""Command lines over all commands, and one seeded fault in their words."""

import random

# The folder of a case holds run, compare, search, model.safetensors, table.json, budget.toml, plan.json.
COMMANDS: tuple[tuple[str, ...], ...] = (
    ("verify", "run", "--budget", "budget.toml"),
    ("verify", "run", "--budget", "budget.toml", "--device", "cpu", "--json"),
    ("verify", "run", "--budget", "budget.toml", "--junit", "junit.xml"),
    ("inspect", "run"),
    ("inspect", "run", "--json"),
    ("inspect", "resnet8", "--input", "3x32x32", "--classes", "10"),
    ("steer", "run", "--interacting", "+200"),
    ("steer", "cut", "--interacting", "+200"),
    ("steer", "cut", "--auto"),
    ("steer", "cut", "--show"),
    ("train-prune", "--out", "cut", "--resume"),
    ("train-prune", "--out", "cut-l1", "--resume"),
    ("train-prune", "--out", "run", "--resume"),
    ("train-prune", "--model", "resnet8", "--plan", "plan.json", "--epochs", "1", "--weights",
     "run/baseline.safetensors", "--out", "new", "--batch-size", "300", "--score-batches", "1"),
    ("export", "run", "--images", "8"),
    ("bench", "run", "--seconds", "0.01", "--no-accuracy", "--resume"),
    ("bench", "run", "--seconds", "0.01", "--no-accuracy"),
    ("devices",),
    ("devices", "--json"),
    ("lut", "show", "table.json"),
    ("lut", "show", "run"),
    ("lut", "show", "table.json", "--json"),
    ("compare", "--out", "compare", "--resume"),
    ("compare", "run", "--methods", "l1", "--seeds", "1", "--epochs", "1", "--no-latency", "--out", "new"),
    ("search", "--out", "search", "--resume"),
    ("load", "model.safetensors"),
    ("load", "run"),
)  # fmt: skip

SLOW = {
    "bench": 0.9,
    "search": 0.6,
    "compare": 0.5,
    "export": 0.5,
}  # share that another command stands in for

WORDS = (
    "", "-1", "0", "1", "nan", "inf", "-inf", "1e999", "99999999999999999999", "1000000000000", "0.5", "x",
    "-", "--", "[/b]", "[bold]x[/]", "\x1b[31m", "\udcff", "a" * 5000, "../..", "/dev/null/x", "/etc/passwd",
    "os:system", "this:x", "flops=nan", "flops=0", "latency=-1ms", "flops=0.5,flops=0.5", "l1,l1", ",",
    "cpu:", "cuda:99", "None", "é", "digits", ".", "run/config.json", "--help", "--json", "--force",
    "--resume",
)  # fmt: skip
MORE = (
    "--json", "--device", "--seed", "--epochs", "--target", "--align", "--floor", "--threads", "--batch",
    "--data", "--weights", "--method", "--methods", "--moments", "--out", "--precision", "--image-size",
    "--weights-key", "--opaque",
    "--prune-steps", "--switch", "--schedule", "--storage", "--study", "--trials", "--input", "--classes",
    "--opset", "--images", "--seconds", "--lut", "--target-device", "--ignore", "--layers", "--detect",
    "--trt", "--batch-size",
)  # fmt: skip


def changed_words(words: tuple[str, ...], rng: random.Random) -> list[str]:
    """Return a command line with one fault: a word replaced, left out, doubled, or another option added."""
    changed = list(words)
    way = rng.choice(("replace", "replace", "add", "add", "delete", "double"))
    place = rng.randrange(1, len(changed)) if len(changed) > 1 else 0
    if way == "replace" and place:
        changed[place] = rng.choice(WORDS)
    elif way == "delete" and place:
        del changed[place]
    elif way == "double" and place:
        changed.insert(place, changed[place])
    else:
        changed += [rng.choice(MORE), rng.choice(WORDS)]
    return changed
