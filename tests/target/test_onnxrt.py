"""ONNX Runtime's own profile."""

import json

import pytest
from edgeprune_target.runtimes.onnxrt import parse_kernels, without_profiler


def event(name: str, op: str, index: int, us: int, cat: str = "Node") -> dict:
    shapes = [{"float": [1, 16, 8, 8]}]
    args = {"op_name": op, "node_index": str(index), "output_type_shape": shapes}
    return {"cat": cat, "name": name, "dur": us, "args": args}


def test_medians_without_the_first_inference() -> None:
    events = [event("conv_nchwc_kernel_time", "Conv", 3, us) for us in (900, 10, 30, 20)]
    events += [event("ReorderOutput_kernel_time", "ReorderOutput", 4, 5) for _ in range(4)]
    events += [event("model_run", "x", 0, 7000, "Session"), event("conv_fence_before", "Conv", 3, 1)]
    assert parse_kernels(json.dumps(events)) == [
        {
            "name": "conv_nchwc",
            "kind": "Conv",
            "onnx": [],
            "ms": 0.02,
            "quiet_ms": 0.01,
            "outputs": [[1, 16, 8, 8]],
            "formats": [],
            "reformat": False,
        },
        {
            "name": "ReorderOutput",
            "kind": "ReorderOutput",
            "onnx": [],
            "ms": 0.005,
            "quiet_ms": 0.005,
            "outputs": [[1, 16, 8, 8]],
            "formats": [],
            "reformat": True,
        },
    ]


def test_nodes_of_one_name_are_two_kernels() -> None:
    events = [event("x_kernel_time", "Relu", index, 1000 * index) for index in (1, 2)]
    assert [kernel["ms"] for kernel in parse_kernels(json.dumps(events))] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("plain_ms", "left"),
    [
        (0.07, [0.03, 0.01, 0.03]),  # 0.1 - 0.07 over three kernels: 0.01 of each
        (0.2, [0.04, 0.02, 0.04]),  # the plain runs were disturbed: nothing is known
        (0.001, [0.02, 0.0, 0.02]),  # the profile was: no kernel is shorter than the profiler
    ],
)
def test_the_profilers_own_time_is_taken_off(plain_ms: float, left: list) -> None:
    kernels = [{"name": str(n), "ms": 0.05, "quiet_ms": ms} for n, ms in enumerate((0.04, 0.02, 0.04))]
    without = without_profiler(kernels, plain_ms)
    assert [kernel["quiet_ms"] for kernel in without] == pytest.approx(left)
    assert all(kernel["ms"] == 0.05 for kernel in without)
    assert without_profiler([], 1.0) == []
