"""Make names.json from full lists of TensorRT's Python names, one file per version:

    python tests/trt/compact_names.py FOLDER_WITH_VERSION.json

A list is ``{"version", "enums": {enum: [names]}, "classes": {class: [names]}, "functions": [names]}``, as
read from the real bindings (see test_real_bindings.py). Classes of single layers and of plugins are left
out: nothing touches them. In names.json every name has the numbers of the versions that have it, as in
"0123".
"""

import json
import sys
from pathlib import Path

KINDS = ("enums", "classes")


def is_public(name: str) -> bool:
    return name == "ILayer" or not (name.endswith("Layer") or "Plugin" in name)


def key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def compact(lists: dict[str, dict]) -> dict:
    versions = sorted(lists, key=key)
    result: dict = {"versions": versions, "enums": {}, "classes": {}, "functions": {}}
    for number, version in enumerate(versions):
        content = lists[version]
        for kind in KINDS:
            for owner, names in content[kind].items():
                if is_public(owner):
                    has = result[kind].setdefault(owner, {"": ""})
                    has[""] += str(number)  # the class itself
                    for name in names:
                        has[name] = has.get(name, "") + str(number)
        for name in content["functions"]:
            result["functions"][name] = result["functions"].get(name, "") + str(number)
    return result


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    lists = {path.stem: json.loads(path.read_text()) for path in folder.glob("*.json")}
    here = Path(__file__).parent / "names.json"
    here.write_text(json.dumps(compact(lists), sort_keys=True, separators=(",", ":")) + "\n")
