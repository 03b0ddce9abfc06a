"""Which names TensorRT's Python module has, by version.

Five versions are lists read from the real bindings. Two older ones are derived from the oldest of those by
taking away what NVIDIA added later (from TensorRT's sources at each tag; devices.md 5.1).
"""

import json
from pathlib import Path

_CONTENT = json.loads((Path(__file__).parent / "names.json").read_text())
LISTED: list[str] = _CONTENT["versions"]

# What came with 8.5: tensors by name.
_SINCE_8_5 = {
    "ICudaEngine": """
        num_io_tensors get_tensor_name get_tensor_mode get_tensor_shape get_tensor_dtype get_tensor_location
        get_tensor_profile_shape get_tensor_format get_tensor_format_desc get_tensor_bytes_per_component
        get_tensor_components_per_element get_tensor_vectorized_dim is_shape_inference_io
        hardware_compatibility_level num_aux_streams
    """,
    "IExecutionContext": """
        execute_async_v3 set_tensor_address get_tensor_address set_input_shape infer_shapes get_tensor_shape
        get_tensor_strides set_output_allocator get_output_allocator get_max_output_size set_aux_streams
        get_input_consumed_event set_input_consumed_event temporary_allocator persistent_cache_limit
        nvtx_verbosity
    """,
    "IBuilderConfig": """
        builder_optimization_level hardware_compatibility_level max_aux_streams set_preview_feature
        get_preview_feature plugins_to_serialize
    """,
    "Runtime": "engine_host_code_allowed load_runtime temporary_directory tempfile_control_flags",
    "TensorIOMode": "INPUT OUTPUT NONE",
}
# What came with 8.4: memory pools.
_SINCE_8_4 = {
    "IBuilderConfig": "set_memory_pool_limit get_memory_pool_limit",
    "Builder": "max_threads",
    "MemoryPoolType": "WORKSPACE",
}
_GONE = {"TensorIOMode", "MemoryPoolType", "HardwareCompatibilityLevel", "PreviewFeature"}
DERIVED = {
    "8.4.1": ([_SINCE_8_5], {"TensorIOMode", "HardwareCompatibilityLevel", "PreviewFeature"}),
    "8.2.1": ([_SINCE_8_5, _SINCE_8_4], _GONE),
}
VERSIONS = [*LISTED, *DERIVED]


def _listed(kind: str, version: str) -> dict[str, set[str]]:
    number = str(LISTED.index(version))
    return {
        owner: {name for name, versions in names.items() if name and number in versions}
        for owner, names in _CONTENT[kind].items()
        if number in names[""]
    }


def _without(kind: str, version: str) -> dict[str, set[str]]:
    later, gone = DERIVED[version]
    names = _listed(kind, "8.6.1")
    for table in later:
        for owner, words in table.items():
            names[owner] = names.get(owner, set()) - set(words.split())
    return {owner: name for owner, name in names.items() if owner not in gone}


def classes(version: str) -> dict[str, set[str]]:
    """{class: the names it has}."""
    return _listed("classes", version) if version in LISTED else _without("classes", version)


def enums(version: str) -> dict[str, set[str]]:
    """{enumeration: its members}."""
    return _listed("enums", version) if version in LISTED else _without("enums", version)


def functions(version: str) -> set[str]:
    """Functions of the module, and whatever else lies in it."""
    number = str(LISTED.index(version if version in LISTED else "8.6.1"))
    return {name for name, versions in _CONTENT["functions"].items() if number in versions}
