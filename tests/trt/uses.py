"""Which of TensorRT's names the code uses: every attribute asked of a variable that holds such an object.

The words that variables go by are agreed on in edgeprune_target/trt/__init__.py.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

CLASS_OF = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "cache": "ITimingCache",
    "tensor": "ITensor",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "layer": "ILayer",
    "problem": "ParserError",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "inspector": "EngineInspector",
}
ROOT = Path(__file__).parents[2]
RTX = ROOT / "edgeprune/backends/rtx_builder.py"  # test_real_library.py tries its names on the library itself
FILES = [
    *sorted((ROOT / "deploy/edgeprune_target/trt").glob("*.py")),
    ROOT / "deploy/edgeprune_target/runtimes/trt.py",
    *sorted({*(ROOT / "edgeprune/backends").glob("*.py")} - {RTX}),
]

Use = tuple[str, str, str]  # owner, name, where


def uses() -> set[Use]:
    """(class, enumeration or "tensorrt"; name; file:line) of all of them."""
    return {use for path in FILES for use in _of_file(path) if not use[1].startswith("__")}


def _of_file(path: Path) -> Iterator[Use]:
    tree = ast.parse(path.read_text())
    if "edgeprune/backends" in str(path) and not any(_is_trt(node) for node in ast.walk(tree)):
        return  # "layer" and "config" mean other things there
    for node in ast.walk(tree):
        where = f"{path.name}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Attribute):
            yield from ((owner, node.attr, where) for owner in _owner(node.value))
        elif isinstance(node, ast.Call) and _called(node) in ("getattr", "hasattr"):
            name = node.args[1]
            for owner in _owner(node.args[0]):
                assert isinstance(name, ast.Constant), f"{where}: a name that cannot be checked"
                yield owner, str(name.value), where
        elif isinstance(node, ast.ClassDef):
            for base in node.bases:  # methods that TensorRT calls
                if isinstance(base, ast.Attribute) and _is_trt(base.value):
                    own = [item.name for item in node.body if isinstance(item, ast.FunctionDef)]
                    yield from ((base.attr, name, where) for name in own if name in HOOKS)


HOOKS = {
    "log",
    "report_layer_time",
    "get_batch_size",
    "get_batch",
    "read_calibration_cache",
    "write_calibration_cache",
}


def _owner(value: ast.expr) -> Iterator[str]:
    """The class that an expression is of, if it is one of TensorRT's."""
    word = value.attr if isinstance(value, ast.Attribute) else getattr(value, "id", "")
    if _is_trt(value):
        yield "tensorrt"
    elif isinstance(value, ast.Attribute) and _is_trt(value.value):
        yield value.attr
    elif word.lstrip("_") in CLASS_OF and not (
        isinstance(value, ast.Attribute) and not _is_self(value.value)
    ):
        yield CLASS_OF[word.lstrip("_")]


def _is_trt(node: ast.AST) -> bool:
    """``trt`` or ``self.trt``."""
    return (isinstance(node, ast.Name) and node.id == "trt") or (
        isinstance(node, ast.Attribute) and node.attr == "trt" and _is_self(node.value)
    )


def _is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else ""
