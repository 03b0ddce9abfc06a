from pathlib import Path

import pytest
from target.conftest import channel_means

from bench.remote_fixtures import linear_onnx
from edgeprune.bench.perf_test import PerfTest, input_of, load_ns, split_warm_up, times_ns
from edgeprune.bench.program_transport import no_energy
from edgeprune.errors import BenchError

PRINTED = [
    "Session creation time cost: 0.0508382 s",
    "First inference time cost: 2 ms",
    "Average inference time cost: 19.918 ms",
    "Number of inferences per second: 50.2002",
    "Min Latency: 0.0197812 s",
    "my,net.onnx,0.0199047,109531136,12,1",
    "my,net.onnx,1.9e-05,109531136,12.5,0",
]


def test_rows_are_read_in_their_order() -> None:
    assert times_ns(PRINTED) == [19_000, 19_904_700]
    assert load_ns(PRINTED) == 50_838_200


def test_no_rows_and_no_loading() -> None:
    with pytest.raises(BenchError, match="gave no times: Min Latency"):
        times_ns(PRINTED[:-2])
    with pytest.raises(BenchError, match="did not print how long loading took: x"):
        load_ns(["x"])


def test_warm_up_is_by_the_runners_rule() -> None:
    fast = [1_000_000] * 1000  # 200 ms of warm-up are 200 runs
    samples, warm_up = split_warm_up(fast, 0.3)
    assert warm_up == {"runs": 200, "seconds": pytest.approx(0.2)}
    assert len(samples) == 300
    slow = [600_000_000] * 4  # 1 s of warm-up is two runs
    assert split_warm_up(slow, 10) == ([600_000_000] * 2, {"runs": 2, "seconds": 1.2})
    with pytest.raises(BenchError, match=r"an inference takes 3.0 s, too long"):
        split_warm_up([3_000_000_000], 1)


def test_input(tmp_path: Path) -> None:
    free = linear_onnx(tmp_path / "free.onnx", layers=0)
    assert input_of(free, 4) == ("input", [4, 3, 32, 32], "batch")
    fixed = channel_means(tmp_path / "fixed.onnx", batch=2)
    assert input_of(fixed, 2) == ("input", [2, 3, 4, 4], None)
    with pytest.raises(BenchError, match="has the fixed batch 2: measure with that batch, not 1"):
        input_of(fixed, 1)
    with pytest.raises(BenchError, match="several inputs or free sizes"):
        input_of(channel_means(tmp_path / "size.onnx", size="side"), 1)


def test_energy_is_none_with_a_reason() -> None:
    energy = no_energy()
    assert (energy["gross_j"], energy["total_kind"], energy["samples"]) == (None, "none", 0)
    assert "battery gauge" in energy["reason"]


def test_version() -> None:
    assert PerfTest().version("VERS_1.23.2") == "1.23.2"
    assert PerfTest().version("") == "unknown (onnxruntime_perf_test)"
