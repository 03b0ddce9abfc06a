"""Every name of TensorRT that the code uses, against the lists of names of five versions."""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from edgeprune_target.cuda import open_gpu
from edgeprune_target.layering import layers
from edgeprune_target.measure import measure
from edgeprune_target.trt.build import Recipe, build_engine
from edgeprune_target.trt.library import make_logger
from edgeprune_target.trt.options import EngineOptions
from trt import guard, names
from trt.fixtures import small_cnn
from trt.uses import uses

UP_TO_10 = {"8.6.1", "10.3.0", "10.13.3.9", "10.16.1.11"}
FROM_10 = {"10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106"}
ONLY_8 = {"8.6.1"}
FROM_10_16 = {"10.16.1.11", "11.4.0.106"}

# Names that not every version has: which have them, and where the code asks before it touches them.
GUARDED = {
    ("tensorrt", "IInt8EntropyCalibrator2"): UP_TO_10,  # build.calibrate: not when strongly typed
    ("IInt8EntropyCalibrator2", "get_batch"): UP_TO_10,
    ("IInt8EntropyCalibrator2", "get_batch_size"): UP_TO_10,
    ("IInt8EntropyCalibrator2", "read_calibration_cache"): UP_TO_10,
    ("IInt8EntropyCalibrator2", "write_calibration_cache"): UP_TO_10,
    ("IBuilderConfig", "int8_calibrator"): UP_TO_10,
    ("IBuilderConfig", "set_calibration_profile"): UP_TO_10,
    ("BuilderFlag", "FP16"): UP_TO_10,  # build.set_types: not when strongly typed
    ("BuilderFlag", "INT8"): UP_TO_10,
    ("Builder", "platform_has_fast_fp16"): UP_TO_10,  # build.slow_precision: hasattr
    ("Builder", "platform_has_fast_int8"): UP_TO_10,
    ("NetworkDefinitionCreationFlag", "EXPLICIT_BATCH"): UP_TO_10,  # build.network_flags: before 10 only
    ("IBuilderConfig", "max_workspace_size"): ONLY_8,  # build.set_workspace: hasattr of its successor
    ("ICudaEngine", "num_bindings"): ONLY_8,  # tensors.Bindings: where there is no num_io_tensors
    ("ICudaEngine", "binding_is_input"): ONLY_8,
    ("ICudaEngine", "get_binding_name"): ONLY_8,
    ("ICudaEngine", "get_binding_dtype"): ONLY_8,
    ("ICudaEngine", "get_profile_shape"): ONLY_8,
    ("IExecutionContext", "set_binding_shape"): ONLY_8,
    ("IExecutionContext", "get_binding_shape"): ONLY_8,
    ("IExecutionContext", "execute_async_v2"): ONLY_8,
    ("ICudaEngine", "device_memory_size"): UP_TO_10,  # device_memory: hasattr, each
    ("ICudaEngine", "device_memory_size_v2"): FROM_10,
    ("ICudaEngine", "get_engine_stat"): FROM_10_16,
    ("tensorrt", "EngineStat"): FROM_10_16,
    ("EngineStat", "TOTAL_WEIGHTS_SIZE"): FROM_10_16,
}


def having(owner: str, name: str) -> set[str]:
    """The versions whose list has the name."""
    return {version for version in names.LISTED if name in names_in(version, owner)}


def names_in(version: str, owner: str) -> set[str]:
    classes, enums = names.classes(version), names.enums(version)
    if owner == "tensorrt":
        return {*classes, *enums, *names.functions(version)}
    return classes.get(owner, set()) | enums.get(owner, set())


def used() -> dict[tuple[str, str], list[str]]:
    where = defaultdict(list)
    for owner, name, place in uses():
        where[owner, name].append(place)
    return where


@pytest.mark.parametrize(("owner", "name"), sorted(used()))
def test_exists_where_it_is_used(owner: str, name: str) -> None:
    expected = GUARDED.get((owner, name), set(names.LISTED))
    assert having(owner, name) == expected, f"{owner}.{name} is used in {used()[owner, name]}"


def test_nothing_is_guarded_that_is_not_used() -> None:
    assert set(GUARDED) <= set(used())


def test_the_five_lists_are_those_of_the_real_bindings() -> None:
    assert names.LISTED == ["8.6.1", "10.3.0", "10.13.3.9", "10.16.1.11", "11.4.0.106"]
    sizes = {owner: len(names.classes("11.4.0.106")[owner]) for owner in ("Builder", "OnnxParser")}
    assert sizes == {"Builder": 15, "OnnxParser": 20}


@pytest.mark.parametrize("version", names.VERSIONS)
def test_the_stand_in_has_no_other_names(tensorrt: Any, version: str) -> None:
    trt = tensorrt(version)
    builder = trt.Builder(make_logger(trt))
    for value in (trt, trt.BuilderFlag, builder, builder.create_builder_config()):
        with pytest.raises(AttributeError):
            _ = value.no_such_name
    with pytest.raises(AttributeError):
        builder.create_builder_config().no_such_name = 1


def test_every_name_that_is_used_is_tried_on_the_stand_ins(
    tensorrt: Any, cudart: Any, engines: Path, tmp_path: Path
) -> None:
    """So that none is checked for being there alone: each is also called, in some version, as it is meant."""
    guard.TOUCHED.clear()
    images = np.ones((8, 3, 6, 6), np.float32)
    for version in names.VERSIONS:
        trt, typed = tensorrt(version), version.startswith("11")
        path = str(small_cnn(tmp_path / "m.onnx", kind="fp16" if typed else "fp32"))
        options = EngineOptions("fp16", workspace_mb=64, timing_cache=str(tmp_path / f"times-{version}"))
        measure(path, runtime="tensorrt", seconds=0.0, options=options)
        layers(path, runtime="tensorrt", batch=1, threads=1, seconds=0.0, options=options)
        if not typed:
            gpu = open_gpu()
            build_engine(trt, make_logger(trt), path, Recipe("int8", images=images, gpu=gpu))
            gpu.close()
    refused = tmp_path / "no.onnx"
    refused.write_bytes(b"no model")
    trt = tensorrt("10.3.0")
    with pytest.raises(Exception, match="cannot read"):
        build_engine(trt, make_logger(trt), str(refused), Recipe("fp16"))
    called_back = {"ILogger", "IProfiler", "IInt8EntropyCalibrator2"}  # their names are ours to have
    missing = {use for use in used() if use not in guard.TOUCHED and use[0] not in called_back}
    assert not missing
