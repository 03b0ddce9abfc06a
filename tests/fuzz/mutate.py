"""One seeded fault in a file's content. The same seed gives the same fault."""

import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

Random = random.Random

# What takes the place of a JSON value. RAW goes into the text as it is, since JSON's writer would refuse it.
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, -7, 3, 10**12, -(10**12), 2**63, 10**40, 0.5, -0.5, 1e300, 1e-300, "", "x",
    "a" * 5000, "[/b]", "[bold red]x[/]", "\x1b[31mred\x07", "line\nline", "\0", "../../..", "/etc/passwd",
    "os:system", "\ud800", "ü", [], {}, [[]], [None], {"": {}}, {"a": 1}, [1, 2, 3], [-1], [10**12], ["x"],
)  # fmt: skip
TOML_VALUES = (
    "nan", "inf", "-1", "1e400", "9" * 40, '"x"', "true", "[]", "{}", "[[1]]", '"""', "", "1979-05-27",
    '"[/b]"', "[" * 2000 + "]" * 2000, '"\\u0000"',
)  # fmt: skip
RAW = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "9" * 400,
    "[" * 3000 + "]" * 3000,
    '{"a":' * 200 + "1" + "}" * 200,
)


def mutated(content: bytes, name: str, rng: Random) -> tuple[bytes, str]:
    """Return ``content`` with one fault, and what was done; ``name`` tells what kind of file it is."""
    suffix = Path(name).suffix
    ways: list[Callable[[bytes, Random], tuple[bytes, str]]] = [flipped, cut, overwritten]
    if suffix in (".json", ".partial"):
        ways += [json_fault] * 6
    elif suffix == ".jsonl":
        ways += [line_fault] * 6
    elif suffix == ".safetensors":
        ways += [header_fault] * 4 + [payload_fault] * 2
    elif suffix == ".toml":
        ways += [toml_fault] * 5
    return rng.choice(ways)(content, rng)


def flipped(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Flip one to eight bits."""
    if not content:
        return b"\xff", "one byte in an empty file"
    changed = bytearray(content)
    places = [rng.randrange(len(changed)) for _ in range(rng.choice((1, 1, 2, 8)))]
    for place in places:
        changed[place] ^= 1 << rng.randrange(8)
    return bytes(changed), f"bits flipped at {places}"


def cut(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Cut the end off, or all of it."""
    place = rng.choice(
        (0, 1, 8, len(content) // 2, max(0, len(content) - 1), rng.randrange(len(content) + 1))
    )
    return content[:place], f"cut at {place} of {len(content)}"


def overwritten(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Overwrite a stretch with zeros, ones or noise, or repeat it."""
    place, length = rng.randrange(len(content) + 1), rng.choice((1, 4, 64, 512))
    piece = content[place : place + length]
    noise = {
        "zeros": bytes(len(piece)),
        "ones": b"\xff" * len(piece),
        "noise": bytes(rng.randrange(256) for _ in piece),
        "itself twice": piece + piece,
        "nothing": b"",
    }
    kind = rng.choice(sorted(noise))
    return content[:place] + noise[kind] + content[
        place + length :
    ], f"{length} bytes at {place} become {kind}"


def json_fault(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change, delete or double one value of a JSON document."""
    try:
        value = json.loads(content)
    except ValueError:
        return flipped(content, rng)
    text, what = changed_json(value, rng)
    return text.encode("utf-8", "surrogatepass"), what


def line_fault(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change one line of a file of JSON lines, or delete, double or blank it."""
    lines = content.splitlines(keepends=True)
    if not lines:
        return flipped(content, rng)
    number = rng.randrange(len(lines))
    kind = rng.choice(("json", "json", "json", "delete", "double", "blank", "no JSON"))
    if kind == "json":
        line, what = json_fault(lines[number], rng)
        lines[number], kind = line + b"\n", what
    else:
        old = lines[number]
        lines[number] = {"delete": b"", "double": old + old, "blank": b"\n"}.get(kind, b"{'no': json}\n")
    return b"".join(lines), f"line {number + 1}: {kind}"


def changed_json(value: Any, rng: Random) -> tuple[str, str]:
    """Return a document with one fault as text, and what was done."""
    places = list(_places(value))
    if not places:
        return json.dumps(rng.choice(VALUES)), "the whole document"
    # Deep values outnumber the others: every depth is as likely.
    depth = rng.choice(sorted({len(path) for path in places}))
    path = rng.choice([path for path in places if len(path) == depth])
    holder = value
    for step in path[:-1]:
        holder = holder[step]
    last = path[-1]
    where = "/".join(map(str, path))
    way = rng.choice(("value", "value", "value", "value", "delete", "raw", "double", "near"))
    if way == "delete":
        del holder[last]
        return json.dumps(value), f"{where} deleted"
    if way == "raw":
        holder[last] = "@@raw@@"
        raw = rng.choice(RAW)
        return json.dumps(value).replace('"@@raw@@"', raw), f"{where} becomes {raw[:20]}"
    if way == "double" and isinstance(holder, dict):
        holder["@@twice@@"] = rng.choice(VALUES)
        return json.dumps(value).replace('"@@twice@@"', json.dumps(last)), f"{where} stands twice"
    old = holder[last]
    if way == "near" and isinstance(old, (int, float)) and not isinstance(old, bool):
        holder[last] = rng.choice((old + 1, old - 1, -old, old * 1000, old / 2, float(old)))
    elif way in ("near", "double") and isinstance(old, list) and old:
        holder[last] = rng.choice((old[:-1], old + old[-1:], old[::-1], old * 2))
    else:
        holder[last] = rng.choice(VALUES)
    return json.dumps(value), f"{where} becomes {ascii(holder[last])[:40]}"


def _places(value: Any, path: tuple[Any, ...] = ()) -> Any:
    steps = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for number, (step, inner) in enumerate(steps):
        yield (*path, step)
        if number < 40:  # of long lists of samples the first are enough
            yield from _places(inner, (*path, step))


def header_fault(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change the JSON header of a safetensors file, its texts included."""
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
    except (struct.error, ValueError):
        return flipped(content, rng)
    texts = header.get("__metadata__", {})
    inner = [key for key, text in texts.items() if text[:1] == "{"]
    if inner and rng.random() < 0.6:
        key = rng.choice(inner)
        text, what = changed_json(json.loads(texts[key]), rng)
        texts[key] = text.encode("utf-8", "replace").decode()
        what = f"{key}: {what}"
        new = json.dumps(header)
    else:
        new, what = changed_json(header, rng)
    raw = new.encode("utf-8", "replace")
    return struct.pack("<Q", len(raw)) + raw + content[8 + length :], f"header {what}"


def payload_fault(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change numbers of a safetensors file's tensors: NaN, infinity, zeros, noise."""
    if len(content) < 8:
        return flipped(content, rng)
    (length,) = struct.unpack("<Q", content[:8])
    start = 8 + length
    if start + 4 >= len(content):
        return flipped(content, rng)
    place = start + 4 * rng.randrange((len(content) - start) // 4)
    number = rng.choice((float("nan"), float("inf"), 0.0, 1e30, -1.0))
    changed = content[:place] + struct.pack("<f", number) + content[place + 4 :]
    return changed, f"float at {place} becomes {number}"


def toml_fault(content: bytes, rng: Random) -> tuple[bytes, str]:
    """Change the value of one line of a TOML file."""
    lines = content.decode(errors="replace").splitlines()
    rows = [number for number, line in enumerate(lines) if "=" in line]
    if not rows:
        return flipped(content, rng)
    number = rng.choice(rows)
    value = rng.choice(TOML_VALUES)
    key = lines[number].partition("=")[0].strip()
    lines[number] = rng.choice((f"{key} = {value}", f"{key} = {value}", f"{value} = 1", lines[number] * 2))
    return "\n".join(lines).encode(), f"line {number + 1} becomes {lines[number][:40]!r}"
